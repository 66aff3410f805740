"""Palaver: a self-hosted Open API for chat bots."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("palaver")
except PackageNotFoundError:  # run from a checkout that was never installed
    __version__ = "0.0.0"
