"""What other servers want of the runs of this one."""

import asyncio
from collections.abc import Sequence

from app.chat.runs import shared
from app.chat.runs.engine import RunEngine
from app.chat.runs.events import Failed
from app.chat.runs.task import RunTask
from app.chat.values import RunStatus
from app.cluster.bus import Bus
from app.database.engine import Database

LOOK_SECONDS = 1.0

_DELETED = Failed("session_deleted", "The session was deleted")
_OUT_OF_REACH = Failed("interrupted", "The server was out of reach, and the run was ended")


class RemoteControl:
    """Turns and stops from elsewhere: hints come over the bus, and a look once a second finds what was lost of them."""

    def __init__(self, database: Database, engine: RunEngine, bus: Bus, server_id: str) -> None:
        self._database = database
        self._engine = engine
        self._bus = bus
        self._server_id = server_id
        self._tasks: set[asyncio.Task[None]] = set()
        bus.on("stop", self._stop)

    async def look(self) -> None:
        """Carry out what the database says of the runs of this server."""
        tasks = {task.run.id: task for task in self._engine.runs}
        if not tasks:
            return
        standings = await self._database.read(lambda connection: shared.list_standings(connection, self._server_id))
        for each in standings:
            task = tasks.pop(each.id, None)
            if task is None:
                continue
            if each.stop_reason is not None:
                task.stop(RunStatus.STOPPED, Failed("stopped", each.stop_reason))
            elif each.place is None:
                self._engine.turns.give_turn(each.id)
        await self._end_closed([task for task in tasks.values() if not task.ending])

    async def _end_closed(self, tasks: Sequence[RunTask]) -> None:
        """End runs that are no longer open: deleted ones, and waiting ones, whose turn would never come."""
        if not tasks:
            return
        ids = [task.run.id for task in tasks]
        existing = await self._database.read(lambda connection: shared.existing_runs(connection, ids))
        for task in tasks:
            if task.run.id not in existing:
                task.stop(RunStatus.STOPPED, _DELETED)
            elif not task.ticket.turn.is_set():
                task.stop(RunStatus.INTERRUPTED, _OUT_OF_REACH)

    def _stop(self, run_ids: Sequence[str], reason: str, asker: str | None = None) -> None:
        """End runs because another server says so; the last first, so that no other has its turn meanwhile."""
        for task in reversed(self._engine.runs):
            if task.run.id in run_ids:
                task.stop(RunStatus.STOPPED, Failed("stopped", reason))
                if asker is not None:
                    waiting = asyncio.create_task(self._tell_end(task, asker))
                    self._tasks.add(waiting)
                    waiting.add_done_callback(self._tasks.discard)

    async def _tell_end(self, task: RunTask, asker: str) -> None:
        await task.over.wait()
        self._bus.tell(asker, "over", task.run.id)
