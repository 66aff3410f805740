"""`/api/kernel2/roles`."""

from quart import Blueprint, Response, request

from app.auth.guards import caller
from app.auth.scopes import Scope
from app.doors.second_me import role_examples as examples
from app.doors.second_me.errors import ERRORS
from app.doors.second_me.role_schemas import RoleAnswer, RoleDeleted, RoleItem, RolesAnswer
from app.edge.bodies import convert, json_object
from app.edge.operation import operation
from app.edge.responses import json_response
from app.edge.services import service
from app.errors import BadRequest
from app.roles.models import Role
from app.roles.schemas import CreateRoleRequest, UpdateRoleRequest
from app.roles.service import RoleService

TAG = "Second Me"
_BOOLEANS = {"true": True, "1": True, "false": False, "0": False}

blueprint = Blueprint("kernel2_roles", __name__)


@blueprint.post("/api/kernel2/roles")
@operation(
    "createRole",
    "Create a role",
    scope=Scope.CHAT,
    description="With a key that is bound to a username the role is that user's; else it is everyone's, or `owner`'s.",
    body=examples.CREATE,
    answers=examples.ONE,
    errors=examples.CREATE_ERRORS,
    tag=TAG,
    error_shape=ERRORS,
)
async def create_role() -> Response:
    new = convert(await json_object(), CreateRoleRequest)
    return _answer(await service(RoleService).create(caller(), new))


@blueprint.get("/api/kernel2/roles")
@operation(
    "listRoles",
    "List the roles",
    scope=Scope.CHAT,
    description="In the order in which they were made. A key that is bound to a username sees that user's and the "
    "shared ones, every other key sees all.",
    params=[examples.IS_ACTIVE],
    answers=examples.LISTED,
    errors=examples.LIST_ERRORS,
    tag=TAG,
    error_shape=ERRORS,
)
async def list_roles() -> Response:
    flag = request.args.get("is_active")
    if flag is not None and flag.lower() not in _BOOLEANS:
        raise BadRequest("is_active must be true or false", code="invalid_request")
    is_active = None if flag is None else _BOOLEANS[flag.lower()]
    roles = await service(RoleService).list_roles(caller(), is_active=is_active)
    return json_response(RolesAnswer(data=[RoleItem.of(role) for role in roles]))


@blueprint.get("/api/kernel2/roles/<uuid>")
@operation(
    "getRole",
    "Get a role",
    scope=Scope.CHAT,
    description="One role.",
    params=[examples.UUID],
    answers=examples.ONE,
    errors=examples.GET_ERRORS,
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
    params=[examples.UUID],
    body=examples.UPDATE,
    answers=examples.UPDATED,
    errors=examples.UPDATE_ERRORS,
    tag=TAG,
    error_shape=ERRORS,
)
async def update_role(uuid: str) -> Response:
    changes = convert(await json_object(), UpdateRoleRequest)
    return _answer(await service(RoleService).update(caller(), uuid, changes))


@blueprint.delete("/api/kernel2/roles/<uuid>")
@operation(
    "deleteRole",
    "Delete a role",
    scope=Scope.CHAT,
    description="A key that is bound to a username deletes that user's roles only.",
    params=[examples.UUID],
    answers=examples.DELETED,
    errors=examples.GET_ERRORS,
    tag=TAG,
    error_shape=ERRORS,
)
async def delete_role(uuid: str) -> Response:
    await service(RoleService).delete(caller(), uuid)
    return json_response(RoleDeleted())


def _answer(role: Role) -> Response:
    return json_response(RoleAnswer(data=RoleItem.of(role)))
