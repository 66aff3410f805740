"""What log lines may hold, and how they look.

A line costs every request its time. Most hold nothing that must be changed, which one look at all their texts together
shows; the looks at each field, which take ten times as long, are for the others. A line that is written with every
request has a form of its own, which `FixedLine` makes of the common one.
"""

import re
from collections.abc import Callable, Iterable, Mapping, MutableMapping
from json import JSONEncoder
from typing import Any, Final, Literal, TextIO

import structlog

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
# Each form with what stands, in small letters, in every ASCII text that has it.
KEY_FORMS: Final = (
    (r"plv_\w+", ("plv_",)),
    (r"\bsk-[\w-]{4,}", ("sk-",)),
    (r"\bwhsec_[\w+/=-]+", ("whsec_",)),
    (r"(?i:\b(?:bearer|apikey)\s+[^\s\"',;)}\]]+)", ("bearer", "apikey")),
    (
        r"(?i:\b(?:api_?key|key|token|secret|password)=[^\s&\"']+)",
        ("key=", "token=", "secret=", "password="),
    ),
    # SQLAlchemy tells what a failed statement was to store.
    (r"\[parameters: .*\]", ("[parameters: ",)),
)
_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_CONTROLS_BUT_LINES = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_QUOTED_ON_THE_CONSOLE = re.compile(r"[ \t=\r\n\"']")
_NOT_AS_IT_IS = re.compile(r"[ \t=\r\n\"'\\]")  # quoted on the console, or escaped in JSON

_NEVER_CHANGING: Final = frozenset({"event", "level", "logger"})

EventDict = MutableMapping[str, Any]
Processor = Callable[[Any, str, EventDict], Any]


class Redaction:
    """A structlog processor: drops the fields that must not be logged and blots out keys in all others."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        # The longest first: one secret may be how another begins.
        known = sorted({secret for secret in secrets if len(secret) >= MIN_SECRET_CHARS}, key=len, reverse=True)
        self._secret = re.compile("|".join([*map(re.escape, known), *(form for form, _ in KEY_FORMS)]))
        marks = (mark for _, marks in KEY_FORMS for mark in marks)
        self._marks = tuple(dict.fromkeys([*marks, *(secret.lower() for secret in known)]))

    def __call__(self, _logger: Any, _method: str, event: EventDict) -> EventDict:
        for name in DROPPED_FIELDS & event.keys():
            del event[name]
        if not self._is_plain(event):
            for name, value in event.items():
                event[name] = self._scrub(value, MAX_TRACEBACK_CHARS if name == "exception" else MAX_FIELD_CHARS)
        return event

    def _is_plain(self, event: EventDict) -> bool:
        """Whether no field of the event could be changed by `_scrub`.

        A form that matches in one of the texts has its mark in them all together; matching itself is not asked for.
        """
        texts = []
        for value in event.values():
            if isinstance(value, str):
                texts.append(value)
            elif not (value is None or isinstance(value, bool | int | float)):
                return False
        return self.passes(" ".join(texts))

    def passes(self, text: str) -> bool:
        """Whether this, which may be several fields' texts together, is surely logged as it is."""
        if len(text) > MAX_FIELD_CHARS or not text.isascii():  # what is one letter in small and in capitals
            return False
        text = text.lower()
        for mark in self._marks:  # noqa: SIM110  # a third of the time of any()
            if mark in text:
                return False
        return True

    def _scrub(self, value: Any, limit: int = MAX_FIELD_CHARS) -> Any:
        if value is None or isinstance(value, bool | int | float):
            return value
        if isinstance(value, dict):
            return {str(name): self._scrub(each) for name, each in value.items() if name not in DROPPED_FIELDS}
        if isinstance(value, list | tuple | set | frozenset):
            return [self._scrub(each) for each in value]
        text = self._secret.sub("[redacted]", value if isinstance(value, str) else repr(value))
        return text if len(text) <= limit else f"{text[:limit]}... ({len(text)} characters)"


def renderer(style: Literal["console", "json"], stream: TextIO) -> list[Processor]:
    """What makes the text of a line, the last of the processors."""
    if style == "json":
        return [_json_line]
    # The traceback is plain: the pretty one shows local variables, which hold messages and keys.
    console = structlog.dev.ConsoleRenderer(
        colors=stream.isatty(), exception_formatter=structlog.dev.plain_traceback, sort_keys=False
    )
    return [_escape_controls, console if stream.isatty() else PlainConsole(console)]


class PlainConsole:
    """The same text as structlog's renderer without colours, in a fifth of its time."""

    def __init__(self, renderer: Processor) -> None:
        self._renderer = renderer

    def __call__(self, logger: Any, method: str, event: EventDict) -> Any:
        if "exception" in event or "exc_info" in event or "stack" in event or "logger_name" in event:
            return self._renderer(logger, method, event)
        cells = []
        if (moment := event.pop("timestamp", None)) is not None:
            cells.append(str(moment))
        if (level := event.pop("level", None)) is not None:
            cells.append(f"[{level:<9}]")
        if (said := event.pop("event", None)) is not None:
            cells.append(f"{said!s:<30}")
        if (name := event.pop("logger", None)) is not None:
            cells.append(f"[{name}]")
        for name, value in event.items():
            quoted = not isinstance(value, str) or _QUOTED_ON_THE_CONSOLE.search(value) is not None
            cells.append(f"{name}={value!r}" if quoted else f"{name}={value}")
        return " ".join(cells).rstrip(" ")


def _escape_controls(_logger: Any, _method: str, event: EventDict) -> EventDict:
    """Keep what a client sends from forging lines, or from steering the operator's terminal. JSON does this itself."""
    if "".join(value for value in event.values() if isinstance(value, str)).isprintable():
        return event
    for name, value in event.items():
        if isinstance(value, str):
            controls = _CONTROLS_BUT_LINES if name == "exception" else _CONTROLS
            event[name] = controls.sub(lambda found: found[0].encode("unicode_escape").decode(), value)
    return event


class FixedLine:
    """The form of a line of one event with the same fields each time, into which their values are put.

    It is made by `render`, the common way of all lines, from stand-ins for the values: there is no second definition of
    what a line looks like. Values that stand in a line as they are go into the form; for others there is no line here,
    and the common way must be taken.
    """

    def __init__(self, render: Callable[[EventDict], str], redaction: Redaction, event: Mapping[str, Any]) -> None:
        """`event` is an example, with its level, logger and timestamp. Its values are texts and numbers."""
        self._redaction = redaction
        stand_ins: dict[str, str | int] = {}
        for place, (name, value) in enumerate(event.items()):
            if name not in _NEVER_CHANGING:
                stand_ins[name] = f"Stand{place}In" if isinstance(value, str) else 870_000_000 + place
        form = render({**event, **stand_ins}).replace("%", "%%")
        self._form: str | None = None
        for name, stand_in in stand_ins.items():
            if form.count(str(stand_in)) != 1:  # one of the operator's secrets looks like it
                return
            form = form.replace(str(stand_in), f"%({name})s")
        self._form = form

    def filled(self, event: Mapping[str, str | int | float]) -> str | None:
        """The line with these values; None if one of them is not surely written as it is."""
        text = "|".join([value for value in event.values() if isinstance(value, str)])
        if (
            self._form is None
            or not text.isprintable()
            or _NOT_AS_IT_IS.search(text) is not None
            or not self._redaction.passes(text)
        ):
            return None
        return self._form % event


_encode_json = JSONEncoder(default=repr).encode


def _json_line(_logger: Any, _method: str, event: EventDict) -> str:
    return _encode_json(event)
