"""What each line of a request or a run says beside its own fields: which request, key and run it is of."""

from collections.abc import Mapping
from contextvars import ContextVar
from typing import Final

from msgspec import Struct
from msgspec.structs import asdict


class _Fields(Struct, frozen=True, gc=False):
    """A struct, since each open stream keeps three of them: they are a third of the size of such dicts."""

    request_id: str | None = None
    key_id: str | None = None
    run_id: str | None = None


_FIELDS: Final[ContextVar[_Fields]] = ContextVar("line_fields", default=_Fields())  # noqa: B039  # it is frozen


def begin_line_fields(*, request_id: str) -> None:
    """From here on, lines of this task and of those that it starts say this, and nothing else that was said before."""
    _FIELDS.set(_Fields(request_id))


def add_line_fields(*, key_id: str | None = None, run_id: str | None = None) -> None:
    """The same, and what was said before."""
    fields = _FIELDS.get()
    _FIELDS.set(_Fields(fields.request_id, key_id or fields.key_id, run_id or fields.run_id))


def line_fields() -> Mapping[str, str]:
    return {name: value for name, value in asdict(_FIELDS.get()).items() if value is not None}
