"""Documents turned into text for a model, in worker processes that can be killed.

`reader` runs in the server and imports no parser; `worker` and all below it run in the worker processes only.
"""
