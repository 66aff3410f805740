"""The upkeep of runs: checkpoints, leases, recovery, and the end of old logs."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence

import structlog

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
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        self._tasks.append(asyncio.create_task(self._checkpoint_forever()))
        self._tasks.append(asyncio.create_task(self._every(PURGE_SECONDS, self._purge)))
        if not self._sole_owner:
            self._tasks.append(asyncio.create_task(self._every(SWEEP_SECONDS, self.recover)))

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def recover(self, *, at_start: bool = False) -> None:
        """End the runs that a dead process left open, with what reached the database; paused ones wait on here."""
        now = utc_now()
        runs = await self._database.read(
            lambda connection: store.list_lost_runs(
                connection, self._owner, now, at_start=at_start, sole_owner=self._sole_owner
            )
        )
        for run in runs:
            if run.status is not RunStatus.REQUIRES_ACTION or not await self._paused.resume(run):
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
            await self._engine.busy.wait()
            await asyncio.sleep(CHECKPOINT_SECONDS)
            self._end_overdue()
            renewal_due = time.monotonic() - lease_renewed > LEASE_RENEWAL_SECONDS
            tasks = [task for task in self._engine.runs if task.wants_checkpoint]
            if not tasks and not renewal_due:
                continue
            try:
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
            await self._database.write(lambda connection: store.checkpoint_runs(connection, self._owner, progress, now))
            for task, point in zip(tasks, progress, strict=True):
                task.stored += len(point.events.events)
        finally:
            for task in tasks:
                task.checkpoint = None
            written.set_result(None)

    async def _purge(self) -> None:
        now = utc_now()
        await self._database.write(lambda connection: store.purge_events(connection, now))

    async def _every(self, seconds: float, act: Callable[[], Awaitable[None]]) -> None:
        while True:
            await asyncio.sleep(seconds)
            try:
                await act()
            except DatabaseUnavailable as error:
                log.error("upkeep_failed", exc_info=error.__cause__)
