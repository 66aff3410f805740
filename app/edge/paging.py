"""Pages of a listing: by number and size, or by the place where the page before ended."""

import base64
import binascii
import re
from collections.abc import Mapping
from datetime import UTC, datetime

import msgspec

from app.database.tables import MAX_INTEGER
from app.edge.operation import Param, refusal
from app.errors import BadRequest
from app.text import CONTROL_CHARACTER

PAGING = [
    Param("page", "Below 1 counts as 1.", {"type": "integer", "default": 1}),
    Param("page_size", "Held to 1..100.", {"type": "integer", "default": 20}),
]
PAGING_ERRORS = {400: refusal("page and page_size must be integers", "invalid_page")}
_INTEGER = re.compile(r"\s*([+-]?)(\d+)\s*", re.ASCII)


def page_of(args: Mapping[str, str]) -> tuple[int, int]:
    """Read `page` (1 or more) and `page_size` (1 to 100) from a listing's query. Raises BadRequest."""
    page, size = _integer(args.get("page", "1")), _integer(args.get("page_size", "20"))
    size = min(max(size, 1), 100)
    # A page beyond the database's largest integer is an empty page, not an error.
    return min(max(page, 1), MAX_INTEGER // size), size


def _integer(text: str) -> int:
    """An integer of any number of digits, of which Python's `int` takes 4,300. Raises BadRequest."""
    match = _INTEGER.fullmatch(text)
    if match is None:
        raise BadRequest("page and page_size must be integers", code="invalid_page")
    return _value(match)


def _value(match: re.Match[str]) -> int:
    sign, digits = match[1], match[2].lstrip("0") or "0"
    number = MAX_INTEGER if len(digits) > 19 else int(digits)
    return -number if sign == "-" else number


def number_in(args: Mapping[str, str], name: str) -> int | None:
    """Read a number from a query; None without one. Raises BadRequest."""
    text = args.get(name, "").strip()
    if not text:
        return None
    if not (text.isascii() and text.isdecimal() and len(text) < 20):
        raise BadRequest(f"{name} must be a number", code=f"invalid_{name}")
    return min(int(text), MAX_INTEGER)


NUMBER_CURSOR = Param(
    "cursor", "The `next_cursor` of the page before.", {"type": "string", "pattern": r"^\s*([0-9]{1,19}\s*)?$"}
)
CURSOR = Param(
    "cursor",
    "The `next_cursor` of the page before.",
    {"type": "string", "maxLength": 1024, "pattern": "^[A-Za-z0-9_-]*$"},
)
LIMIT = Param("limit", "Held to 1..100.", {"type": "integer", "default": 50})


def limit_in(args: Mapping[str, str], default: int = 50) -> int:
    """Read the size of a page, held to 1 to 100. Raises BadRequest."""
    text = args.get("limit", "").strip()
    if not text:
        return default
    match = _INTEGER.fullmatch(text)
    if match is None:
        raise BadRequest("limit must be a number", code="invalid_limit")
    return min(max(_value(match), 1), 100)


def cursor_of(moment: datetime, id: str) -> str:
    """Return the cursor of the page after the item with this id, in a list by moments."""
    return base64.urlsafe_b64encode(msgspec.json.encode([moment.isoformat(), id])).decode().rstrip("=")


def place_in(args: Mapping[str, str]) -> tuple[datetime, str] | None:
    """Read where a page begins: beyond the item of `cursor`; None for the first page. Raises BadRequest."""
    cursor = args.get("cursor")
    if not cursor:
        return None
    try:
        text = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
        moment, id = msgspec.json.decode(text, type=tuple[datetime, str])
        place = moment.astimezone(UTC), id
    except (binascii.Error, ValueError, OverflowError, msgspec.MsgspecError):
        raise BadRequest("cursor must be the next_cursor of a page", code="invalid_cursor") from None
    if len(id) > 255 or CONTROL_CHARACTER.search(id):
        raise BadRequest("cursor must be the next_cursor of a page", code="invalid_cursor")
    return place
