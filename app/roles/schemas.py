"""Requests to make and to change a role."""

from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, UnsetType, structs

from app.roles.models import MAX_DESCRIPTION_CHARS, MAX_NAME_CHARS
from app.text import NAME_PATTERN

MAX_PROMPT_CHARS = 100_000
MAX_ICON_CHARS = 16_384
MAX_COLLECTIONS = 50
MAX_COLLECTION_CHARS = 100
MAX_TOOLS = 128
MAX_DIALOGS = 64
MAX_DIALOG_CHARS = 8_000

_NO_NUL = r"^[^\x00]*\Z"
_VISIBLE = r"^[^\S\x00]*[^\s\x00][^\x00]*\Z"
_OWNER_PATTERN = r"^([^\S\x00-\x1f\x7f-\x9f]*[^\s\x00-\x1f\x7f-\x9f][^\x00-\x1f\x7f-\x9f]*)?\Z"

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


Tools = Annotated[
    list[Annotated[str, Meta(min_length=1, max_length=64, pattern=NAME_PATTERN)]],
    Meta(max_length=MAX_TOOLS, description="Patterns that narrow the profile's tools; none of them means no tools."),
]

BeginDialogs = Annotated[
    list[Annotated[str, Meta(min_length=1, max_length=MAX_DIALOG_CHARS, pattern=_VISIBLE)]],
    Meta(
        max_length=MAX_DIALOGS,
        description="The opening dialogue, as AstrBot's personas have it: texts of the user and the assistant in turn, "
        "an even number of them. The model reads them before the conversation.",
    ),
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
    tools: Tools | None = None
    begin_dialogs: BeginDialogs | None = None


class UpdateRoleRequest(msgspec.Struct, kw_only=True):
    """What is left out, or null, stays as it is; but a `config_id` or `tools` of null takes them away."""

    name: Name | None = None
    system_prompt: Prompt | None = None
    description: Description | None = None
    icon: Icon | None = None
    is_active: bool | None = None
    enable_l0_retrieval: bool | None = None
    owner: Owner | None = None
    config_id: ConfigId | UnsetType | None = UNSET
    collections: Collections | None = None
    tools: Tools | UnsetType | None = UNSET
    begin_dialogs: BeginDialogs | None = None


_NULLABLE = frozenset({"config_id", "tools"})


def values_of(request: CreateRoleRequest | UpdateRoleRequest) -> dict[str, Any]:
    """Collect the fields that a request sets; only `config_id` and `tools` may be set to None."""
    return {
        field: value
        for field, value in structs.asdict(request).items()
        if value is not UNSET and (value is not None or field in _NULLABLE)
    }
