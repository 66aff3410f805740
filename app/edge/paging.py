"""Pages of a listing, by number and size."""

import re
from collections.abc import Mapping

from app.database.tables import MAX_INTEGER
from app.edge.operation import Param, refusal
from app.errors import BadRequest

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
