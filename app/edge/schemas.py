"""Wire types that all doors share."""

from datetime import datetime
from typing import Annotated, Any, TypeVar

import msgspec
from msgspec import NODEFAULT, UNSET, Meta, inspect

from app.clock import iso

T = TypeVar("T", bound=msgspec.Struct)


def example(value: Any) -> Meta:
    """Annotate a field with its example for the published document."""
    return Meta(extra={"example": value})


DateTime = Annotated[str, Meta(extra_json_schema={"format": "date-time"}), example("2026-11-21T01:20:58.571438+00:00")]
PageNumber = Annotated[int, example(1)]
PageSize = Annotated[int, example(20)]


def example_of(kind: type[msgspec.Struct], **members: Any) -> dict[str, Any]:
    """Make a wire shape's example from its fields' own; `members` are those with another value here.

    Without an example, a field has its default, a nested shape's example, an empty list or null. Raises ValueError for
    a field that has none of these.
    """
    shape = inspect.type_info(kind)
    assert isinstance(shape, inspect.StructType)
    values = {field.name: members[field.name] if field.name in members else _example(field) for field in shape.fields}
    return {name: value for name, value in values.items() if value is not UNSET}


def _example(field: inspect.Field) -> Any:
    kind = field.type
    if isinstance(kind, inspect.Metadata):
        if kind.extra is not None and "example" in kind.extra:
            return kind.extra["example"]
        if field.required:
            kind = kind.type
    match kind:
        case _ if not field.required:
            if field.default_factory is not NODEFAULT:
                return field.default_factory()
            # msgspec describes a default of UNSET as none.
            return UNSET if field.default is NODEFAULT else field.default
        case inspect.StructType(cls=struct):
            return example_of(struct)
        case inspect.ListType(item_type=inspect.StructType(cls=struct)):
            return [example_of(struct)]
        case inspect.ListType():
            return []
        case inspect.UnionType(includes_none=True):
            return None
    raise ValueError(f"{field.name} has no example")


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
