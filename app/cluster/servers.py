"""The servers that share a database: this one's row, renewed each second, and what the others' rows say."""

import asyncio
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial

import structlog
from msgspec.structs import asdict

from app.background import Pulse, every
from app.clock import utc_now
from app.cluster import store
from app.cluster.models import Load, Server, ServerInfo
from app.database.engine import Database
from app.limits import ConcurrencyLimit

RENEWAL_SECONDS = 1.0
LATE_SECONDS = 2.5
"""A server whose own renewals are further apart does not judge others for one lease."""
PULSE_SECONDS = 5.0
"""How long renewals may fail until the server counts as not ready."""

log = structlog.get_logger(__name__)


class Servers:
    """This server, and those beside it.

    Without a `database` there is no other, and nothing is written. The database is reached by a pool of its own: a
    server that is busy must not be taken for dead. `limits` are those of a key on all servers together: each counts
    what goes on here, and is told what goes on elsewhere.
    """

    def __init__(
        self, database: Database | None, info: ServerInfo, limits: Mapping[str, ConcurrencyLimit] | None = None
    ) -> None:
        self.info = info
        self._holds_lock = False
        self._database = database
        self._limits = limits or {}
        self._others: Sequence[Server] = ()
        self._started_at = utc_now()
        self._good_since: float | None = None
        self._renewed_at = 0.0
        self._pulse = Pulse(PULSE_SECONDS)
        self._task: asyncio.Task[None] | None = None

    @property
    def id(self) -> str:
        return self.info.id

    @property
    def live(self) -> int:
        """The number of servers that live, this one included."""
        return 1 + sum(each.is_live for each in self._others)

    @property
    def may_judge(self) -> bool:
        """Whether this server may take others for dead: after an outage or a stall all of them look so."""
        now = time.monotonic()
        is_late = now - self._renewed_at > LATE_SECONDS
        return not is_late and self._good_since is not None and now - self._good_since > store.LEASE.total_seconds()

    def set_lock(self, is_held: bool) -> None:
        """Note whether PostgreSQL's lock of this server is held, which the next renewal tells the others."""
        if self._holds_lock and not is_held:
            self._good_since = None  # a restart of PostgreSQL takes the locks of all servers, and they still live
        self._holds_lock = is_held

    async def check(self) -> None:
        """Raises TimeoutError when renewals have failed for too long."""
        self._pulse.check()

    async def join(self) -> None:
        """Begin to be seen. Raises DatabaseUnavailable."""
        if self._database is None:
            return
        await self._database.write(lambda connection: store.join(connection, self.info))
        await self._renew()
        self._task = asyncio.create_task(every(RENEWAL_SECONDS, self._renew, "server_not_renewed"))

    async def leave(self) -> None:
        """Be seen no more: what this server has left belongs to the others."""
        if self._database is None:
            return
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            try:
                async with asyncio.timeout(RENEWAL_SECONDS):
                    await self._database.write(lambda connection: store.leave(connection, self.id))
            except Exception as error:  # the others will notice by themselves
                log.warning("server_not_signed_off", exc_info=error)
        await self._database.close()

    async def list(self) -> Sequence[Server]:
        """Return the servers as the database has them, the oldest first. Raises DatabaseUnavailable."""
        if self._database is None:
            return [Server(**asdict(self.info), started_at=self._started_at, seen_at=utc_now(), load=self._load())]
        return await self._database.read(store.list_servers)

    async def _renew(self) -> None:
        assert self._database is not None
        renew = partial(store.renew, info=self.info, load=self._load(), holds_lock=self._holds_lock)
        try:
            with self._pulse.attempt():
                servers = await self._database.write(renew)
        except BaseException:
            self._good_since = None
            raise
        now = time.monotonic()
        # After a stall of this server, or of the machine that it shares with others, these have to be seen again first.
        if self._good_since is None or now - self._renewed_at > LATE_SECONDS:
            self._good_since = now
        self._renewed_at = now
        self._others = [each for each in servers if each.id != self.id]
        for kind, limit in self._limits.items():
            elsewhere: Counter[str] = Counter()
            for each in self._others:
                if each.is_live:
                    elsewhere.update(each.load.get(kind, {}))
            limit.elsewhere = elsewhere

    def _load(self) -> Load:
        return {kind: dict(limit.taken) for kind, limit in self._limits.items()}
