"""The query of a list of sessions: what it is narrowed to, and where the next page begins."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from app.chat.fields import check_name
from app.chat.values import Session, SessionFilter
from app.edge import paging
from app.edge.operation import Param
from app.errors import BadRequest

MAX_SEARCH_CHARS = 255
FILTERS = [
    Param("search", "Only sessions whose title contains this.", {"type": "string", "maxLength": MAX_SEARCH_CHARS}),
    Param("label", "Only sessions with this label.", {"type": "string", "maxLength": 64}),
    Param("pinned", "Only pinned sessions, or only the others.", {"type": "boolean"}),
    Param("updated_after", "Only sessions that have changed since.", {"type": "string", "format": "date-time"}),
    Param(
        "cursor",
        "The `next_cursor` of the page before, in the place of `page`: sessions that move up meanwhile shift nothing.",
        {"type": "string", "maxLength": 1024, "pattern": "^[A-Za-z0-9_-]*$"},
    ),
]
FILTER_CODES = ("invalid_search", "invalid_label", "invalid_pinned", "invalid_updated_after", "invalid_cursor")


def filter_of(args: Mapping[str, str], *, pinned: bool | None) -> SessionFilter:
    """Raises BadRequest."""
    search, label = args.get("search", "").strip(), args.get("label", "").strip()
    check_name("search", search, MAX_SEARCH_CHARS)
    check_name("label", label, MAX_SEARCH_CHARS)
    return SessionFilter(
        platform_id=args.get("platform_id"),
        search=search or None,
        label=label or None,
        pinned=pinned,
        updated_after=_moment(args.get("updated_after")),
        before=paging.place_in(args),
    )


def cursor_of(page: Sequence[Session], page_size: int) -> str | None:
    """Return the cursor of the page after this one; None when it was not full."""
    if len(page) < page_size:
        return None
    return paging.cursor_of(page[-1].updated_at, page[-1].id)


def _moment(text: str | None) -> datetime | None:
    if not text:
        return None
    try:
        moment = datetime.fromisoformat(text)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        raise BadRequest("updated_after must be a date and time", code="invalid_updated_after") from None
