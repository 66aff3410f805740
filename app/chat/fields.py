"""Request fields shared by several doors."""

import re

from app.chat.commands import OnBusy, RetrievalOptions
from app.errors import BadRequest
from app.text import CONTROL_CHARACTER
from app.tools.models import MAX_TOOLS

MAX_NAME_CHARS = 255
MAX_COLLECTIONS = 50
NAME = re.compile(rf"[^\x00-\x1f\x7f-\x9f]{{0,{MAX_NAME_CHARS}}}")
"""What `check_name` admits."""


def parse_on_busy(value: object) -> OnBusy:
    """Raises BadRequest."""
    if value is None:
        return OnBusy.QUEUE
    try:
        return OnBusy(str(value))
    except ValueError:
        raise BadRequest("on_busy must be queue, reject or interrupt", code="invalid_on_busy") from None


def parse_knowledge(value: object) -> RetrievalOptions | None:
    """`true`, `false`, or a list of collections. Raises BadRequest."""
    if value is None:
        return None
    if isinstance(value, bool):
        return RetrievalOptions(value)
    if not isinstance(value, list) or not all(isinstance(name, str) and name.strip() for name in value):
        raise BadRequest("knowledge must be a boolean or a list of collections", code="invalid_knowledge")
    if len(value) > MAX_COLLECTIONS:
        raise BadRequest(f"knowledge names more than {MAX_COLLECTIONS} collections", code="invalid_knowledge")
    names = tuple(dict.fromkeys(name.strip() for name in value))
    for name in names:
        check_name("knowledge", name)
    return RetrievalOptions(bool(names), names)


def parse_tools(value: object) -> tuple[str, ...] | None:
    """`false`, or a list of names or patterns that narrows the profile's tools. Raises BadRequest."""
    if value is None or value is True:
        return None
    if value is False:
        return ()
    if not isinstance(value, list) or not all(isinstance(name, str) and name.strip() for name in value):
        raise BadRequest("tools_use must be false or a list of tools", code="invalid_tools_use")
    if len(value) > MAX_TOOLS:
        raise BadRequest(f"tools_use names more than {MAX_TOOLS} tools", code="invalid_tools_use")
    for name in value:
        check_name("tools_use", name)
    return tuple(value)


def check_name(field: str, value: str, max_chars: int = MAX_NAME_CHARS) -> None:
    """Raises BadRequest for a name or id that is too long or holds control characters."""
    if len(value) > max_chars:
        raise BadRequest(f"{field} has more than {max_chars} characters", code=f"invalid_{field}")
    if CONTROL_CHARACTER.search(value):
        raise BadRequest(f"{field} contains control characters", code=f"invalid_{field}")
