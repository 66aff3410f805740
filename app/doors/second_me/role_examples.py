"""Answers, errors and examples of roles, for the published document."""

from app.doors.second_me.role_schemas import RoleAnswer, RoleDeleted, RolesAnswer
from app.edge.operation import Answer, Body, Param
from app.roles.schemas import CreateRoleRequest, UpdateRoleRequest

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
_NEW_ROLE = {field: _ROLE[field] for field in ("name", "system_prompt", "enable_l0_retrieval")}
_SUCCESS = {"code": 0, "message": "success"}
_UNAVAILABLE = {503: "The database is not available at the moment; nothing was changed"}
_INVALID = {400: "config_id not found: sales", 409: "A role of this name exists already"}

UUID = Param("uuid", "The role's uuid.", {"type": "string", "minLength": 1}, where="path", required=True)
IS_ACTIVE = Param("is_active", "Only those that are active, or are not.", {"type": "boolean"})

CREATE = Body(CreateRoleRequest, examples={"librarian": _NEW_ROLE})
CREATE_ERRORS = {**_INVALID, **_UNAVAILABLE}
LIST_ERRORS = {400: "is_active must be true or false", **_UNAVAILABLE}
GET_ERRORS = {404: "Role not found", **_UNAVAILABLE}
UPDATE = Body(UpdateRoleRequest, examples={"off": {"is_active": False}})
UPDATE_ERRORS = {**_INVALID, **GET_ERRORS}

ONE = {200: Answer("The role", RoleAnswer, example={**_SUCCESS, "data": _ROLE})}
LISTED = {200: Answer("The roles", RolesAnswer, example={**_SUCCESS, "data": [_ROLE]})}
UPDATED = {200: Answer("The role as it is now", RoleAnswer, example={**_SUCCESS, "data": _ROLE})}
DELETED = {200: Answer("It is gone", RoleDeleted, example={**_SUCCESS, "data": None})}
