"""Roles on the wire."""

from typing import Annotated

import msgspec

from app.edge.schemas import DateTime, example
from app.roles.models import SHARED


class RoleItem(msgspec.Struct, kw_only=True):
    """A role; `owner`, `config_id`, `collections` and `tools` are Palaver's own, `begin_dialogs` is AstrBot's.

    The `system_prompt` and the `begin_dialogs` of a shared role are null for keys that are bound to a user.
    """

    uuid: Annotated[str, example("4be3c3f8-0b5e-4a2f-9df0-6a4f0b5d2c11")]
    name: Annotated[str, example("Librarian")]
    description: Annotated[str, example("Answers from the house's documents")]
    system_prompt: Annotated[str | None, example("You are the librarian of this house.")]
    icon: Annotated[str, example("📚")]
    is_active: Annotated[bool, example(True)]
    enable_l0_retrieval: Annotated[bool, example(True)]
    owner: str = SHARED
    config_id: str | None = None
    collections: list[str] = []
    tools: list[str] | None = None
    begin_dialogs: list[str] | None = []
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
