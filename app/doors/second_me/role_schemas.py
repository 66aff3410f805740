"""Roles on the wire."""

from typing import Annotated

import msgspec
from msgspec import UNSET, Meta, UnsetType

from app.chat.commands import NAME_PATTERN
from app.edge.schemas import DateTime
from app.roles.models import (
    MAX_COLLECTION_CHARS,
    MAX_COLLECTIONS,
    MAX_DESCRIPTION_CHARS,
    MAX_ICON_CHARS,
    MAX_NAME_CHARS,
    MAX_PROMPT_CHARS,
    SHARED,
)

_NO_NUL = r"^[^\x00]*$"
_VISIBLE = r"^[^\x00]*[^\s\x00][^\x00]*$"
_OWNER_PATTERN = r"^([^\x00-\x1f\x7f-\x9f]*[^\s\x00-\x1f\x7f-\x9f][^\x00-\x1f\x7f-\x9f]*)?$"

Name = Annotated[str, Meta(min_length=1, max_length=MAX_NAME_CHARS, pattern=NAME_PATTERN)]
Description = Annotated[str, Meta(max_length=MAX_DESCRIPTION_CHARS, pattern=_NO_NUL)]
Prompt = Annotated[str, Meta(min_length=1, max_length=MAX_PROMPT_CHARS, pattern=_VISIBLE)]
Icon = Annotated[str, Meta(max_length=MAX_ICON_CHARS, pattern=_NO_NUL, description="An emoji, a URL or a data URL.")]
ConfigId = Annotated[str, Meta(min_length=1, max_length=100, description="The profile that answers.")]
Owner = Annotated[
    str, Meta(max_length=255, pattern=_OWNER_PATTERN, description="A username; empty, the role is shared.")
]
Collections = Annotated[
    list[Annotated[str, Meta(min_length=1, max_length=MAX_COLLECTION_CHARS, pattern=NAME_PATTERN)]],
    Meta(max_length=MAX_COLLECTIONS, description="Ids or names of knowledge collections; none means all there are."),
]


class CreateRoleRequest(msgspec.Struct, kw_only=True):
    """`name` and `system_prompt` are wanted; null is as left out."""

    name: Name
    system_prompt: Prompt
    description: Description | None = None
    icon: Icon | None = None
    is_active: bool | None = None
    enable_l0_retrieval: bool | None = None
    owner: Owner | None = None
    config_id: ConfigId | None = None
    collections: Collections | None = None


class UpdateRoleRequest(msgspec.Struct, kw_only=True):
    """What is left out, or null, stays as it is; but a `config_id` of null takes the profile away."""

    name: Name | None = None
    system_prompt: Prompt | None = None
    description: Description | None = None
    icon: Icon | None = None
    is_active: bool | None = None
    enable_l0_retrieval: bool | None = None
    owner: Owner | None = None
    config_id: ConfigId | UnsetType | None = UNSET
    collections: Collections | None = None


class RoleItem(msgspec.Struct, kw_only=True):
    """A role; `owner`, `config_id` and `collections` are Palaver's own."""

    uuid: str
    name: str
    description: str
    system_prompt: str
    icon: str
    is_active: bool
    enable_l0_retrieval: bool
    owner: str = SHARED
    config_id: str | None = None
    collections: list[str] = []
    create_time: DateTime
    update_time: DateTime


class RoleAnswer(msgspec.Struct, kw_only=True):
    """Second Me's envelope around a role."""

    code: int = 0
    message: str = "success"
    data: RoleItem


class RolesAnswer(msgspec.Struct, kw_only=True):
    """Second Me's envelope around roles."""

    code: int = 0
    message: str = "success"
    data: list[RoleItem]


class RoleDeleted(msgspec.Struct, kw_only=True):
    """Second Me's envelope around nothing."""

    code: int = 0
    message: str = "success"
    data: None = None
