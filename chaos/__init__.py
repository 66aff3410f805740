"""Palaver under fire: a real server is killed, cut off and let down by its model server, and then held to account.

`make chaos` (`python -m chaos`) runs three trials; `--help` says how to run one, shorter, or with another seed.
"""
