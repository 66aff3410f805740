"""`/api/kernel2/roles`."""

from functools import partial

from quart import Blueprint, Response, request

from app.auth.guards import caller
from app.auth.scopes import Scope
from app.doors.second_me.errors import ERRORS
from app.doors.second_me.role_schemas import RoleAnswer, RoleDeleted, RoleItem, RolesAnswer
from app.edge.bodies import convert, json_object
from app.edge.operation import UNAVAILABLE, Answer, Body, Param, operation, refusal
from app.edge.responses import json_response
from app.edge.schemas import example_of, shape_of
from app.edge.services import service
from app.errors import BadRequest
from app.roles.models import SHARED, Role
from app.roles.schemas import CreateRoleRequest, UpdateRoleRequest
from app.roles.service import RoleService

blueprint = Blueprint("kernel2_roles", __name__)
second_me_operation = partial(operation, scope=Scope.CHAT, tag="Second Me", error_shape=ERRORS)

_UUID = Param("uuid", "The role's uuid.", {"type": "string", "minLength": 1}, where="path")
_NEW_ROLE = {name: example_of(RoleItem)[name] for name in ("name", "system_prompt", "enable_l0_retrieval")}
_INVALID = {
    400: refusal("config_id not found: sales", "config_not_found", "invalid_request", "username_reserved"),
    403: refusal("The API key is bound to another username", "username_not_allowed", "role_not_yours"),
    409: refusal("A role of this name exists already", "role_exists", "too_many_roles"),
}
_NOT_FOUND = {404: refusal("Role not found", "role_not_found")}
_BOOLEANS = {"true": True, "1": True, "false": False, "0": False}


@blueprint.post("/api/kernel2/roles")
@second_me_operation(
    "createRole",
    "Create a role",
    description="With a key that is bound to a username the role is that user's; else it is everyone's, or `owner`'s.",
    body=Body(CreateRoleRequest, {"librarian": _NEW_ROLE}),
    answers={200: Answer("The role", RoleAnswer)},
    errors={**_INVALID, **UNAVAILABLE},
)
async def create_role() -> Response:
    new = convert(await json_object(), CreateRoleRequest)
    return _answer(await service(RoleService).create(caller(), new))


@blueprint.get("/api/kernel2/roles")
@second_me_operation(
    "listRoles",
    "List the roles",
    description="In the order in which they were made. A key that is bound to a username sees that user's and the "
    "shared ones, every other key sees all.",
    params=[Param("is_active", "Only those that are active, or are not.", {"type": "boolean"})],
    answers={200: Answer("The roles", RolesAnswer)},
    errors={400: refusal("is_active must be true or false", "invalid_request"), **UNAVAILABLE},
)
async def list_roles() -> Response:
    flag = request.args.get("is_active")
    if flag is not None and flag.lower() not in _BOOLEANS:
        raise BadRequest("is_active must be true or false", code="invalid_request")
    is_active = None if flag is None else _BOOLEANS[flag.lower()]
    roles = await service(RoleService).list_roles(caller(), is_active=is_active)
    return json_response(RolesAnswer(data=[_item(role) for role in roles]))


@blueprint.get("/api/kernel2/roles/<uuid>")
@second_me_operation(
    "getRole",
    "Get a role",
    description="One role.",
    params=[_UUID],
    answers={200: Answer("The role", RoleAnswer)},
    errors={**_NOT_FOUND, **UNAVAILABLE},
)
async def get_role(uuid: str) -> Response:
    return _answer(await service(RoleService).get(caller(), uuid))


@blueprint.put("/api/kernel2/roles/<uuid>")
@second_me_operation(
    "updateRole",
    "Change a role",
    description="What is left out stays. A key that is bound to a username changes that user's roles, any other key "
    "those that it made; with the scope `admin` it changes all.",
    params=[_UUID],
    body=Body(UpdateRoleRequest, {"off": {"is_active": False}}),
    answers={200: Answer("The role as it is now", RoleAnswer)},
    errors={**_INVALID, **_NOT_FOUND, **UNAVAILABLE},
)
async def update_role(uuid: str) -> Response:
    changes = convert(await json_object(), UpdateRoleRequest)
    return _answer(await service(RoleService).update(caller(), uuid, changes))


@blueprint.delete("/api/kernel2/roles/<uuid>")
@second_me_operation(
    "deleteRole",
    "Delete a role",
    description="A key that is bound to a username deletes that user's roles, any other key those that it made; with "
    "the scope `admin` it deletes all.",
    params=[_UUID],
    answers={200: Answer("It is gone", RoleDeleted)},
    errors={**_NOT_FOUND, **UNAVAILABLE},
)
async def delete_role(uuid: str) -> Response:
    await service(RoleService).delete(caller(), uuid)
    return json_response(RoleDeleted())


def _answer(role: Role) -> Response:
    return json_response(RoleAnswer(data=_item(role)))


def _item(role: Role) -> RoleItem:
    """The role as the caller sees it: the prompts of shared roles are the operator's affair."""
    if role.owner == SHARED and caller().username is not None:
        return shape_of(RoleItem, role, system_prompt=None, begin_dialogs=None)
    return shape_of(RoleItem, role)
