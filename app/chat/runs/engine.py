"""The run engine: makes each reply in a task of its own, which outlives whoever asked for it.

A run waits for its turn in its session, asks the model, writes what comes to its log, and ends in one transaction that
holds the reply, the run's status and the rest of the log. Only then do subscribers hear that it was saved. While it
runs, what the log has gained is checkpointed at an interval, for all runs in one transaction.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Any, Protocol

import stamina
import structlog
from structlog.contextvars import bind_contextvars

from app.chat.runs.events import Ended, Event, EventBatch, Failed, ToolCall
from app.chat.runs.jobs import Job, Target
from app.chat.runs.log import RunLog
from app.chat.runs.queue import SessionQueue
from app.chat.runs.reply import Reply
from app.chat.runs.results import completed, cut_short, failure_of
from app.chat.store import Checkpoint, RunResult, RunStore
from app.chat.values import OPEN_STATUSES, MessageStatus, Run, RunStatus
from app.clock import utc_now
from app.database.engine import DatabaseUnavailable
from app.errors import AppError, Unavailable
from app.lean_event import LeanEvent
from app.providers.models import REQUEST_REFUSED, UpstreamError

CHECKPOINT_SECONDS = 0.5
LEASE_RENEWAL_SECONDS = 5.0
SWEEP_SECONDS = 10.0
PURGE_SECONDS = 3600.0
CLOSE_SECONDS = 10.0
STOP_SECONDS = 20.0
START_SECONDS = 1.0
CRASH_GAP = 1_000_000
"""Events that a crashed process sent but did not store keep their numbers: recovery goes on from beyond them."""

log = structlog.get_logger(__name__)


class Observer(Protocol):
    """What the engine tells the metrics."""

    def run_started(self) -> None: ...
    def run_finished(self, state: str, *, prompt_tokens: int, completion_tokens: int) -> None: ...
    def first_token(self, seconds: float) -> None: ...
    def queue_length(self, length: int) -> None: ...


@dataclass(slots=True, eq=False)
class _Active:
    """A run that goes on. While it is `asking`, for its turn or the model, `task` can be cancelled to stop it.

    `stored` events are in the database; a `checkpoint` writes more, and none begins when the run is `ending`.
    """

    job: Job
    log: RunLog
    target: Target
    task: asyncio.Task[None] | None = None
    asking: bool = False
    started_at: datetime | None = None
    first_token_at: float | None = None
    reply: Reply = field(default_factory=Reply)
    stop_cause: Failed | None = None
    stop_status: RunStatus = RunStatus.STOPPED
    stored: int = 0
    ending: bool = False
    checkpoint: asyncio.Future[None] | None = None
    over: LeanEvent = field(default_factory=LeanEvent)

    def unstored(self) -> EventBatch:
        return self.log.since(self.stored)


class RunEngine:
    """All runs of this process. `sole_owner` says that no other process can hold runs in the same database."""

    def __init__(self, store: RunStore, queue: SessionQueue, observer: Observer, *, sole_owner: bool) -> None:
        self._store = store
        self.queue = queue
        self._observer = observer
        self._sole_owner = sole_owner
        self._active: dict[str, _Active] = {}
        self._about_to_start: dict[str, asyncio.Future[RunLog]] = {}
        self._tasks: set[asyncio.Task[Any]] = set()
        self._busy = asyncio.Event()
        self._closing = False

    # Running

    def check_open(self) -> None:
        """Raises Unavailable when the server is going down and takes no more runs."""
        if self._closing:
            raise Unavailable("The server is shutting down", retry_after=5, code="shutting_down")

    def start(self, job: Job) -> RunLog:
        """Begin a run that has just been committed; its log already holds the opening events."""
        active = _Active(job, RunLog(), job.targets[0])
        active.log.append(*job.opening)
        active.stored = len(job.opening)
        self._active[job.run.id] = active
        if (awaited := self._about_to_start.pop(job.run.id, None)) is not None:
            awaited.set_result(active.log)
        self._busy.set()
        self._observer.run_started()
        self._observer.queue_length(self.queue.waiting)
        active.task = self._spawn(self._make(active))
        return active.log

    def log_of(self, run_id: str) -> RunLog | None:
        """The log of a run that is going on here."""
        active = self._active.get(run_id)
        return None if active is None else active.log

    async def log_when_started(self, run: Run) -> RunLog | None:
        """The log of a run that is going on here, or is about to: it is committed a moment before it is started."""
        if (log := self.log_of(run.id)) is not None or run.status not in OPEN_STATUSES:
            return log
        started = self._about_to_start.setdefault(run.id, asyncio.get_running_loop().create_future())
        try:
            return await asyncio.wait_for(asyncio.shield(started), START_SECONDS)
        except TimeoutError:
            self._about_to_start.pop(run.id, None)
            return None

    def progress_of(self, run_id: str) -> tuple[RunStatus, datetime | None] | None:
        """The status of a run that is going on here, and when it began."""
        active = self._active.get(run_id)
        if active is None:
            return None
        return (RunStatus.QUEUED if active.started_at is None else RunStatus.RUNNING), active.started_at

    def open_runs(self, session_id: str) -> list[str]:
        """The runs of a session that wait or go on here, in their order."""
        return [run_id for run_id, active in self._active.items() if active.job.run.session_id == session_id]

    async def stop(self, run_ids: Sequence[str], cause: Failed, status: RunStatus = RunStatus.STOPPED) -> list[str]:
        """End these runs now, keeping what they have said; returns, when they have ended, those that were open.

        Raises DatabaseUnavailable when what they said cannot be stored within STOP_SECONDS; it is stored later then.
        """
        stopped = [active for run_id in run_ids if (active := self._active.get(run_id)) is not None]
        # The last first: stopping the first would otherwise give the next its turn.
        for active in reversed(stopped):
            self._request_stop(active.job.run.id, cause, status)
        try:
            async with asyncio.timeout(STOP_SECONDS):
                for active in stopped:
                    await active.over.wait()
        except TimeoutError:
            raise DatabaseUnavailable from None
        return [active.job.run.id for active in stopped]

    def interrupt(self, session_id: str, cause: Failed) -> None:
        """Ask the run whose turn it is in the session to end; does not wait for it."""
        for active in self._active.values():
            if active.job.run.session_id == session_id and active.job.ticket.turn.is_set():
                self._request_stop(active.job.run.id, cause, RunStatus.STOPPED)

    def _request_stop(self, run_id: str, cause: Failed, status: RunStatus) -> None:
        active = self._active[run_id]
        if active.stop_cause is None:
            active.stop_cause, active.stop_status = cause, status
        if active.asking and active.task is not None:
            active.task.cancel()

    async def _make(self, active: _Active) -> None:
        run = active.job.run
        bind_contextvars(run_id=run.id)
        try:
            outcome, tail = await self._outcome(active)
            await self._finish(active, outcome, tail)
        finally:
            del self._active[run.id]
            active.log.close()
            self.queue.leave(active.job.ticket)
            active.job.place.release()
            self._observer.queue_length(self.queue.waiting)
            active.over.set()
            if not self._active:
                self._busy.clear()

    async def _outcome(self, active: _Active) -> tuple[RunResult, list[Event]]:
        """Get the reply; how that went, and the events that say so."""
        try:
            await self._work(active)
        except asyncio.CancelledError:
            if active.stop_cause is None:
                raise
            if active.task is not None:
                active.task.uncancel()  # it goes on, to keep what was said
            return self._cut_short(active, active.stop_status, MessageStatus.PARTIAL, active.stop_cause)
        except UpstreamError as error:
            log.warning("upstream_failed", status=error.status, detail=error.detail, provider=active.target.provider.id)
            cause = failure_of(error)
            return self._cut_short(active, RunStatus.FAILED, MessageStatus.FAILED, cause)
        except AppError as error:
            log.warning("run_failed", code=error.code, exc_info=error.__cause__)
            cause = Failed(error.code, error.message, error.status)
            return self._cut_short(active, RunStatus.FAILED, MessageStatus.FAILED, cause)
        except Exception as error:
            log.error("run_crashed", exc_info=error)
            cause = Failed("internal_error", "The reply could not be made because of an internal error")
            return self._cut_short(active, RunStatus.FAILED, MessageStatus.FAILED, cause)
        active.log.append(
            *(ToolCall(call.id, call.name, call.arguments, time.time()) for call in active.reply.tool_calls)
        )
        assert active.started_at is not None
        timing = active.started_at, active.first_token_at or 0.0
        return completed(active.job.run, active.log.events, active.reply, *timing)

    async def _work(self, active: _Active) -> None:
        if active.stop_cause is not None:  # before it began
            raise asyncio.CancelledError
        active.asking = True
        try:
            await self._ask_in_turn(active)
        finally:
            active.asking = False

    async def _ask_in_turn(self, active: _Active) -> None:
        await active.job.ticket.turn.wait()
        active.started_at = utc_now()
        began = time.monotonic()
        for target, is_last in _with_last(active.job.targets):
            active.target = target
            try:
                await self._ask(active, began)
            except UpstreamError as error:
                # Once a model has said something, no other is asked: its words and another's must not be glued.
                if is_last or active.first_token_at is not None or error.status in REQUEST_REFUSED:
                    raise
                log.warning(
                    "falling_back", status=error.status, detail=error.detail, provider=active.target.provider.id
                )
            else:
                return

    async def _ask(self, active: _Active, began: float) -> None:
        prepared = await active.job.prepare(active.target)
        if prepared.told:
            active.log.append(*prepared.told)
        active.reply.begin()
        keep_raw = prepared.request.keep_raw
        reply = active.target.provider.stream(prepared.request)
        del prepared  # whose conversation may be long; the provider lets it go too
        async with aclosing(reply) as batches:
            async for deltas in batches:
                events = active.reply.chunks(deltas) if keep_raw else active.reply.merge(deltas)
                if events:
                    active.log.append(*events)
                if active.first_token_at is None and active.reply.begun:
                    active.first_token_at = time.monotonic() - began
                    self._observer.first_token(active.first_token_at)
                    # A short reply may be here whole: who waits for its beginning need not wait for its end.
                    await asyncio.sleep(0)

    def _cut_short(
        self, active: _Active, status: RunStatus, message_status: MessageStatus, cause: Failed
    ) -> tuple[RunResult, list[Event]]:
        return cut_short(active.job.run, active.log.events, status, message_status, cause)

    async def _finish(self, active: _Active, outcome: RunResult, tail: list[Event]) -> None:
        active.ending = True
        if active.checkpoint is not None:  # which may hold events that are unstored by now
            await asyncio.shield(active.checkpoint)
        unstored = active.unstored()
        end = partial(
            self._store.finish,
            active.job.run,
            outcome,
            EventBatch(unstored.first, [*unstored.events, *tail]),
            started_at=active.started_at,
            provider_id=active.target.provider.id,
            model=active.target.model,
        )
        try:
            kept = await end()
        except DatabaseUnavailable:
            kept = await _until_stored(end)
        if not kept and not await self._ended_as(active.job.run, outcome):
            cause = "The session was deleted, or the run ended elsewhere, while the reply was being made"
            tail = [Failed("session_deleted", cause), Ended()]
        active.log.append(*tail)
        usage = active.reply.usage
        self._observer.run_finished(
            outcome.status, prompt_tokens=usage.prompt_tokens, completion_tokens=usage.completion_tokens
        )
        said: dict[str, str | int] = {"status": outcome.status.value, "chars": len(outcome.text)}
        if outcome.error_code is not None:
            said["error_code"] = outcome.error_code
        log.info("run_ended", **said)

    async def _ended_as(self, run: Run, outcome: RunResult) -> bool:
        """Whether an earlier try stored the outcome after all, though the database said it had not."""
        stored = await self._store.find(run.id)
        return stored is not None and stored.status == outcome.status

    # Keeping

    async def recover(self) -> int:
        """End the runs that a dead process left behind, with the text that reached the disk; how many there were."""
        left = await self._store.left_behind(utc_now(), sole_owner=self._sole_owner)
        for run in left:
            stored = await self._store.events(run.id)
            cause = Failed("interrupted", "The server stopped while the reply was being made")
            outcome, tail = cut_short(
                run, [event for _, event in stored], RunStatus.INTERRUPTED, MessageStatus.PARTIAL, cause
            )
            end = EventBatch((stored[-1][0] if stored else 0) + CRASH_GAP + 1, tail)
            await self._store.finish(
                run, outcome, end, started_at=run.started_at, provider_id=run.provider_id, model=run.model
            )
            log.warning("run_interrupted", run_id=run.id, chars=len(outcome.text))
        return len(left)

    def start_keeping(self) -> None:
        """Begin to checkpoint, to look for runs left behind, and to drop old logs."""
        self._spawn(self._checkpoint_for_ever())
        self._spawn(self._every(PURGE_SECONDS, lambda: self._store.purge_events(utc_now())))
        if not self._sole_owner:
            self._spawn(self._every(SWEEP_SECONDS, self.recover))

    async def _checkpoint_for_ever(self) -> None:
        lease_renewed = time.monotonic()
        failing = False
        while True:
            await self._busy.wait()
            await asyncio.sleep(CHECKPOINT_SECONDS)
            renewal_due = time.monotonic() - lease_renewed > LEASE_RENEWAL_SECONDS
            try:
                if await self._checkpoint(renewal_due=renewal_due):
                    lease_renewed = time.monotonic()
                    failing = False
            except DatabaseUnavailable as error:
                if not failing:  # said once, not twice a second for as long as it lasts
                    log.error("checkpoint_failed", exc_info=error.__cause__)
                failing = True

    async def _checkpoint(self, *, renewal_due: bool) -> bool:
        unstored = [each for each in self._active.values() if each.stored < len(each.log.events) and not each.ending]
        if not unstored and not renewal_due:
            return False
        points = [Checkpoint(each.job.run.id, each.started_at, each.unstored()) for each in unstored]
        written = asyncio.get_running_loop().create_future()
        for active in unstored:
            active.checkpoint = written
        try:
            await self._store.checkpoint(points, utc_now())
            for active, point in zip(unstored, points, strict=True):
                active.stored += len(point.added.events)
        finally:
            for active in unstored:
                active.checkpoint = None
            written.set_result(None)
        return True

    async def _every(self, seconds: float, act: Callable[[], Awaitable[object]]) -> None:
        while True:
            await asyncio.sleep(seconds)
            try:
                await act()
            except DatabaseUnavailable as error:
                log.error("upkeep_failed", exc_info=error.__cause__)

    async def close(self, drain_seconds: float = 0.0) -> None:
        """Take no more runs, give the open ones `drain_seconds`, then end them as interrupted, keeping their text."""
        self._closing = True
        waits = [asyncio.ensure_future(active.over.wait()) for active in self._active.values()]
        if waits and drain_seconds:
            await asyncio.wait(waits, timeout=drain_seconds)
        for wait in waits:
            wait.cancel()
        for run_id in list(self._active):
            where = f"read on at /api/v1/chat/runs/{run_id}/stream"
            cause = Failed("interrupted", f"The server is shutting down; what was said so far is saved: {where}")
            self._request_stop(run_id, cause, RunStatus.INTERRUPTED)
        ending = [asyncio.ensure_future(active.over.wait()) for active in self._active.values()]
        if ending:  # a database that is away would keep them for ever; the next start ends them then
            await asyncio.wait(ending, timeout=CLOSE_SECONDS)
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)  # the loop itself holds tasks weakly
        task.add_done_callback(self._tasks.discard)
        return task


async def _until_stored(end: Callable[[], Awaitable[bool]]) -> bool:
    """Try again and again: a database that is away for a while must not cost a reply. The run stays open meanwhile."""
    async for attempt in stamina.retry_context(
        on=DatabaseUnavailable, attempts=None, timeout=None, wait_initial=0.1, wait_max=5.0
    ):
        with attempt:
            kept = await end()
    return kept


def _with_last(targets: Sequence[Target]) -> Iterator[tuple[Target, bool]]:
    """Each target, and whether it is the last."""
    return ((target, index == len(targets)) for index, target in enumerate(targets, 1))
