"""Stopping runs, wherever they go on."""

import asyncio
from collections import defaultdict
from collections.abc import Collection, Sequence
from contextlib import suppress

from app.chat.runs import shared
from app.chat.runs.engine import STOP_SECONDS, RunEngine
from app.chat.runs.events import Failed
from app.cluster.bus import Bus
from app.database.engine import Database
from app.database.errors import DatabaseUnavailable

LOOK_SECONDS = 0.25
"""How long to wait for word of a run's end before the database is asked."""
STOPPED = "The reply was stopped"


class Stopper:
    """Ends runs of this server, and has others end theirs: asked in the database, and quickly by a hint."""

    def __init__(self, database: Database, engine: RunEngine, bus: Bus, server_id: str) -> None:
        self._database = database
        self._engine = engine
        self._bus = bus
        self._server_id = server_id
        self._waiters: dict[str, asyncio.Event] = {}
        bus.on("over", self._hear_end)

    async def stop_session(self, session_id: str) -> list[str]:
        """End all runs of a session, waiting ones included; their ids. Raises DatabaseUnavailable."""
        if not self._bus.is_shared:
            return await self._engine.stop(self._engine.open_runs(session_id), Failed("stopped", STOPPED))
        runs = await self._database.write(
            lambda connection: shared.ask_session_to_stop(connection, session_id, STOPPED)
        )
        return await self._stop(runs)

    async def stop_run(self, run_id: str) -> list[str]:
        """End a run; its id, unless it was over. Raises DatabaseUnavailable."""
        if not self._bus.is_shared:
            return await self._engine.stop([run_id], Failed("stopped", STOPPED))
        return await self._stop(
            await self._database.write(lambda connection: shared.ask_run_to_stop(connection, run_id, STOPPED))
        )

    async def _stop(self, runs: Sequence[shared.OwnedRun]) -> list[str]:
        elsewhere: dict[str, list[str]] = defaultdict(list)
        own = []
        for run in runs:
            if run.owner == self._server_id:
                own.append(run.id)
            else:
                elsewhere[run.owner].append(run.id)
        for owner, run_ids in elsewhere.items():
            self._bus.tell(owner, "stop", run_ids, STOPPED, self._server_id)
        await self._engine.stop(own, Failed("stopped", STOPPED))
        await self._until_over([run_id for run_ids in elsewhere.values() for run_id in run_ids])
        return [run.id for run in runs]

    async def _until_over(self, run_ids: Collection[str]) -> None:
        """Wait until runs of other servers have ended. Raises DatabaseUnavailable when that takes too long."""
        try:
            async with asyncio.timeout(STOP_SECONDS):
                for run_id in run_ids:
                    await self._until_one_is_over(run_id)
        except TimeoutError:
            raise DatabaseUnavailable from None

    async def _until_one_is_over(self, run_id: str) -> None:
        ended = self._waiters.setdefault(run_id, asyncio.Event())
        try:
            while await self._database.read(lambda connection: shared.is_open(connection, run_id)):
                ended.clear()
                with suppress(TimeoutError):
                    async with asyncio.timeout(LOOK_SECONDS):
                        await ended.wait()
        finally:
            self._waiters.pop(run_id, None)

    def _hear_end(self, run_id: str) -> None:
        if (ended := self._waiters.get(run_id)) is not None:
            ended.set()
