"""Roles in the database: functions of a connection."""

from msgspec import structs
from sqlalchemy import Connection, bindparam, delete, func, insert, or_, select, update
from sqlalchemy.exc import IntegrityError

from app.auth.models import Principal
from app.database.tables import value_of
from app.errors import Conflict, NotFound
from app.roles.models import SHARED, Role, RoleRow

_BY_ID = RoleRow.uuid == bindparam("role_id")
_BY_NAME = RoleRow.name == bindparam("role_id")
_OF_USER = or_(RoleRow.owner == bindparam("username"), RoleRow.owner == SHARED)
_INSERT = insert(RoleRow)
_UPDATE = update(RoleRow).where(_BY_ID)
_DELETE = delete(RoleRow).where(_BY_ID)
_GET = select(RoleRow).where(_BY_ID)
_LIST = select(RoleRow).order_by(RoleRow.create_time, RoleRow.uuid)
_COUNT = select(func.count()).select_from(RoleRow).where(RoleRow.owner == bindparam("owner"))
_FIND_FOR_USE = select(RoleRow).where(_OF_USER, or_(_BY_ID, _BY_NAME))
_FIND_ANY_FOR_USE = select(RoleRow).where(or_(_BY_ID, _BY_NAME & _OF_USER))


def add_role(connection: Connection, role: Role) -> None:
    """Raises Conflict when its owner has another of that name."""
    try:
        connection.execute(_INSERT, structs.asdict(role))
    except IntegrityError:
        raise _name_taken() from None


def list_roles(connection: Connection, principal: Principal, is_active: bool | None) -> list[Role]:
    """List the roles that the caller sees, or those that are active or not, the oldest first."""
    query = _LIST if principal.username is None else _LIST.where(_OF_USER)
    if is_active is not None:
        query = query.where(RoleRow.is_active == is_active)
    return [value_of(Role, row) for row in connection.execute(query, {"username": principal.username})]


def get_role(connection: Connection, principal: Principal, role_id: str, *, for_update: bool = False) -> Role:
    """Get a role that the caller sees; `for_update` locks it, where the database has more than one writer.

    Raises NotFound.
    """
    query = _GET if principal.username is None else _GET.where(_OF_USER)
    if for_update:
        query = query.with_for_update()
    parameters = {"role_id": role_id, "username": principal.username}
    row = None if "\0" in role_id else connection.execute(query, parameters).first()
    if row is None:
        raise _not_found()
    return value_of(Role, row)


def get_role_for_use(connection: Connection, ref: str, username: str, *, any_owner: bool = False) -> Role:
    """Get the active role of this uuid or name, among the user's own and the shared ones; the user's own first.

    With `any_owner`, for keys that are bound to no user, a uuid may also be another user's. Raises NotFound, for an
    inactive role too.
    """
    if "\0" in ref:
        raise _not_found()
    query = _FIND_ANY_FOR_USE if any_owner else _FIND_FOR_USE
    rows = connection.execute(query, {"role_id": ref, "username": username})
    roles = [value_of(Role, row) for row in rows]
    roles.sort(key=lambda role: (role.uuid != ref, role.owner != username))
    if not roles or not roles[0].is_active:
        raise _not_found()
    return roles[0]


def count_roles(connection: Connection, owner: str) -> int:
    return connection.scalar(_COUNT, {"owner": owner}) or 0


def save_role(connection: Connection, role: Role) -> None:
    """Raises Conflict when its owner has another of that name."""
    try:
        connection.execute(_UPDATE, {"role_id": role.uuid, **structs.asdict(role)})
    except IntegrityError:
        raise _name_taken() from None


def delete_role(connection: Connection, role: Role) -> None:
    connection.execute(_DELETE, {"role_id": role.uuid})


def _not_found() -> NotFound:
    return NotFound("Role not found", code="role_not_found")


def _name_taken() -> Conflict:
    return Conflict("A role of this name exists already", code="role_exists")
