"""The upkeep of runs: checkpoints, the search for lost ones, and the end of old logs."""

import asyncio
from collections.abc import Sequence

import structlog

from app.background import Pulse, every
from app.chat import run_store
from app.chat.importing import UNFINISHED_KEPT, remove_unfinished
from app.chat.runs.engine import RunEngine
from app.chat.runs.events import Failed
from app.chat.runs.recovery import SWEEP_SECONDS, Recovery
from app.chat.runs.remote import LOOK_SECONDS, RemoteControl
from app.chat.runs.task import RunTask
from app.chat.values import RunStatus
from app.clock import utc_now
from app.database.engine import Database
from app.database.errors import DatabaseUnavailable

CHECKPOINT_SECONDS = 0.5
SHARED_CHECKPOINT_SECONDS = 0.25
"""The same where other servers may have to go on from what is stored."""
PURGE_SECONDS = 3600.0
PULSE_SECONDS = 5.0
"""How long checkpoints may fail until the server counts as not ready."""

log = structlog.get_logger(__name__)


class RunUpkeep:
    """Keeps the database up to date with the runs of an engine, and has lost ones looked for if others share it.

    A run that goes on for longer than `max_seconds` is ended.
    """

    def __init__(
        self,
        database: Database,
        engine: RunEngine,
        recovery: Recovery,
        remote: RemoteControl,
        *,
        is_shared: bool,
        max_seconds: float,
    ) -> None:
        self._database = database
        self._engine = engine
        self._recovery = recovery
        self._remote = remote
        self._is_shared = is_shared
        self._checkpoint_seconds = SHARED_CHECKPOINT_SECONDS if is_shared else CHECKPOINT_SECONDS
        self._max_seconds = max_seconds
        self._checkpoints = Pulse(PULSE_SECONDS)
        self._tasks: list[asyncio.Task[None]] = []

    async def check(self) -> None:
        """Raises TimeoutError when checkpoints or sweeps have failed for too long."""
        self._checkpoints.check()
        self._recovery.check()

    def start(self) -> None:
        self._tasks.append(asyncio.create_task(self._checkpoint_forever()))
        self._tasks.append(asyncio.create_task(every(PURGE_SECONDS, self._purge, "events_not_purged")))
        if self._is_shared:
            self._tasks.append(asyncio.create_task(every(SWEEP_SECONDS, self._recovery.sweep, "sweep_failed")))
            self._tasks.append(asyncio.create_task(every(LOOK_SECONDS, self._remote.look, "runs_not_looked_up")))

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _checkpoint_forever(self) -> None:
        failing = False
        while True:
            if not self._engine.busy.is_set():
                self._checkpoints.rest()
            await self._engine.busy.wait()
            await asyncio.sleep(self._checkpoint_seconds)
            self._end_overdue()
            tasks = [task for task in self._engine.runs if task.wants_checkpoint]
            if not tasks:
                continue
            try:
                with self._checkpoints.attempt():
                    await self._checkpoint(tasks)
                failing = False
            except DatabaseUnavailable as error:
                if not failing:  # logged once, not twice a second for as long as it lasts
                    log.error("checkpoint_failed", exc_info=error.__cause__)
                failing = True
            except Exception as error:  # the next ones must not go without
                log.error("checkpoint_crashed", exc_info=error)

    def _end_overdue(self) -> None:
        for task in self._engine.runs:
            if task.seconds > self._max_seconds and not task.ending and not task.paused:
                message = f"The reply took longer than {self._max_seconds:g} seconds"
                task.stop(RunStatus.FAILED, Failed("upstream_error", message, 504))

    async def _checkpoint(self, tasks: Sequence[RunTask]) -> None:
        progress = [run_store.Progress(task.run.id, task.run.started_at, task.unstored()) for task in tasks]
        written = asyncio.get_running_loop().create_future()
        for task in tasks:
            task.checkpoint = written
        now = utc_now()
        try:
            gone = await self._database.write(lambda connection: run_store.checkpoint_runs(connection, progress, now))
            for task, point in zip(tasks, progress, strict=True):
                task.stored += len(point.events.events)
                if task.run.id in gone:  # nobody can read it any more, and the model need not go on
                    task.stop(RunStatus.STOPPED, Failed("session_deleted", "The session was deleted"))
        finally:
            for task in tasks:
                task.checkpoint = None
            written.set_result(None)

    async def _purge(self) -> None:
        now = utc_now()
        await self._database.write(lambda connection: run_store.purge_events(connection, now))
        await self._database.write(lambda connection: remove_unfinished(connection, now - UNFINISHED_KEPT))
