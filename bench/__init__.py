"""How fast Palaver is, measured on this machine, in one run with everything that it is compared with.

`make bench` (`python -m bench`) prints the table; docs/performance.md says what the figures mean.
"""
