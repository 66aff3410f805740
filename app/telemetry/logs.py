"""Logging: one line for each event, ours and other libraries' alike, with its request, key and run.

No line holds a key, a message's text or a model server's secret. Fields that carry such things are dropped by name.
Whatever looks like a key is replaced in all others, tracebacks and other libraries' lines included.
"""

import logging
import re
import sys
from collections.abc import Iterable
from functools import partial
from types import NoneType
from typing import Any, Final, Literal, TextIO

import structlog
from structlog.contextvars import merge_contextvars
from structlog.processors import TimeStamper, add_log_level, format_exc_info
from structlog.stdlib import ProcessorFormatter, add_logger_name
from structlog.typing import EventDict, Processor, WrappedLogger

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
# Libraries whose errors quote what a server has sent; who uses them logs what failed.
SILENT: Final = ("mcp",)

MAX_FIELD_CHARS: Final = 4000
MAX_TRACEBACK_CHARS: Final = 20_000
MIN_SECRET_CHARS: Final = 6  # a shorter one is also a part of ordinary words

# fmt: off
DROPPED_FIELDS: Final = frozenset((
    "api_key", "args", "authorization", "body", "content", "cookie", "data", "headers", "key", "key_text", "kwargs",
    "message", "message_text", "messages", "parts", "password", "prompt", "reasoning", "secret", "system_prompt",
    "text", "token",
))
# fmt: on
# Each pattern with its hints: every ASCII text that it matches contains one of them in lower case.
KEY_FORMS: Final = (
    (r"plv_\w+", ("plv_",)),
    (r"\bsk-[\w-]{4,}", ("sk-",)),
    (r"\bwhsec_[\w+/=-]+", ("whsec_",)),
    (r"(?i:\b(?:bearer|apikey)\s+[^\s\"',;)}\]]+)", ("bearer", "apikey")),
    (
        r"(?i:\b(?:api_?key|key|token|secret|password)=[^\s&\"']+)",
        ("key=", "token=", "secret=", "password="),
    ),
    # SQLAlchemy's errors quote the values of a failed statement.
    (r"\[parameters: .*\]", ("[parameters: ",)),
)
_PLAIN: Final = (int, float, NoneType)


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


class Redaction:
    """A structlog processor that drops the fields which must not be logged and replaces keys in all others.

    The patterns take 3 % of a chat for each line, and the search for their hints a tenth of that: only lines with a
    hint are matched.
    """

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        # The longest first: one secret may be a prefix of another.
        literals = sorted({secret for secret in secrets if len(secret) >= MIN_SECRET_CHARS}, key=len, reverse=True)
        self._pattern = re.compile("|".join([*map(re.escape, literals), *(pattern for pattern, _ in KEY_FORMS)]))
        hints = (hint for _, hints in KEY_FORMS for hint in hints)
        self._hints = tuple(dict.fromkeys([*hints, *(literal.lower() for literal in literals)]))

    def __call__(self, _logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
        for name in DROPPED_FIELDS & event.keys():
            del event[name]
        if self._may_change(event):
            for name, value in event.items():
                event[name] = self._redact(value, MAX_TRACEBACK_CHARS if name == "exception" else MAX_FIELD_CHARS)
        return event

    def _may_change(self, event: EventDict) -> bool:
        texts = []
        for value in event.values():
            if isinstance(value, str):
                texts.append(value)
            elif not isinstance(value, _PLAIN):
                return True
        text = " ".join(texts)
        if len(text) > MAX_FIELD_CHARS or not text.isascii():  # some letters are ASCII in lower case only
            return True
        text = text.lower()
        return any(map(text.__contains__, self._hints))

    def _redact(self, value: Any, limit: int = MAX_FIELD_CHARS) -> Any:
        if isinstance(value, _PLAIN):
            return value
        if isinstance(value, dict):
            return {str(name): self._redact(item) for name, item in value.items() if name not in DROPPED_FIELDS}
        if isinstance(value, list | tuple | set | frozenset):
            return [self._redact(item) for item in value]
        text = self._pattern.sub("[redacted]", value if isinstance(value, str) else repr(value))
        return text if len(text) <= limit else f"{text[:limit]}... ({len(text)} characters)"


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
    for name in SILENT:
        logging.getLogger(name).setLevel(logging.CRITICAL)
