"""Roles: making and keeping them, and finding the one that a request names."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any
from uuid import uuid4

from sqlalchemy import ColumnElement, delete, func, insert, or_, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from app.auth.models import Principal
from app.clock import utc_now
from app.database.engine import Database
from app.errors import BadRequest, Conflict, Forbidden, NotFound
from app.profiles.service import ProfileService
from app.roles.models import SHARED, NewRole, Role, RoleChanges, RoleRow

MAX_ROLES_PER_OWNER = 200


class RoleService:
    """The roles in the database. A key bound to a user sees that user's and the shared ones, and changes the former;
    one that is bound to nobody sees and changes all."""

    def __init__(self, database: Database, profiles: ProfileService) -> None:
        self._database = database
        self._profiles = profiles

    async def create(self, principal: Principal, new: NewRole) -> Role:
        """Raises BadRequest for a blank name or a profile that is not there, Forbidden, Conflict."""
        owner = new.owner if new.owner is not None else principal.username or SHARED
        principal.check_user(owner)
        now = utc_now()
        values = {"uuid": str(uuid4()), **asdict(new), "owner": owner, "create_time": now, "update_time": now}
        values = self._checked(values)
        async with self._database.write_block() as connection:
            await _check_room(connection, owner)
            return await _written(connection, insert(RoleRow).values(values), values["uuid"])

    async def list_roles(self, principal: Principal, *, is_active: bool | None = None) -> list[Role]:
        """All that the caller sees, or those that are active or not; in the order in which they were made."""
        query = select(RoleRow).where(*_visible_to(principal)).order_by(RoleRow.create_time, RoleRow.uuid)
        if is_active is not None:
            query = query.where(RoleRow.is_active == is_active)
        async with self._database.read_block() as connection:
            return [_to_role(row) for row in await connection.execute(query)]

    async def get(self, principal: Principal, uuid: str) -> Role:
        """Raises NotFound `Role not found`, also for another user's."""
        async with self._database.read_block() as connection:
            return await _get(connection, principal, uuid)

    async def get_for_use(self, ref: str, username: str, *, any_owner: bool = False) -> Role:
        """The active role of this uuid or name, among the user's own and the shared ones; the user's own first.

        With `any_owner`, for keys that are bound to no user, a uuid may also be another user's. Raises NotFound
        `Role not found`, for an inactive one too.
        """
        mine = RoleRow.owner.in_((username, SHARED))
        named = (RoleRow.name == ref) & mine
        identified = RoleRow.uuid == ref if any_owner else (RoleRow.uuid == ref) & mine
        async with self._database.read_block() as connection:
            found = [_to_role(row) for row in await connection.execute(select(RoleRow).where(or_(identified, named)))]
        found.sort(key=lambda role: (role.uuid != ref, role.owner != username))
        if not found or not found[0].is_active:
            raise _not_found()
        return found[0]

    async def update(self, principal: Principal, uuid: str, changes: RoleChanges) -> Role:
        """Raises NotFound, Forbidden for a shared role and a key that is bound, BadRequest, Conflict."""
        values = self._checked(changes.values())
        async with self._database.write_block() as connection:
            role = await _get_own(connection, principal, uuid)
            if "owner" in values and values["owner"] != role.owner:
                principal.check_user(values["owner"])
                await _check_room(connection, values["owner"])
            change = update(RoleRow).where(RoleRow.uuid == uuid).values(**values, update_time=utc_now())
            return await _written(connection, change, uuid)

    async def delete(self, principal: Principal, uuid: str) -> None:
        """Raises NotFound, Forbidden for a shared role and a key that is bound."""
        async with self._database.write_block() as connection:
            await _get_own(connection, principal, uuid)
            await connection.execute(delete(RoleRow).where(RoleRow.uuid == uuid))

    def _checked(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """The same, as they are stored."""
        checked = dict(values)
        if "name" in checked:
            checked["name"] = checked["name"].strip()
            if not checked["name"]:
                raise BadRequest("name is empty", code="invalid_request")
        if checked.get("config_id") is not None:
            self._profiles.get(checked["config_id"])
        if "collections" in checked:
            checked["collections"] = list(dict.fromkeys(checked["collections"]))
        return checked


def _visible_to(principal: Principal) -> list[ColumnElement[bool]]:
    return [] if principal.username is None else [RoleRow.owner.in_((principal.username, SHARED))]


async def _get(connection: AsyncConnection, principal: Principal, uuid: str) -> Role:
    row = (await connection.execute(select(RoleRow).where(RoleRow.uuid == uuid, *_visible_to(principal)))).first()
    if row is None:
        raise _not_found()
    return _to_role(row)


async def _get_own(connection: AsyncConnection, principal: Principal, uuid: str) -> Role:
    """A role that the caller may change."""
    role = await _get(connection, principal, uuid)
    if principal.username is not None and role.owner != principal.username:
        raise Forbidden("The role is shared, and the API key is bound to a username", code="role_not_yours")
    return role


async def _check_room(connection: AsyncConnection, owner: str) -> None:
    """Raises Conflict when the owner has as many roles as one may have."""
    held = await connection.scalar(select(func.count()).select_from(RoleRow).where(RoleRow.owner == owner))
    if (held or 0) >= MAX_ROLES_PER_OWNER:
        raise Conflict(f"There are {MAX_ROLES_PER_OWNER} roles already", code="too_many_roles")


async def _written(connection: AsyncConnection, change: Any, uuid: str) -> Role:
    """The role as it is after the change. Raises Conflict when its owner has another of that name."""
    try:
        await connection.execute(change)
    except IntegrityError:
        raise Conflict("A role of this name exists already", code="role_exists") from None
    return _to_role((await connection.execute(select(RoleRow).where(RoleRow.uuid == uuid))).one())


def _not_found() -> NotFound:
    return NotFound("Role not found", code="role_not_found")


def _to_role(row: Any) -> Role:
    return Role(
        uuid=row.uuid,
        owner=row.owner,
        name=row.name,
        description=row.description,
        system_prompt=row.system_prompt,
        icon=row.icon,
        is_active=row.is_active,
        enable_l0_retrieval=row.enable_l0_retrieval,
        config_id=row.config_id,
        collections=tuple(row.collections),
        create_time=row.create_time,
        update_time=row.update_time,
    )
