"""Wire types that all doors share."""

from datetime import datetime
from typing import Annotated, Any, TypeVar

import msgspec
from msgspec import UNSET, Meta

from app.clock import iso

DateTime = Annotated[str, Meta(extra_json_schema={"format": "date-time"})]

T = TypeVar("T", bound=msgspec.Struct)


def shape_of(kind: type[T], value: object, **fields: Any) -> T:
    """Make a wire shape from a value's attributes of the same names, with times as text.

    `fields` are those that have no attribute, or another value on the wire.
    """
    members = {}
    for name in kind.__struct_fields__:
        member = fields[name] if name in fields else getattr(value, name)
        if member is not UNSET:
            members[name] = iso(member) if isinstance(member, datetime) else member
    return msgspec.convert(members, kind)
