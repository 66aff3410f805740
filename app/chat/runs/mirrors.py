"""Logs of runs that go on at other servers, followed from here.

A mirror is a RunLog like any other. It has what is stored, and asks the run's server for what comes; whatever is lost
on the way is found in the database. It lasts for as long as somebody holds it.
"""

import asyncio
import time
from collections.abc import Sequence
from contextlib import suppress
from weakref import WeakValueDictionary, ref

import msgspec
import structlog
from sqlalchemy import Connection

from app.chat import run_store
from app.chat.runs.events import Ended, Event, Failed
from app.chat.runs.log import RunLog
from app.chat.values import OPEN_STATUSES, Run
from app.cluster.bus import Bus
from app.database.engine import Database
from app.database.errors import DatabaseUnavailable

ASK_SECONDS = 1.0
"""How often a run's server is asked to go on sending; when it says nothing for so long, the database is asked."""
BEHIND_SECONDS = 0.25
"""How long to wait for what was lost: until then it may not be stored."""
_DELETED = Failed("session_deleted", "The session was deleted while the reply was being made")

Numbered = Sequence[tuple[int, Event]]

log = structlog.get_logger(__name__)
decode_stretch = msgspec.msgpack.Decoder(tuple[int, list[Event]]).decode


class Mirrors:
    """The mirrors of this server."""

    def __init__(self, database: Database, bus: Bus, server_id: str) -> None:
        self._database = database
        self._bus = bus
        self._server_id = server_id
        self._logs: WeakValueDictionary[str, RunLog] = WeakValueDictionary()
        self._mirrors: dict[str, _Mirror] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        bus.on("events", self._hear_events)
        bus.on("here", self._hear_position)
        bus.on("over", self._hear_end)

    def __len__(self) -> int:
        return len(self._mirrors)

    def follow(self, run: Run) -> RunLog:
        """Return the log of an open run, which ends as the run does, wherever that goes on."""
        if (known := self._logs.get(run.id)) is not None:
            return known
        made = self._logs[run.id] = RunLog()
        mirror = self._mirrors[run.id] = _Mirror(run, made)
        task = asyncio.create_task(self._fill(mirror))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return made

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _fill(self, mirror: "_Mirror") -> None:
        """Fill the mirror until the run is over, or nobody holds it any more."""
        try:
            is_complete = False
            while not is_complete:
                if mirror.is_due:
                    await self._catch_up(mirror)
                is_complete = await self._ask(mirror)
        finally:
            if self._mirrors.get(mirror.run.id) is mirror:
                del self._mirrors[mirror.run.id]

    async def _ask(self, mirror: "_Mirror") -> bool:
        """Ask for what comes next, and wait for it; whether there is nothing more to come, or nobody to have it."""
        if (made := mirror.log()) is None or made.closed:
            return True
        mirror.changed.clear()
        mirror.asked_at = time.monotonic()
        self._bus.tell(mirror.run.owner, "watch", mirror.run.id, len(made.events), self._server_id)
        del made
        with suppress(TimeoutError):
            async with asyncio.timeout(ASK_SECONDS):
                await mirror.changed.wait()
        if mirror.is_behind and not mirror.is_over:
            await asyncio.sleep(BEHIND_SECONDS)
        return False

    async def _catch_up(self, mirror: "_Mirror") -> None:
        """Take what the database has more; its end too, when the run is over."""
        if (made := mirror.log()) is None:
            return
        position = len(made.events)

        def read(connection: Connection) -> tuple[Run | None, Numbered]:
            events = run_store.run_events(connection, mirror.run.id, after=position)
            return run_store.find_run(connection, mirror.run.id), events

        try:
            run, events = await self._database.read(read)
        except DatabaseUnavailable:
            return
        except Exception as error:  # its readers wait for an end
            log.error("mirror_not_filled", run_id=mirror.run.id, exc_info=error)
            return
        mirror.is_behind = False
        if made.closed:
            return
        if run is None:
            made.append(_DELETED, Ended())
            made.close()
            return
        mirror.run = run
        _extend(made, [each for each in events if each[0] > len(made.events)], is_over=run.status not in OPEN_STATUSES)

    def _hear_events(self, run_id: str, data: bytes) -> None:
        if (mirror := self._mirrors.get(run_id)) is None or (made := mirror.log()) is None or made.closed:
            return
        mirror.heard_at = time.monotonic()
        first, events = decode_stretch(data)
        if first > len(made.events) + 1:
            mirror.fall_behind()
            return
        made.append(*events[len(made.events) + 1 - first :])
        if isinstance(made.events[-1], Ended):  # which is sent when it is stored
            made.close()
            mirror.changed.set()

    def _hear_position(self, run_id: str, count: int) -> None:
        """The run's server is there, and has so many events."""
        if (mirror := self._mirrors.get(run_id)) is None or (made := mirror.log()) is None:
            return
        mirror.heard_at = time.monotonic()
        if count > len(made.events):
            mirror.fall_behind()

    def _hear_end(self, run_id: str) -> None:
        if (mirror := self._mirrors.get(run_id)) is not None:
            # A run that is said to be over again is about to begin there: what is stored of it will do meanwhile.
            mirror.is_over, mirror.was_over = not mirror.was_over, True
            mirror.fall_behind()


class _Mirror:
    """One log that is being filled; it is dropped by its readers, not by who fills it."""

    __slots__ = ("asked_at", "changed", "heard_at", "is_behind", "is_over", "log", "run", "was_over")

    def __init__(self, run: Run, made: RunLog) -> None:
        self.run = run
        self.log = ref(made)
        self.changed = asyncio.Event()
        self.asked_at = self.heard_at = 0.0
        self.is_behind = True
        self.is_over = self.was_over = False

    @property
    def is_due(self) -> bool:
        """Whether the database has to be asked."""
        return self.is_behind or self.heard_at < self.asked_at

    def fall_behind(self) -> None:
        self.is_behind = True
        self.changed.set()


def _extend(made: RunLog, events: Numbered, *, is_over: bool) -> None:
    """Add stored events to a log; only the end of a run whose server died has a gap before it."""
    following = [event for place, (number, event) in enumerate(events) if number == len(made.events) + 1 + place]
    if following:
        made.append(*following)
    if is_over:
        made.close_with(events[len(following) :])
