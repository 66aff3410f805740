"""Request fields shared by several doors."""

from app.chat.commands import MAX_COLLECTIONS, OnBusy, RetrievalOptions, check_name
from app.errors import BadRequest


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
