"""What each line of a request or a run says beside its own fields: which request, key and run it is of."""

from collections.abc import Mapping
from contextvars import ContextVar
from types import MappingProxyType
from typing import Final

_FIELDS: Final[ContextVar[Mapping[str, str]]] = ContextVar("line_fields", default=MappingProxyType({}))


def begin_line_fields(**fields: str) -> None:
    """From here on, lines of this task and of those that it starts say this, and nothing else that was said before."""
    _FIELDS.set(fields)


def add_line_fields(**fields: str) -> None:
    """The same, and what was said before."""
    _FIELDS.set({**_FIELDS.get(), **fields})


def line_fields() -> Mapping[str, str]:
    return _FIELDS.get()
