"""Roles: making and keeping them, and finding the one that a request names."""

from typing import Any
from uuid import uuid4

from msgspec import structs
from sqlalchemy import Connection

from app.auth.models import Principal, check_not_reserved
from app.auth.scopes import Scope
from app.clock import utc_now
from app.database.engine import Database
from app.errors import BadRequest, Conflict, Forbidden
from app.profiles.service import ProfileService
from app.roles import store
from app.roles.models import SHARED, Role
from app.roles.schemas import CreateRoleRequest, UpdateRoleRequest, values_of

MAX_ROLES_PER_OWNER = 200


class RoleService:
    """The roles in the database.

    A key bound to a user sees that user's roles and the shared ones, and changes the former. One that is bound to
    nobody sees all, and changes those that it made itself; the others need the scope `admin`.
    """

    def __init__(self, database: Database, profiles: ProfileService) -> None:
        self._database = database
        self._profiles = profiles

    async def create(self, principal: Principal, request: CreateRoleRequest) -> Role:
        """Make a role, for the user of a bound key, else shared, unless the request names its owner.

        Raises BadRequest for a blank name, an unknown profile or half a dialogue, Forbidden, Conflict.
        """
        owner = principal.username or SHARED if request.owner is None else request.owner
        check_not_reserved(owner)
        principal.check_user(owner)
        values = {**self._checked_values(request), "owner": owner}
        now = utc_now()
        role = Role(uuid=str(uuid4()), create_time=now, update_time=now, key_id=principal.key_id, **values)

        def create(connection: Connection) -> None:
            _check_room(connection, role.owner)
            store.add_role(connection, role)

        await self._database.write(create)
        return role

    async def list_roles(self, principal: Principal, *, is_active: bool | None = None) -> list[Role]:
        """List the roles that the caller sees, or those that are active or not, the oldest first."""
        return await self._database.read(lambda connection: store.list_roles(connection, principal, is_active))

    async def get(self, principal: Principal, role_id: str) -> Role:
        """Raises NotFound `Role not found`, also for another user's."""
        return await self._database.read(lambda connection: store.get_role(connection, principal, role_id))

    async def get_for_use(self, ref: str, username: str, *, any_owner: bool = False) -> Role:
        """As `store.get_role_for_use`."""
        return await self._database.read(
            lambda connection: store.get_role_for_use(connection, ref, username, any_owner=any_owner)
        )

    async def update(self, principal: Principal, role_id: str, request: UpdateRoleRequest) -> Role:
        """Raises NotFound, Forbidden for a role that the key may not change, BadRequest, Conflict."""
        values = self._checked_values(request)

        def update(connection: Connection) -> Role:
            role = _get_own(connection, principal, role_id)
            new = structs.replace(role, update_time=utc_now(), **values)
            if new.owner != role.owner:
                check_not_reserved(new.owner)
                principal.check_user(new.owner)
                _check_room(connection, new.owner)
            store.save_role(connection, new)
            return new

        return await self._database.write(update)

    async def delete(self, principal: Principal, role_id: str) -> None:
        """Raises NotFound, Forbidden for a role that the key may not change."""
        await self._database.write(
            lambda connection: store.delete_role(connection, _get_own(connection, principal, role_id))
        )

    def _checked_values(self, request: CreateRoleRequest | UpdateRoleRequest) -> dict[str, Any]:
        """Collect the fields that a request sets, in the form in which they are stored. Raises BadRequest."""
        values = values_of(request)
        if "name" in values:
            values["name"] = values["name"].strip()
            if not values["name"]:
                raise BadRequest("name is empty", code="invalid_request")
        if values.get("config_id") is not None:
            self._profiles.get(values["config_id"])
        if "collections" in values:
            values["collections"] = tuple(dict.fromkeys(values["collections"]))
        for field in ("tools", "begin_dialogs"):
            if values.get(field) is not None:
                values[field] = tuple(values[field])
        if len(values.get("begin_dialogs", ())) % 2:
            raise BadRequest("begin_dialogs must end with a text of the assistant", code="invalid_request")
        return values


def _get_own(connection: Connection, principal: Principal, role_id: str) -> Role:
    """Get a role that the caller may change. Raises NotFound, Forbidden."""
    role = store.get_role(connection, principal, role_id, for_update=True)
    if principal.username is not None:
        if role.owner != principal.username:
            raise Forbidden("The role is shared, and the API key is bound to a username", code="role_not_yours")
        return role
    # Without keys, everyone on the machine is its operator.
    if not (role.key_id == principal.key_id or principal.is_anonymous or Scope.ADMIN in principal.scopes):
        raise Forbidden("A role that another key made is changed with the scope admin", code="insufficient_scope")
    return role


def _check_room(connection: Connection, owner: str) -> None:
    """Raises Conflict when the owner has as many roles as one may have."""
    if store.count_roles(connection, owner) >= MAX_ROLES_PER_OWNER:
        raise Conflict(f"There are {MAX_ROLES_PER_OWNER} roles already", code="too_many_roles")
