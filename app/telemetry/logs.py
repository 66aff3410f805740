"""Logging: one line for each event, ours and other libraries' alike, with its request, key and run."""

import logging
import sys
from collections.abc import Iterable
from functools import partial
from typing import Final, Literal, TextIO

import structlog
from structlog.contextvars import merge_contextvars
from structlog.processors import TimeStamper, add_log_level, format_exc_info
from structlog.stdlib import ProcessorFormatter, add_logger_name
from structlog.typing import Processor

from app.telemetry.redaction import Redaction
from app.telemetry.rendering import renderers

# Libraries whose lines hold requests to model servers, with what people wrote, statements, or paths.
TALKATIVE: Final = (
    "aiohttp",
    "aiosqlite",
    "asyncio",
    "filelock",
    "hpack",
    "httpcore",
    "httpcore2",
    "httpx",
    "httpx2",
    "openai",
    "sqlalchemy",
)


class LineLogger:
    """Writes rendered lines to `stream`; None is standard error as it is at that moment."""

    def __init__(self, stream: TextIO | None, name: str | None = None) -> None:
        self._stream = stream
        self.name = name

    def msg(self, line: str) -> None:
        stream = self._stream or sys.stderr
        stream.write(line + "\n")
        stream.flush()

    debug = info = warning = error = critical = exception = msg


class LineHandler(logging.StreamHandler[TextIO]):
    """Writes other libraries' records as such lines."""


def configure_logging(
    level: str, style: Literal["console", "json"], stream: TextIO | None = None, secrets: Iterable[str] = ()
) -> None:
    """Send every log line, ours and other libraries', through one renderer to `stream` (None: standard error).

    `level` is the lowest that is logged. `secrets` are texts to redact beside what looks like a key: the model servers'
    keys have many forms, and a server may repeat one in an error. Standard output is left alone: the command line
    prints its answers there.
    """
    lowest = logging.getLevelNamesMapping()[level.upper()]
    first: list[Processor] = [merge_contextvars, add_log_level, add_logger_name, TimeStamper("iso")]
    last: list[Processor] = [format_exc_info, Redaction(secrets), *renderers(style, stream or sys.stderr)]
    structlog.configure(
        processors=[*first, *last],
        wrapper_class=structlog.make_filtering_bound_logger(lowest),
        logger_factory=partial(LineLogger, stream),
        cache_logger_on_first_use=False,
    )
    handler = LineHandler(stream)
    handler.setFormatter(
        ProcessorFormatter(
            foreign_pre_chain=first,
            processors=[ProcessorFormatter.remove_processors_meta, *last],
            keep_exc_info=True,
        )
    )
    root = logging.getLogger()
    for previous in [handler for handler in root.handlers if isinstance(handler, LineHandler)]:
        root.removeHandler(previous)
    root.addHandler(handler)
    root.setLevel(lowest)
    for name in TALKATIVE:
        logging.getLogger(name).setLevel(max(lowest, logging.WARNING))
