"""`/api/kernel2/roles`."""

import msgspec
from quart import Blueprint, Response, request

from app.auth.guards import caller
from app.auth.scopes import Scope
from app.clock import iso
from app.doors.second_me.errors import ERRORS
from app.doors.second_me.role_schemas import (
    CreateRoleRequest,
    RoleAnswer,
    RoleDeleted,
    RoleItem,
    RolesAnswer,
    UpdateRoleRequest,
)
from app.edge.bodies import convert, json_object
from app.edge.operation import Answer, Body, Param, operation
from app.edge.responses import json_response
from app.edge.services import service
from app.errors import BadRequest
from app.roles.models import NewRole, Role, RoleChanges
from app.roles.service import RoleService

blueprint = Blueprint("kernel2_roles", __name__)

TAG = "Second Me"
_BOOLEANS = {"true": True, "1": True, "false": False, "0": False}
_ROLE = {
    "uuid": "4be3c3f8-0b5e-4a2f-9df0-6a4f0b5d2c11",
    "name": "Librarian",
    "description": "Answers from the house's documents",
    "system_prompt": "You are the librarian of this house.",
    "icon": "📚",
    "is_active": True,
    "enable_l0_retrieval": True,
    "owner": "",
    "config_id": None,
    "collections": [],
    "create_time": "2026-11-21T01:20:58.571438+00:00",
    "update_time": "2026-11-21T01:20:58.571438+00:00",
}
_ANSWER = {"code": 0, "message": "success", "data": _ROLE}
_UUID = Param("uuid", "The role's uuid.", {"type": "string", "minLength": 1}, where="path", required=True)
_NOT_FOUND = {404: "Role not found"}
_WRITING = {400: "config_id not found: sales", 409: "A role of this name exists already"}
_UNAVAILABLE = {503: "The database is not available at the moment; nothing was changed"}
_CREATE = {"name": "Librarian", "system_prompt": "You are the librarian of this house.", "enable_l0_retrieval": True}


@blueprint.post("/api/kernel2/roles")
@operation(
    "createRole",
    "Create a role",
    scope=Scope.CHAT,
    description="With a key that is bound to a username the role is that user's; else it is everyone's, or `owner`'s.",
    body=Body(CreateRoleRequest, examples={"librarian": _CREATE}),
    answers={200: Answer("The role", RoleAnswer, example=_ANSWER)},
    errors={**_WRITING, **_UNAVAILABLE},
    tag=TAG,
    error_shape=ERRORS,
)
async def create_role() -> Response:
    given = convert(await json_object(), CreateRoleRequest)
    values = {name: value for name, value in msgspec.structs.asdict(given).items() if value is not None}
    return _answer(await service(RoleService).create(caller(), NewRole(**values)))


@blueprint.get("/api/kernel2/roles")
@operation(
    "listRoles",
    "List the roles",
    scope=Scope.CHAT,
    description="In the order in which they were made. A key that is bound to a username sees that user's and the "
    "shared ones, every other key sees all.",
    params=[Param("is_active", "Only those that are active, or are not.", {"type": "boolean"})],
    answers={
        200: Answer("The roles", RolesAnswer, example={"code": 0, "message": "success", "data": [_ROLE]}),
    },
    errors={400: "is_active must be true or false", **_UNAVAILABLE},
    tag=TAG,
    error_shape=ERRORS,
)
async def list_roles() -> Response:
    wanted = request.args.get("is_active")
    if wanted is not None and wanted.lower() not in _BOOLEANS:
        raise BadRequest("is_active must be true or false", code="invalid_request")
    is_active = None if wanted is None else _BOOLEANS[wanted.lower()]
    roles = await service(RoleService).list_roles(caller(), is_active=is_active)
    return json_response(RolesAnswer(data=[_item(role) for role in roles]))


@blueprint.get("/api/kernel2/roles/<uuid>")
@operation(
    "getRole",
    "Get a role",
    scope=Scope.CHAT,
    description="One role.",
    params=[_UUID],
    answers={200: Answer("The role", RoleAnswer, example=_ANSWER)},
    errors={**_NOT_FOUND, **_UNAVAILABLE},
    tag=TAG,
    error_shape=ERRORS,
)
async def get_role(uuid: str) -> Response:
    return _answer(await service(RoleService).get(caller(), uuid))


@blueprint.put("/api/kernel2/roles/<uuid>")
@operation(
    "updateRole",
    "Change a role",
    scope=Scope.CHAT,
    description="What is left out stays. A key that is bound to a username changes that user's roles only.",
    params=[_UUID],
    body=Body(UpdateRoleRequest, examples={"off": {"is_active": False}}),
    answers={200: Answer("The role as it is now", RoleAnswer, example=_ANSWER)},
    errors={**_WRITING, **_NOT_FOUND, **_UNAVAILABLE},
    tag=TAG,
    error_shape=ERRORS,
)
async def update_role(uuid: str) -> Response:
    given = convert(await json_object(), UpdateRoleRequest)
    return _answer(await service(RoleService).update(caller(), uuid, RoleChanges(**msgspec.structs.asdict(given))))


@blueprint.delete("/api/kernel2/roles/<uuid>")
@operation(
    "deleteRole",
    "Delete a role",
    scope=Scope.CHAT,
    description="A key that is bound to a username deletes that user's roles only.",
    params=[_UUID],
    answers={200: Answer("It is gone", RoleDeleted, example={"code": 0, "message": "success", "data": None})},
    errors={**_NOT_FOUND, **_UNAVAILABLE},
    tag=TAG,
    error_shape=ERRORS,
)
async def delete_role(uuid: str) -> Response:
    await service(RoleService).delete(caller(), uuid)
    return json_response(RoleDeleted())


def _answer(role: Role) -> Response:
    return json_response(RoleAnswer(data=_item(role)))


def _item(role: Role) -> RoleItem:
    return RoleItem(
        uuid=role.uuid,
        name=role.name,
        description=role.description,
        system_prompt=role.system_prompt,
        icon=role.icon,
        is_active=role.is_active,
        enable_l0_retrieval=role.enable_l0_retrieval,
        owner=role.owner,
        config_id=role.config_id,
        collections=list(role.collections),
        create_time=iso(role.create_time),
        update_time=iso(role.update_time),
    )
