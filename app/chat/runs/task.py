"""One reply, from its turn in the session to its end in the database."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import msgspec
import stamina
import structlog
from sqlalchemy import Connection
from structlog.contextvars import bind_contextvars

from app.chat import run_store
from app.chat.approvals import Approvals, add_approvals, new_approval
from app.chat.media import ShownImages
from app.chat.passages import refs_event
from app.chat.plan import ReplyPlan, Resumed, Target
from app.chat.prompt import NOTHING, PromptBuilder
from app.chat.retrieval import Retrieval
from app.chat.runs.events import ApprovalRequired, Ended, Event, EventBatch, Failed, ToolCall
from app.chat.runs.log import RunLog
from app.chat.runs.paused import pack
from app.chat.runs.queue import Ticket, Turns
from app.chat.runs.reply import Reply, RunResult, completed, content_of, cut_short, failure_of
from app.chat.runs.steps import ToolSteps
from app.chat.runs.titles import TitleMaker
from app.chat.runs.tool_parts import open_calls
from app.chat.values import Run, RunStatus
from app.clock import utc_now
from app.database.engine import Database
from app.database.errors import DatabaseUnavailable
from app.errors import AppError
from app.limits import Slot
from app.providers.models import REQUEST_REFUSED, UpstreamError
from app.telemetry.metrics import Metrics
from app.tools.caller import ToolCaller
from app.tools.catalog import ToolCatalog
from app.usage.prices import PriceTable

T = TypeVar("T")

log = structlog.get_logger(__name__)

_CRASHED = Failed("internal_error", "The reply could not be made because of an internal error")


@dataclass(frozen=True, slots=True)
class RunTools:
    """What every run works with."""

    database: Database
    retrieval: Retrieval
    prompts: PromptBuilder
    metrics: Metrics
    catalog: ToolCatalog
    caller: ToolCaller
    approvals: Approvals
    turns: Turns
    prices: PriceTable
    titles: TitleMaker


class RunTask:
    """A run that waits or goes on: its plan, its log, and how far it has come.

    `run` is brought up to date as it goes on. `stored` events are in the database; a `checkpoint` writes more of them.
    """

    def __init__(self, plan: ReplyPlan, ticket: Ticket, slot: Slot, tools: RunTools) -> None:
        self.run = plan.run
        self.ticket = ticket
        self.log = RunLog()
        self.log.append(*plan.opening)
        self.stored = len(self.log.events)
        self.ending = False
        self.checkpoint: asyncio.Future[None] | None = None
        self.over = asyncio.Event()
        self._plan: ReplyPlan | None = plan
        self._titled = plan if plan.first_title is not None and plan.profile.auto_title else None
        self._slot = slot
        self._tools = tools
        resumed = plan.resumed
        self._reply = Reply() if resumed is None else Reply(resumed.usage)
        self._first_token: float | None = None if resumed is None else resumed.first_token
        self._start = 0.0
        self._stop: tuple[RunStatus, Failed] | None = None
        self._cancellable: asyncio.Task[None] | None = None

    @property
    def seconds(self) -> float:
        """The time since the run's turn came, without its pauses."""
        return time.monotonic() - self._start if self._start else 0.0

    @property
    def paused(self) -> bool:
        """Whether the run waits for a person."""
        return self.run.status is RunStatus.REQUIRES_ACTION

    @property
    def wants_checkpoint(self) -> bool:
        """Whether events wait to be stored, and nothing is storing them."""
        return self.stored < len(self.log.events) and not self.ending and self.checkpoint is None

    def unstored(self) -> EventBatch:
        """Return the events that are not in the database yet."""
        return self.log.since(self.stored)

    def stop(self, status: RunStatus, cause: Failed) -> None:
        """Ask the run to end; the first cause counts."""
        if self._stop is None:
            self._stop = status, cause
        if self._cancellable is not None:
            self._cancellable.cancel()

    async def make(self) -> None:
        """Make the reply, store how it ended, and only then tell its followers."""
        bind_contextvars(run_id=self.run.id)
        try:
            result = await self._result()
            await self._end(result)
            if self._titled is not None and result.status is RunStatus.COMPLETED:
                self._begin_title(self._titled)
        except Exception as error:  # a reply that cannot be stored must not leave its followers waiting
            log.error("run_end_crashed", exc_info=error)
            await self._end_crashed()

    def _begin_title(self, plan: ReplyPlan) -> None:
        run, first_title = self.run, plan.first_title
        target = next(each for each in plan.targets if each.key == (run.provider_id, run.model))
        if run.session_id is not None and first_title is not None:
            self._tools.titles.start(run.session_id, target, first_title, plan.question, self.log.events)

    def close(self) -> None:
        """End the log, and give the slot back."""
        self.log.close()
        self._slot.release()
        self.over.set()

    async def _result(self) -> RunResult:
        """Get the reply, and tell how that ended."""
        task = asyncio.current_task()
        assert task is not None
        try:
            self._cancellable = task
            if self._stop is not None:  # before it began
                raise asyncio.CancelledError
            await self._make_reply()
        except asyncio.CancelledError:
            if self._stop is None:
                raise
            task.uncancel()  # it goes on, to store what there is
            return self._cut_short(*self._stop)
        except UpstreamError as error:
            log.warning("upstream_failed", status=error.status, detail=error.detail, provider=self.run.provider_id)
            return self._cut_short(RunStatus.FAILED, failure_of(error))
        except AppError as error:
            log.warning("run_failed", code=error.code, exc_info=error.__cause__)
            return self._cut_short(RunStatus.FAILED, Failed(error.code, error.message, error.status))
        except Exception as error:
            log.error("run_crashed", exc_info=error)
            return self._cut_short(RunStatus.FAILED, _CRASHED)
        finally:
            self._cancellable = None
            self._plan = None  # which may hold a long conversation
        assert self.run.started_at is not None
        return completed(
            self.run,
            self.log.events,
            self._reply.usage,
            self.run.started_at,
            first_token=self._first_token or 0.0,
            seconds=time.monotonic() - self._start,
        )

    async def _make_reply(self) -> None:
        """Complete the plan, and ask the model, again after each step in which it called tools.

        Raises UpstreamError, AppError.
        """
        await self.ticket.turn.wait()
        if self.run.started_at is None:
            self.run = msgspec.structs.replace(self.run, started_at=utc_now())
        self._start = time.monotonic()
        assert self._plan is not None
        plan = self._plan
        if plan.needs_context:
            plan = self._plan = await _until_available(partial(self._tools.retrieval.complete, plan))
        if plan.passages and plan.resumed is None:
            self.log.append(refs_event(plan.passages))
        if plan.tools is not None:
            await self._take_steps(plan, ToolSteps(plan, plan.tools, self._tools.catalog, self._tools.caller))
            return
        await self._ask_any(plan)
        now = time.time()
        self.log.append(*(ToolCall(call.id, call.name, call.arguments, now) for call in self._reply.tool_calls))

    async def _take_steps(self, plan: ReplyPlan, steps: ToolSteps) -> None:
        """Ask the model, and carry out what it calls, until it calls nothing that is carried out here."""
        own: Sequence[ToolCall] = open_calls(self.log.events)
        clients: Sequence[ToolCall] = () if plan.resumed is None else plan.resumed.client_calls
        while True:
            is_last = not steps.has_steps_left(self.log.events)
            if not own:
                self._reply.next_step()
                await self._ask_any(plan, steps)
                own, clients = steps.split(self._reply, self.log.events)
                text = content_of(self.log.events).text
                end = self._reply.end_of_step(goes_on=bool(own), streaming=self.run.streaming, earlier_text=text)
                self.log.append(*end, *own)
            if own:
                refusals = await self._refusals(plan, steps, own, clients)
                await self._store_progress()
                await steps.carry_out(own, self.log, refusals)
            if clients:
                if own and plan.turn is not None:
                    text = content_of(self.log.events).text
                    self.log.append(*self._reply.calls_of_client(clients, text, streaming=self.run.streaming))
                self.log.append(*clients)
            if clients or not own or is_last:
                return
            own = ()

    async def _refusals(
        self, plan: ReplyPlan, steps: ToolSteps, own: Sequence[ToolCall], clients: Sequence[ToolCall]
    ) -> Mapping[str, str]:
        """Pause until the calls that want approval have been decided; the reasons, by call id, of those denied."""
        calls = steps.calls_to_approve(own, self.log.events)
        if not calls:
            return {}
        # A run that goes on after a restart has asked already.
        if not any(isinstance(event, ApprovalRequired) and event.call_id == calls[0].id for event in self.log.events):
            await self._pause(plan, calls, clients)
        paused_at = time.monotonic()
        approvals = await self._tools.approvals.decided(self.run.id)
        self._start += time.monotonic() - paused_at  # a person's time does not count
        self.run = msgspec.structs.replace(self.run, status=RunStatus.RUNNING)
        await self._store_progress(also=partial(run_store.leave_pause, run_id=self.run.id))
        return {each.call_id: each.refusal for each in approvals if each.decision != "approved"}

    async def _pause(self, plan: ReplyPlan, calls: Sequence[ToolCall], clients: Sequence[ToolCall]) -> None:
        """Store the approvals that the run waits for, and all that it takes to go on after a restart."""
        approvals = [new_approval(self.run.id, call) for call in calls]
        packed = pack(plan, Resumed(self._reply.usage, clients, self._first_token or 0.0))

        def pause(connection: Connection) -> None:
            run_store.enter_pause(connection, self.run)
            add_approvals(connection, approvals, packed)

        events = [ApprovalRequired(each.id, each.call_id, each.name, each.arguments) for each in approvals]
        self.run = msgspec.structs.replace(self.run, status=RunStatus.REQUIRES_ACTION)
        await self._store_progress(events, also=pause)

    async def _store_progress(
        self, events: Sequence[Event] = (), *, also: Callable[[Connection], None] | None = None
    ) -> None:
        """Append the events, and store the log up to them: what comes next must not happen without a trace.

        A cancellation does not end the writing, whose outcome would be open then.
        """
        while self.checkpoint is not None:
            await asyncio.wait([self.checkpoint])
        self.checkpoint = asyncio.ensure_future(self._write_progress(events, also))
        await asyncio.shield(self.checkpoint)

    async def _write_progress(self, events: Sequence[Event], also: Callable[[Connection], None] | None) -> None:
        unstored = self.unstored()
        batch = EventBatch(unstored.first, [*unstored.events, *events])
        progress = run_store.Progress(self.run.id, self.run.started_at, batch)

        def write(connection: Connection) -> None:
            run_store.add_progress(connection, progress, utc_now())
            if also is not None:
                also(connection)

        try:
            await _until_available(lambda: self._tools.database.write(write))
            self.stored += len(batch.events)
            self.log.append(*events)
        finally:
            self.checkpoint = None

    async def _ask_any(self, plan: ReplyPlan, steps: ToolSteps | None = None) -> None:
        """Ask the models in their order, until one begins to answer. Raises UpstreamError, AppError."""
        for target in plan.targets:
            self.run = msgspec.structs.replace(self.run, provider_id=target.provider.id, model=target.model)
            try:
                await self._ask(plan, target, steps)
            except UpstreamError as error:
                # Once a model has begun, no other is asked: its words and another's must not be glued.
                is_last = target is plan.targets[-1]
                if is_last or self._reply.begun or error.status in REQUEST_REFUSED:
                    raise
                log.warning("falling_back", status=error.status, detail=error.detail, provider=target.provider.id)
            else:
                return

    async def _ask(
        self, plan: ReplyPlan, target: Target, steps: ToolSteps | None, hidden: Mapping[str, str] = NOTHING
    ) -> None:
        prompt = await _until_available(partial(self._tools.prompts.build, plan, target, hidden))
        images, request = prompt.images, prompt.request
        to_events = self._reply.chunks if request.keep_raw else self._reply.merge
        if steps is not None:
            request = steps.extend(request, self.log.events)
            to_events = self._reply.passing_chunks if request.keep_raw else to_events
        self._reply.begin()
        answer = target.provider.stream(request)
        del prompt, request  # whose conversation may be long; the provider lets it go too
        try:
            async with aclosing(answer) as batches:
                async for deltas in batches:
                    if events := to_events(deltas):
                        self.log.append(*events)
                    if self._first_token is None and self._reply.begun:
                        self._first_token = time.monotonic() - self._start
                        self._tools.metrics.first_token.observe(self._first_token)
                        # A short reply may be here whole: its beginning need not wait for its end.
                        await asyncio.sleep(0)
        except UpstreamError as error:
            if not images or self._reply.begun:
                raise
            refusal = error
        else:
            return
        await self._ask_without(plan, target, steps, images, refusal, is_last=bool(hidden))

    async def _ask_without(
        self,
        plan: ReplyPlan,
        target: Target,
        steps: ToolSteps | None,
        images: ShownImages,
        refusal: UpstreamError,
        *,
        is_last: bool,
    ) -> None:
        """Ask again without the images of earlier messages, should they be what was refused. Raises UpstreamError."""
        refused_images = self._tools.prompts.refused_images
        hidden = {} if is_last else refused_images.without_earlier(target.key, images, refusal)
        if not hidden:
            refused_images.blame_own(target.key, images, refusal)
            raise refusal
        log.info("asking_again_without_images", status=refusal.status, images=len(hidden), provider=target.provider.id)
        try:
            await self._ask(plan, target, steps, hidden)
        finally:
            if self._reply.begun:  # it was the images
                refused_images.remember(target.key, hidden)

    def _cut_short(self, status: RunStatus, cause: Failed) -> RunResult:
        return cut_short(self.run, self.log.events, status, cause, self._reply.usage, self._first_token)

    async def _end(self, result: RunResult) -> None:
        self.ending = True
        if self._tools.prices.prices:
            result = result.priced(self._tools.prices, self.run)
        if self.checkpoint is not None:  # which may hold events that are unstored by now
            await asyncio.wait([self.checkpoint])
        unstored = self.unstored()
        events = result.events
        if (cause := await self._store(result, EventBatch(unstored.first, [*unstored.events, *events]))) is not None:
            events = [cause, Ended()]
        self.log.append(*events)
        metrics, usage = self._tools.metrics, self._reply.usage
        metrics.runs.labels(result.status.value).inc()
        metrics.tokens.labels("prompt").inc(usage.prompt_tokens)
        metrics.tokens.labels("completion").inc(usage.completion_tokens)
        code = {} if result.error_code is None else {"error_code": result.error_code}
        log.info("run_ended", status=result.status.value, chars=len(result.content.text), **code)

    async def _end_crashed(self) -> None:
        """End a run whose end could not be stored: with its text if that is possible, otherwise without."""
        if isinstance(self.log.events[-1], Ended):
            return
        result = self._cut_short(RunStatus.FAILED, _CRASHED).priced(self._tools.prices, self.run)
        unstored = self.unstored()
        bare = cut_short(self.run, (), RunStatus.FAILED, _CRASHED)
        attempts = (
            (result, EventBatch(unstored.first, [*unstored.events, *result.events])),
            (bare, EventBatch(unstored.first + len(unstored.events), bare.events)),
        )
        for attempt, batch in attempts:
            try:
                await self._store(attempt, batch)
            except Exception as error:
                log.error("run_end_crashed", exc_info=error)
            else:
                result = attempt
                break
        self.log.append(*result.events)
        self._tools.metrics.runs.labels(result.status.value).inc()

    async def _store(self, result: RunResult, batch: EventBatch) -> Failed | None:
        """Store the end; the reason when the run is no longer open."""
        run, end_run = self.run, self._tools.turns.end_run

        async def store_end() -> bool:
            return await self._tools.database.write(lambda connection: end_run(connection, run, result, batch))

        if await _until_available(store_end):
            return None
        return await _until_available(partial(self._store_late, result, batch))

    async def _store_late(self, result: RunResult, batch: EventBatch) -> Failed | None:
        """Store the end of a run that was taken for lost; the reason when it has ended or goes on otherwise."""

        def replace(connection: Connection) -> Run | bool | None:
            return run_store.replace_end(connection, self.run, result, batch) or run_store.find_run(
                connection, self.run.id
            )

        stored = await self._tools.database.write(replace)
        if isinstance(stored, bool):
            log.warning("run_was_taken_for_lost", run_id=self.run.id)
            return None
        if stored is None:
            return Failed("session_deleted", "The session was deleted while the reply was being made")
        if stored.status == result.status:  # an earlier try stored the end after all, though the database denied it
            return None
        return Failed("interrupted", "The run was taken over by another server")


async def _until_available(act: Callable[[], Awaitable[T]]) -> T:
    """Try until the database is available: one that is away for a while must not cost a reply. The run stays open."""
    try:
        return await act()
    except DatabaseUnavailable:
        async for attempt in stamina.retry_context(
            on=DatabaseUnavailable, attempts=None, timeout=None, wait_initial=0.1, wait_max=5.0
        ):
            with attempt:
                result = await act()
        return result
