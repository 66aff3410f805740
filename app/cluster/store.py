"""Every statement on servers, as functions of a connection. They are for PostgreSQL: no other database is shared."""

from datetime import timedelta

from msgspec.structs import asdict
from sqlalchemy import ColumnElement, Connection, bindparam, delete, literal_column, select
from sqlalchemy.dialects import postgresql
from sqlalchemy.orm import InstrumentedAttribute
from sqlalchemy.types import Boolean

from app.cluster.models import Load, Server, ServerInfo, ServerRow
from app.database.clock import moment_in
from app.database.tables import value_of

LEASE = timedelta(seconds=5)
"""A server that has not been seen for so long is dead."""
UNLOCKED_LEASE = timedelta(seconds=2)
"""The same for one whose lock is free, though it had it when it was last seen."""
FORGOTTEN_AFTER = timedelta(days=1)
TRY_LOCK = "SELECT pg_try_advisory_lock(hashtextextended($1::text, 14))"
"""The statement that takes the lock of the server whose id is its argument; the seed tells it from other locks."""

_IS_UNLOCKED: ColumnElement[bool] = literal_column(
    """NOT EXISTS (
        SELECT FROM pg_locks WHERE locktype = 'advisory' AND objsubid = 1 AND granted
        AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
        AND ((classid::bigint << 32) | objid::bigint) = hashtextextended(servers.id, 14)
    )""",
    Boolean,
)
IS_LIVE: ColumnElement[bool] = (ServerRow.seen_at > moment_in(-LEASE)) & ~(
    ServerRow.holds_lock & (ServerRow.seen_at <= moment_in(-UNLOCKED_LEASE)) & _IS_UNLOCKED
)
_SERVERS = select(ServerRow, IS_LIVE.label("is_live")).order_by(ServerRow.started_at, ServerRow.id)
_ADD = postgresql.insert(ServerRow).values(
    id=bindparam("id"),
    hostname=bindparam("hostname"),
    address=bindparam("address"),
    version=bindparam("version"),
    started_at=moment_in(),
    seen_at=moment_in(),
    holds_lock=bindparam("holds_lock"),
    load=bindparam("load"),
)
_RENEWED = {name: _ADD.excluded[name] for name in ("hostname", "address", "version", "seen_at", "holds_lock", "load")}
_RENEW = _ADD.on_conflict_do_update(index_elements=[ServerRow.id], set_=_RENEWED)
_JOIN = _ADD.on_conflict_do_update(
    index_elements=[ServerRow.id], set_={**_RENEWED, "started_at": _ADD.excluded.started_at}
)
_FORGET = delete(ServerRow).where(ServerRow.seen_at < moment_in(-FORGOTTEN_AFTER))


def join(connection: Connection, info: ServerInfo) -> None:
    """Add a server, or begin a new life of it."""
    connection.execute(_JOIN, {**asdict(info), "holds_lock": False, "load": {}})
    connection.execute(_FORGET)


def renew(connection: Connection, info: ServerInfo, load: Load, *, holds_lock: bool) -> list[Server]:
    """Write that a server lives, and how it is; the servers that there are, the oldest first."""
    connection.execute(_RENEW, {**asdict(info), "holds_lock": holds_lock, "load": load})
    return list_servers(connection)


def leave(connection: Connection, server_id: str) -> None:
    connection.execute(delete(ServerRow).where(ServerRow.id == server_id))


def list_servers(connection: Connection) -> list[Server]:
    return [value_of(Server, row) for row in connection.execute(_SERVERS)]


def is_live(server_id: InstrumentedAttribute[str]) -> ColumnElement[bool]:
    """Whether the server of this id lives. A server is added before it makes anything that others may see."""
    return select(ServerRow.id).where(ServerRow.id == server_id, IS_LIVE).exists()


def is_known(server_id: InstrumentedAttribute[str]) -> ColumnElement[bool]:
    """Whether the server of this id has not left."""
    return select(ServerRow.id).where(ServerRow.id == server_id).exists()
