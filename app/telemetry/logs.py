"""What the operator sees: one log line for each thing that happens, with its request, key and run, and numbers.

No line holds a key, a message's text or a model server's secret. Fields that carry such things are dropped by name, and
whatever still looks like a key is blotted out of the rest, tracebacks and other libraries' lines included.
"""

import logging
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, Literal, TextIO

import structlog
from structlog.processors import add_log_level, format_exc_info
from structlog.stdlib import ProcessorFormatter

from app.clock import timestamp
from app.telemetry.context import line_fields
from app.telemetry.lines import EventDict, FixedLine, Processor, Redaction, renderer

# Lines that tell of requests to model servers, which hold what people wrote, of statements, and of paths.
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
    """Writes finished lines to `stream`; None means standard error as it is at that moment."""

    def __init__(self, name: str | None, stream: TextIO | None) -> None:
        self.name = name
        self._stream = stream

    def msg(self, line: str) -> None:
        stream = self._stream or sys.stderr
        stream.write(line + "\n")
        stream.flush()

    debug = info = warning = error = critical = exception = msg


class LoggerFactory:
    """What structlog makes loggers with, and a short way for lines that are written with every request.

    structlog keeps it, so that the short way is the present configuration's, whenever that was made.
    """

    def __init__(self, stream: TextIO | None, least: int, redaction: Redaction, last: Sequence[Processor]) -> None:
        self._stream = stream
        self._least = least
        self._redaction = redaction
        self._last = last
        self._fixed: dict[tuple[object, ...], tuple[FixedLine, LineLogger]] = {}

    def __call__(self, name: str | None = None) -> LineLogger:
        return LineLogger(name, self._stream)

    def write_fixed(self, level: int, logger: str, event: str, fields: Mapping[str, str | int | float]) -> bool:
        """Log an event that always has the same fields, as `FixedLine` does; False if it must go the common way."""
        if level < self._least:
            return True
        context = line_fields()
        form = (level, logger, event, *context)
        known = self._fixed.get(form)
        if known is None:
            example = {**fields, "event": event, **context, "level": logging.getLevelName(level).lower()}
            example |= {"logger": logger, "timestamp": timestamp()}
            known = self._fixed[form] = FixedLine(self._render, self._redaction, example), self(logger)
        line = known[0].filled({**context, **fields, "timestamp": timestamp()})
        if line is not None:
            known[1].msg(line)
        return line is not None

    def _render(self, event: EventDict) -> str:
        made: Any = event
        for processor in self._last:
            made = processor(None, "", made)
        return str(made)


class _LineHandler(logging.Handler):
    """The other libraries' way to the same lines."""

    def __init__(self, stream: TextIO | None) -> None:
        super().__init__()
        self._lines = LineLogger(None, stream)

    def emit(self, record: logging.LogRecord) -> None:
        self._lines.msg(self.format(record))


def configure_logging(
    level: str, style: Literal["console", "json"], stream: TextIO | None = None, secrets: Iterable[str] = ()
) -> None:
    """Send every log line, ours and other libraries', through one renderer to `stream` (None: standard error).

    `level` is the least that is logged. `secrets` are texts that no line may hold, beside what looks like a key: the
    model servers' keys have many forms, and a server may repeat one in an error. Standard output is left alone: the
    command line prints its answers there.
    """
    least = logging.getLevelNamesMapping()[level.upper()]
    redaction = Redaction(secrets)
    shared: list[Processor] = [_add_line_fields, add_log_level, _add_logger_name, _add_timestamp]
    last: list[Processor] = [format_exc_info, redaction, *renderer(style, stream or sys.stderr)]
    structlog.configure(
        processors=[*shared, *last],
        wrapper_class=structlog.make_filtering_bound_logger(least),
        logger_factory=LoggerFactory(stream, least, redaction, last),
        cache_logger_on_first_use=False,
    )
    handler = _LineHandler(stream)
    handler.setFormatter(
        ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[ProcessorFormatter.remove_processors_meta, *last],
            keep_exc_info=True,
        )
    )
    root = logging.getLogger()
    for previous in [each for each in root.handlers if isinstance(each, _LineHandler)]:
        root.removeHandler(previous)
    root.addHandler(handler)
    root.setLevel(least)
    for name in TALKATIVE:
        logging.getLogger(name).setLevel(max(least, logging.WARNING))


def _add_line_fields(_logger: Any, _method: str, event: EventDict) -> EventDict:
    for name, value in line_fields().items():
        event.setdefault(name, value)
    return event


def _add_logger_name(logger: Any, _method: str, event: EventDict) -> EventDict:
    record = event.get("_record")
    name = record.name if record is not None else getattr(logger, "name", None)
    if name is not None:
        event["logger"] = name
    return event


def _add_timestamp(_logger: Any, _method: str, event: EventDict) -> EventDict:
    event["timestamp"] = timestamp()
    return event


def log_fixed(level: int, logger: str, event: str, fields: Mapping[str, str | int | float]) -> None:
    """Log an event of which there are many, always with the same fields: the same line in a fifth of the time."""
    factory = structlog.get_config()["logger_factory"]
    if not isinstance(factory, LoggerFactory) or not factory.write_fixed(level, logger, event, fields):
        structlog.get_logger(logger).log(level, event, **fields)
