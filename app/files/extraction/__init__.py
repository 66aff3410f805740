"""Documents turned into text for a model, in worker processes that can be killed.

`reader` and `pool` run in the server and import no parser; `worker` and all below it run in the worker processes only.
"""
