"""The run engine: starts, finds and stops the runs of this process.

A run is a task of its own, which outlives the request that asked for it.
"""

import asyncio
import time
from collections.abc import Sequence
from datetime import datetime

from app.chat.plan import ReplyPlan
from app.chat.runs.events import Failed
from app.chat.runs.log import RunLog
from app.chat.runs.queue import Ticket, Turns
from app.chat.runs.task import RunTask, RunTools
from app.chat.values import Run, RunStatus
from app.database.errors import DatabaseUnavailable
from app.errors import Unavailable
from app.limits import Slot

CLOSE_SECONDS = 10.0
STOP_SECONDS = 20.0
START_SECONDS = 1.0
DOUBT_SECONDS = 60.0


class RunEngine:
    """The runs of this process."""

    def __init__(self, tools: RunTools, turns: Turns) -> None:
        self.turns = turns
        self.busy = asyncio.Event()
        """Set while there are runs."""
        self._tools = tools
        self._runs: dict[str, RunTask] = {}
        self._starting: dict[str, asyncio.Future[RunLog]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._doubtful: dict[str, float] = {}
        self._closing = False

    @property
    def runs(self) -> Sequence[RunTask]:
        """The runs that wait or go on, in the order in which they were accepted."""
        return tuple(self._runs.values())

    @property
    def doubtful(self) -> Sequence[str]:
        """The ids of runs of the last DOUBT_SECONDS that may be in the database, though the database denied it."""
        oldest = time.monotonic() - DOUBT_SECONDS
        self._doubtful = {run_id: at for run_id, at in self._doubtful.items() if at > oldest}
        return tuple(self._doubtful)

    def doubt(self, run_id: str) -> None:
        """Have a run ended if it is in the database, where it would be in the way of its session's next ones."""
        self._doubtful[run_id] = time.monotonic()

    def check_open(self) -> None:
        """Raises Unavailable when the server is going down and takes no more runs."""
        if self._closing:
            raise Unavailable("The server is shutting down", retry_after=5, code="shutting_down")

    def start(self, plan: ReplyPlan, ticket: Ticket, slot: Slot) -> RunLog:
        """Begin a run that has just been committed."""
        run = RunTask(plan, ticket, slot, self._tools)
        self._runs[run.run.id] = run
        if (waiter := self._starting.pop(run.run.id, None)) is not None:
            waiter.set_result(run.log)
        self.busy.set()
        task = asyncio.create_task(self._make(run))
        self._tasks.add(task)  # the loop itself holds tasks weakly
        task.add_done_callback(self._tasks.discard)
        return run.log

    async def _make(self, run: RunTask) -> None:
        try:
            await run.make()
        finally:
            del self._runs[run.run.id]
            run.close()
            self.turns.leave(run.ticket)
            if not self._runs:
                self.busy.clear()

    def log_of(self, run_id: str) -> RunLog | None:
        """Return the log of a run that waits or goes on here."""
        return None if (task := self._runs.get(run_id)) is None else task.log

    async def find_log(self, run: Run) -> RunLog | None:
        """Find the log of an open run of this server, which may have been committed but not yet started."""
        starting = self._starting.setdefault(run.id, asyncio.get_running_loop().create_future())
        try:
            return await asyncio.wait_for(asyncio.shield(starting), START_SECONDS)
        except TimeoutError:
            self._starting.pop(run.id, None)
            return None

    def progress_of(self, run_id: str) -> tuple[RunStatus, datetime | None] | None:
        """Return the status and start of a run of this process that is not over."""
        if (task := self._runs.get(run_id)) is None:
            return None
        if task.paused:
            return RunStatus.REQUIRES_ACTION, task.run.started_at
        return (RunStatus.QUEUED if task.run.started_at is None else RunStatus.RUNNING), task.run.started_at

    def open_runs(self, session_id: str) -> list[str]:
        """Return the ids of a session's runs that wait or go on here, in their order."""
        return [run_id for run_id, task in self._runs.items() if task.run.session_id == session_id]

    async def stop(self, run_ids: Sequence[str], cause: Failed) -> list[str]:
        """End these runs and keep their text; the ids of those that were open, once they have ended.

        Raises DatabaseUnavailable when a text cannot be stored within STOP_SECONDS; it is stored later then.
        """
        tasks = [task for run_id in run_ids if (task := self._runs.get(run_id)) is not None]
        # The last first: stopping the first would otherwise give the next its turn.
        for task in reversed(tasks):
            task.stop(RunStatus.STOPPED, cause)
        try:
            async with asyncio.timeout(STOP_SECONDS):
                for task in tasks:
                    await task.over.wait()
        except TimeoutError:
            raise DatabaseUnavailable from None
        return [task.run.id for task in tasks]

    def interrupt(self, ticket: Ticket, cause: Failed) -> None:
        """Ask the run that is before the ticket's to end, wherever it goes on; does not wait for it."""
        for task in self.runs:
            if task.run.session_id == ticket.key and task.ticket.turn.is_set():
                task.stop(RunStatus.STOPPED, cause)
        self.turns.entered(ticket)

    async def close(self, drain_seconds: float = 0.0) -> None:
        """Take no more runs, give the open ones `drain_seconds`, then end them as interrupted and keep their text."""
        self._closing = True
        if drain_seconds:
            await self._wait(drain_seconds)
        for task in self.runs:
            if task.paused:  # it waits on after the next start
                continue
            where = f"read on at /api/v1/chat/runs/{task.run.id}/stream"
            cause = Failed("interrupted", f"The server is shutting down; what was said so far is saved: {where}")
            task.stop(RunStatus.INTERRUPTED, cause)
        # A database that is away would keep them for ever; the next start ends them then.
        await self._wait(CLOSE_SECONDS)
        for each in self._tasks:
            each.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _wait(self, seconds: float) -> None:
        """Wait until the runs that go on now are over, `seconds` at most; paused ones may take an hour."""
        waits = [asyncio.create_task(task.over.wait()) for task in self.runs if not task.paused]
        if waits:
            _, pending = await asyncio.wait(waits, timeout=seconds)
            for wait in pending:
                wait.cancel()
