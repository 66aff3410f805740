"""The upkeep of runs: checkpoints, leases, recovery, and the end of old logs."""

import asyncio
import time
from collections.abc import Sequence
from datetime import timedelta

import structlog

from app.background import Pulse, every
from app.chat import store
from app.chat.runs.engine import RunEngine
from app.chat.runs.events import EventBatch, Failed
from app.chat.runs.reply import cut_short
from app.chat.runs.resuming import PausedRuns
from app.chat.runs.task import RunTask
from app.chat.values import Run, RunStatus
from app.clock import utc_now
from app.database.engine import Database
from app.database.errors import DatabaseUnavailable

CHECKPOINT_SECONDS = 0.5
LEASE_RENEWAL_SECONDS = 5.0
SWEEP_SECONDS = 10.0
PURGE_SECONDS = 3600.0
PULSE_SECONDS = 5.0
"""How long checkpoints may fail until the server counts as not ready; sweeps for two more turns."""
START_TIME = timedelta(seconds=30)
"""Within it, a run that was committed is started by its request."""
CRASH_GAP = 1_000_000
"""Events that a crashed process sent but did not store keep their numbers: recovery goes on from beyond them."""

log = structlog.get_logger(__name__)


class RunUpkeep:
    """Keeps the database up to date with the runs of an engine, and ends those of processes that are gone.

    `owner` names this process. `sole_owner` says that no other process can hold runs in the same database. A run that
    goes on for longer than `max_seconds` is ended.
    """

    def __init__(
        self,
        database: Database,
        engine: RunEngine,
        paused: PausedRuns,
        owner: str,
        *,
        sole_owner: bool,
        max_seconds: float,
    ) -> None:
        self._database = database
        self._engine = engine
        self._paused = paused
        self._owner = owner
        self._sole_owner = sole_owner
        self._max_seconds = max_seconds
        self._checkpoints = Pulse(PULSE_SECONDS)
        self._sweeps = Pulse(PULSE_SECONDS + 2 * SWEEP_SECONDS)
        self._tasks: list[asyncio.Task[None]] = []

    async def check(self) -> None:
        """Raises TimeoutError when checkpoints or sweeps have failed for too long."""
        self._checkpoints.check()
        self._sweeps.check()

    def start(self) -> None:
        self._tasks.append(asyncio.create_task(self._checkpoint_forever()))
        self._tasks.append(asyncio.create_task(every(PURGE_SECONDS, self._purge, "events_not_purged")))
        if not self._sole_owner:
            self._tasks.append(asyncio.create_task(every(SWEEP_SECONDS, self._sweep, "sweep_failed")))

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def recover(self, *, at_start: bool = False) -> None:
        """End the runs that a dead process left open, with what reached the database; paused ones wait on here."""
        runs = await self._database.read(
            lambda connection: store.list_lost_runs(
                connection, self._owner, at_start=at_start, sole_owner=self._sole_owner
            )
        )
        for run in runs:
            if run.status is not RunStatus.REQUIRES_ACTION or not await self._paused.resume(run):
                await self._end_lost(run)

    async def _sweep(self) -> None:
        """End the runs of dead processes, and those that were committed without this one's being told so."""
        with self._sweeps.attempt():
            await self.recover()
            since = utc_now() - START_TIME
            ids = {task.run.id for task in self._engine.runs}
            unowned = await self._database.read(
                lambda connection: store.list_unowned_runs(connection, self._owner, since, ids)
            )
            for run in unowned:
                await self._end_lost(run)

    async def _end_lost(self, run: Run) -> None:
        events = await self._database.read(lambda connection: store.run_events(connection, run.id))
        cause = Failed("interrupted", "The server stopped while the reply was being made")
        result = cut_short(run, [event for _, event in events], RunStatus.INTERRUPTED, cause)
        batch = EventBatch((events[-1][0] if events else 0) + CRASH_GAP + 1, result.events)
        await self._database.write(lambda connection: store.end_run(connection, run, result, batch))
        log.warning("run_interrupted", run_id=run.id, chars=len(result.content.text))

    async def _checkpoint_forever(self) -> None:
        lease_renewed = time.monotonic()
        failing = False
        while True:
            if not self._engine.busy.is_set():
                self._checkpoints.rest()
            await self._engine.busy.wait()
            await asyncio.sleep(CHECKPOINT_SECONDS)
            self._end_overdue()
            renewal_due = time.monotonic() - lease_renewed > LEASE_RENEWAL_SECONDS
            tasks = [task for task in self._engine.runs if task.wants_checkpoint]
            if not tasks and not renewal_due:
                continue
            try:
                with self._checkpoints.attempt():
                    await self._checkpoint(tasks)
                lease_renewed = time.monotonic()
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
        progress = [store.Progress(task.run.id, task.run.started_at, task.unstored()) for task in tasks]
        written = asyncio.get_running_loop().create_future()
        for task in tasks:
            task.checkpoint = written
        now = utc_now()
        try:
            gone = await self._database.write(
                lambda connection: store.checkpoint_runs(connection, self._owner, progress, now)
            )
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
        await self._database.write(lambda connection: store.purge_events(connection, now))
