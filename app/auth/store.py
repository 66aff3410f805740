"""API keys in the database: functions of a connection."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import msgspec
from msgspec import structs
from sqlalchemy import Connection, bindparam, delete, insert, or_, select, update
from sqlalchemy.dialects import postgresql

from app.auth.models import ApiKey, ApiKeyRow, KeyClockRow, Principal
from app.database.tables import value_of
from app.errors import NotFound

_INSERT = insert(ApiKeyRow)
_UPDATE = update(ApiKeyRow).where(ApiKeyRow.id == bindparam("key_id"))
_SET_LAST_USED = _UPDATE.values(last_used_at=bindparam("moment"))
_DELETE = delete(ApiKeyRow).where(ApiKeyRow.id == bindparam("key_id"))
# What is read to be changed is locked, where the database has more than one writer.
_GET = select(ApiKeyRow).where(ApiKeyRow.id == bindparam("key_id"))
_FIND = select(ApiKeyRow).where(
    or_(ApiKeyRow.digest == bindparam("digest"), ApiKeyRow.previous_digest == bindparam("digest"))
)
_CHILDREN = (
    update(ApiKeyRow)
    .where(ApiKeyRow.parent_id.in_(bindparam("ids", expanding=True)), ApiKeyRow.revoked_at.is_(None))
    .values(revoked_at=bindparam("moment"), previous_digest=None, previous_expires_at=None)
    .returning(ApiKeyRow.id)
)
_CHILD_IDS = select(ApiKeyRow.id).where(ApiKeyRow.parent_id.in_(bindparam("ids", expanding=True)))
_LATEST = select(KeyClockRow.latest)
# Both databases have the clause, and SQLite's compiler takes PostgreSQL's word for it.
_BEGIN_CLOCK = postgresql.insert(KeyClockRow).on_conflict_do_nothing()
_COUNT_CHANGE = postgresql.insert(KeyClockRow).values(id=1, latest=bindparam("moment"), changes=1)
_COUNT_CHANGE = _COUNT_CHANGE.on_conflict_do_update(
    index_elements=[KeyClockRow.id], set_={"changes": KeyClockRow.changes + 1}
)
_CHANGES = select(KeyClockRow.changes)
_REACH_LATEST = update(KeyClockRow).where(KeyClockRow.latest < bindparam("moment")).values(latest=bindparam("moment"))
_LIST = select(ApiKeyRow).order_by(ApiKeyRow.created_at.desc(), ApiKeyRow.id)
_ANY = select(ApiKeyRow.id).limit(1)


def add_key(connection: Connection, key: ApiKey, digest: bytes) -> None:
    connection.execute(_INSERT, {**structs.asdict(key), **_json_of(key), "digest": digest})


def save_key(connection: Connection, key: ApiKey) -> None:
    """Store what can be changed of a key."""
    connection.execute(_UPDATE.values(name=key.name, blocked=key.blocked, **_json_of(key)), {"key_id": key.id})


def _json_of(key: ApiKey) -> dict[str, Any]:
    limits = None if key.limits is None else msgspec.to_builtins(key.limits)
    return {"scopes": key.sorted_scopes, "limits": limits}


def find_key(
    connection: Connection, digest: bytes, *, for_update: bool = False
) -> tuple[ApiKey, datetime | None] | None:
    """Find the key whose text has this digest, and the end of that text, if a rotation has set one."""
    row = connection.execute(_FIND.with_for_update() if for_update else _FIND, {"digest": digest}).first()
    if row is None:
        return None
    return value_of(ApiKey, row), row.previous_expires_at if row.digest != digest else None


def get_key(connection: Connection, key_id: str, principal: Principal | None, *, for_update: bool = True) -> ApiKey:
    """Get a key that the caller manages, in order to change it. Raises NotFound."""
    query = _GET.with_for_update() if for_update else _GET
    row = None if "\0" in key_id else connection.execute(query, {"key_id": key_id}).first()
    if row is None or (principal is not None and principal.username not in (None, row.username)):
        raise NotFound("API key not found", code="api_key_not_found")
    return value_of(ApiKey, row)


def has_keys(connection: Connection) -> bool:
    """Look for any key, live or not."""
    return connection.execute(_ANY).first() is not None


def rename_config(connection: Connection, config_id: str, new_id: str, now: datetime) -> None:
    """Have the keys that are limited to a profile follow it to its new id."""
    limited = _LIST.where(ApiKeyRow.limits.is_not(None)).with_for_update()
    for row in connection.execute(limited).all():
        key = value_of(ApiKey, row)
        if key.limits is None or config_id not in (key.limits.configs or ()):
            continue
        configs = dict.fromkeys(new_id if each == config_id else each for each in key.limits.configs or ())
        save_key(connection, structs.replace(key, limits=structs.replace(key.limits, configs=tuple(configs))))
    count_change(connection, now)


def list_keys(connection: Connection, username: str | None) -> list[ApiKey]:
    """List all keys, or those bound to a user, the newest first."""
    query = _LIST if username is None else _LIST.where(ApiKeyRow.username == username)
    return [value_of(ApiKey, row) for row in connection.execute(query)]


def replace_text(connection: Connection, key: ApiKey, digest: bytes) -> None:
    """Give a key the digest of its new text; the present one stays as the previous one until that expires."""
    connection.execute(
        _UPDATE.values(
            digest=digest,
            prefix=key.prefix,
            previous_digest=None if key.previous_expires_at is None else ApiKeyRow.digest,
            previous_expires_at=key.previous_expires_at,
        ),
        {"key_id": key.id},
    )


def revoke_key(connection: Connection, key: ApiKey) -> None:
    connection.execute(
        _UPDATE.values(revoked_at=key.revoked_at, previous_digest=None, previous_expires_at=None), {"key_id": key.id}
    )


def revoke_children(connection: Connection, key_id: str, now: datetime) -> list[str]:
    """Revoke the keys that this one made, and those that they made; their ids.

    Level by level: a key that is making another now is waited for, and the next statement sees what it made.
    """
    revoked: list[str] = []
    level = [key_id]
    while level:
        level = list(connection.scalars(_CHILDREN, {"ids": level, "moment": now}))
        revoked += level
    return revoked


def children_of(connection: Connection, key_id: str) -> list[str]:
    """List the keys that this one made, and those that they made."""
    ids: list[str] = []
    level = [key_id]
    while level:
        level = list(connection.scalars(_CHILD_IDS, {"ids": level}))
        ids += level
    return ids


def latest_time(connection: Connection) -> datetime | None:
    """Read the latest time that keys have seen."""
    return connection.scalar(_LATEST)


def keep_latest_time(connection: Connection, moment: datetime) -> None:
    connection.execute(_BEGIN_CLOCK, {"id": 1, "latest": moment})
    connection.execute(_REACH_LATEST, {"moment": moment})


def count_change(connection: Connection, moment: datetime) -> None:
    """Count a change of a key that servers may have cached: each looks at the number."""
    connection.execute(_COUNT_CHANGE, {"moment": moment})


def count_changes(connection: Connection) -> int:
    """Return how often keys have been changed."""
    return connection.scalar(_CHANGES) or 0


def set_last_used(connection: Connection, moments: Mapping[str, datetime]) -> None:
    """Store the last use of keys, by their ids."""
    # In one order, so that two servers that write at once do not wait for each other.
    rows: list[dict[str, Any]] = [{"key_id": key_id, "moment": moment} for key_id, moment in sorted(moments.items())]
    connection.execute(_SET_LAST_USED, rows)


def delete_key(connection: Connection, key_id: str) -> None:
    connection.execute(_DELETE, {"key_id": key_id})
