"""Reading what platforms send, whatever they send."""

from collections.abc import Mapping
from typing import Any


def object_in(value: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """Return the object that a member is; an empty one if it is something else, or missing."""
    member = value.get(name)
    return member if isinstance(member, dict) else {}
