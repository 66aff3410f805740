"""Palaver: a self-hosted Open API for chat bots."""

import atexit
import gc
from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("palaver")
except PackageNotFoundError:  # run from a checkout that was never installed
    __version__ = "0.0.0"

# The collection with which the interpreter ends now and then crashes in msgspec's types (msgspec issue 717), and a
# command that did its work would report a segmentation fault. It frees nothing that the end does not free anyway.
atexit.register(gc.freeze)
