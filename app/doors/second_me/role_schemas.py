"""Roles on the wire."""

import msgspec
from msgspec import structs

from app.clock import iso
from app.edge.schemas import DateTime
from app.roles.models import SHARED, Role


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

    @staticmethod
    def of(role: Role) -> "RoleItem":
        times = {"create_time": iso(role.create_time), "update_time": iso(role.update_time)}
        return RoleItem(**{**structs.asdict(role), **times})


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
