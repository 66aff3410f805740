"""Log lines, as an operator gets them."""

import io
import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import structlog

from app.telemetry.logs import configure_logging


@contextmanager
def logging_to(stream: io.StringIO, level: str = "info", **options: Any) -> Iterator[None]:
    """Log JSON lines to `stream` until the block ends; then logging is as it was."""
    root = logging.getLogger()
    handlers, least = root.handlers[:], root.level
    configure_logging(level, "json", stream, **options)
    try:
        yield
    finally:
        root.handlers[:] = handlers
        root.setLevel(least)
        structlog.reset_defaults()


def parsed(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]
