"""Whether the servers of a database have the same profiles and settings.

Each stores digests of its own, one for each profile and setting, and compares those of the others. A difference keeps
nobody from serving: during an update there always is one.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence

import msgspec
import structlog
from sqlalchemy import JSON, Connection, ForeignKey, String, exists, insert, select, update
from sqlalchemy.orm import Mapped, mapped_column

from app.cluster.models import ServerRow
from app.cluster.store import IS_LIVE
from app.database.engine import Database
from app.database.tables import Base

CHECK_SECONDS = 5.0
Digests = Mapping[str, str]
"""By the name of what they are of, such as `setting max_runs` or `profile default`."""

log = structlog.get_logger(__name__)


class ServerConfigRow(Base):
    """The digests of a server; `fingerprint` is theirs together."""

    __tablename__ = "server_configs"

    server_id: Mapped[str] = mapped_column(ForeignKey("servers.id", ondelete="CASCADE"), primary_key=True)
    fingerprint: Mapped[str] = mapped_column(String(64))
    digests: Mapped[dict[str, str]] = mapped_column(JSON)


class Difference(msgspec.Struct, frozen=True):
    """A profile or setting that these servers have otherwise than this one, or only one of both has."""

    name: str
    server_ids: tuple[str, ...]


class ConfigWatch:
    """Compares this server with the others; without a `database` there are none, and nothing is written."""

    def __init__(self, database: Database | None, server_id: str, digests: Callable[[], Digests]) -> None:
        self.differences: Sequence[Difference] = ()
        self._database = database
        self._server_id = server_id
        self._digests = digests
        self._last: Sequence[Difference] = ()
        self._logged: Sequence[Difference] = ()

    async def compare(self) -> None:
        """Store what this server has, if it has changed, and find what others have otherwise.

        Raises DatabaseUnavailable.
        """
        if self._database is None:
            return
        own = dict(self._digests())
        fingerprint = hashlib.sha256(msgspec.json.encode(own, order="deterministic")).hexdigest()
        fingerprints = await self._database.read(_fingerprints)
        if fingerprints.pop(self._server_id, None) != fingerprint:
            await self._database.write(lambda connection: _store(connection, self._server_id, fingerprint, own))
        ids = [server_id for server_id, other in fingerprints.items() if other != fingerprint]
        others = await self._database.read(lambda connection: _digests_of(connection, ids)) if ids else {}
        self._note(_differences(own, others))

    def _note(self, differences: Sequence[Difference]) -> None:
        # What one look alone has seen is a change on its way to all servers.
        is_lasting, self._last, self.differences = differences == self._last, differences, differences
        if is_lasting and differences != self._logged:
            self._logged = differences
            if differences:
                names = [difference.name for difference in differences]
                servers = sorted({server_id for difference in differences for server_id in difference.server_ids})
                log.warning("servers_differ", names=names, servers=servers)
            else:
                log.info("servers_agree_again")


def _differences(own: Digests, others: Mapping[str, Digests]) -> tuple[Difference, ...]:
    names = sorted(own.keys() | {name for digests in others.values() for name in digests})
    return tuple(
        Difference(name, ids)
        for name in names
        if (ids := tuple(sorted(id for id, digests in others.items() if digests.get(name) != own.get(name))))
    )


def _fingerprints(connection: Connection) -> dict[str, str]:
    """Return the fingerprints of the servers that live, by their ids."""
    query = select(ServerConfigRow.server_id, ServerConfigRow.fingerprint)
    rows = connection.execute(query.join(ServerRow, ServerRow.id == ServerConfigRow.server_id).where(IS_LIVE))
    return {row.server_id: row.fingerprint for row in rows}


def _digests_of(connection: Connection, ids: Sequence[str]) -> dict[str, Digests]:
    query = select(ServerConfigRow.server_id, ServerConfigRow.digests).where(ServerConfigRow.server_id.in_(ids))
    return {row.server_id: row.digests for row in connection.execute(query)}


def _store(connection: Connection, server_id: str, fingerprint: str, digests: Digests) -> None:
    values = {"fingerprint": fingerprint, "digests": dict(digests)}
    is_own = ServerConfigRow.server_id == server_id
    if connection.execute(update(ServerConfigRow).where(is_own).values(**values)).rowcount:
        return
    if connection.scalar(select(exists().where(ServerRow.id == server_id))):  # not before it has joined
        connection.execute(insert(ServerConfigRow).values(server_id=server_id, **values))
