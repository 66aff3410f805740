"""Redaction of log lines: no line holds a key, a message's text or a model server's secret.

Fields that carry such things are dropped by name. Whatever looks like a key is replaced in all others, tracebacks and
other libraries' lines included.
"""

import re
from collections.abc import Iterable
from types import NoneType
from typing import Any, Final

from structlog.typing import EventDict, WrappedLogger

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
