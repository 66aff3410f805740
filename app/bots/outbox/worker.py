"""The workers of the outbox: one task for each chat with something to send.

Each delivery is leased, and its fragments are sent one after another: `sending` is committed before the request is
written, and what came of it afterwards. Chats do not wait for each other.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, contextmanager, suppress
from contextvars import Context
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Protocol, cast

import structlog
from sqlalchemy import Connection

from app.background import every
from app.bots.adapters.base import (
    Action,
    Adapter,
    Call,
    Capabilities,
    Fragment,
    Looker,
    Preparer,
    Receipt,
    ReplyContext,
    Target,
)
from app.bots.adapters.outcomes import DeliveryError, NotSent, Refused, Unknown
from app.bots.outbox import store
from app.bots.outbox.models import Delivery, FragmentState, StoredFragment
from app.bots.outbox.planning import add_fragments, find_live_of, plan_reply, refuse
from app.bots.outbox.policy import MAX_LOOKS, RetryPolicy, Step, after_doubt, after_error, after_receipt, may_repeat
from app.bots.outbox.store import Lane
from app.bots.outbox.turns import next_fragment, record, take
from app.bots.umo import MessageType
from app.chat.parts import attachment_ids, from_stored
from app.clock import utc_now
from app.database.engine import Database
from app.errors import AppError, NotFound, Unavailable
from app.files.models import Attachment
from app.files.service import FileService

POLL_SECONDS = 5.0
RENEWAL_SECONDS = 10.0
CLOSE_SECONDS = 5.0
FILE_SECONDS = 120.0
"""The longest that a call with a file may take."""
MAX_SLEEP = timedelta(seconds=30)
"""A lane that has to wait for longer is found again by the poll."""
MAX_CALLS, MAX_CALLS_PER_BOT = 64, 8
RETENTION = timedelta(days=30)

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class BotInUse:
    """A running bot's adapter; with `at_least_once` it rather repeats a message than loses it."""

    adapter: Adapter
    kind: str
    at_least_once: bool = False


class Bots(Protocol):
    """The running bots."""

    def use(self, bot_id: str) -> AbstractAsyncContextManager[BotInUse]:
        """Keep a bot's adapter open for as long as the block lasts. Raises NotFound, DeliveryError, Unavailable."""


class Contexts(Protocol):
    """Rights to reply that expire."""

    async def of_fragment(self, lane: Lane, fragment: StoredFragment) -> ReplyContext | None:
        """Use one for a fragment; the same again for its next try."""


class Outbox:
    """Sends what is stored; `owner` names this server, and `sole_owner` says that there is no other on the database.

    `count` is told the kind of the bot and the outcome of each try; `on_end` is called when a delivery with a callback
    may be over.
    """

    def __init__(
        self,
        database: Database,
        bots: Bots,
        files: FileService,
        owner: str,
        *,
        sole_owner: bool,
        policy: RetryPolicy | None = None,
        contexts: Contexts | None = None,
        count: Callable[[str, str], None] = lambda _kind, _outcome: None,
        on_end: Callable[[], None] = lambda: None,
    ) -> None:
        self._database = database
        self._bots = bots
        self._files = files
        self._owner = owner
        self._sole_owner = sole_owner
        self._policy = policy or RetryPolicy()
        self._contexts = contexts
        self._count = count
        self._on_end = on_end
        self._lanes: dict[Lane, asyncio.Event] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._sending: set[int] = set()
        self._watched: dict[str, asyncio.Event] = {}
        self._calls = asyncio.Semaphore(MAX_CALLS)
        self._calls_of_bot: dict[str, asyncio.Semaphore] = {}
        self._closing = False

    async def open(self) -> None:
        """Go on with what an earlier process of this server left."""
        owner, sole = self._owner, self._sole_owner

        def find(connection: Connection) -> list[Lane]:
            store.free_lost(connection, owner, sole_owner=sole)
            return store.list_due_lanes(connection, owner, utc_now(), at_start=True, sole_owner=sole)

        for lane in await self._database.write(find):
            self.wake(lane)

    async def run(self) -> None:
        """Look for what other servers or waits have left, and renew leases, until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(every(POLL_SECONDS, self._poll, "outbox_not_polled"))
            group.create_task(every(RENEWAL_SECONDS, self._renew, "outbox_leases_not_renewed"))
            group.create_task(every(3600.0, self._purge, "outbox_not_purged"))

    async def close(self) -> None:
        """Give calls that are under way some seconds to end, and begin no more."""
        self._closing = True
        for event in self._lanes.values():
            event.set()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=CLOSE_SECONDS)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def wake(self, lane: Lane) -> None:
        """Have a lane looked at now."""
        if (event := self._lanes.get(lane)) is not None:
            event.set()
        elif not self._closing:
            event = self._lanes[lane] = asyncio.Event()
            # Not in the context of the request that woke it: it sends for others too.
            task = asyncio.create_task(self._serve(lane, event), context=Context())
            self._tasks.add(task)  # the loop itself holds tasks weakly
            task.add_done_callback(self._tasks.discard)

    @contextmanager
    def watch(self, delivery_id: str) -> Iterator[asyncio.Event]:
        """An event that is set whenever this server has dealt with the delivery; the watcher clears it."""
        event = self._watched.setdefault(delivery_id, asyncio.Event())
        try:
            yield event
        finally:
            self._watched.pop(delivery_id, None)

    def announce(self, delivery: Delivery) -> None:
        """Tell those who wait for a delivery that it has been dealt with, and may be over."""
        if (event := self._watched.get(delivery.id)) is not None:
            event.set()
        if delivery.callback is not None:
            self._on_end()

    async def _serve(self, lane: Lane, event: asyncio.Event) -> None:
        """Send what the lane holds, until nothing is left or its head has to wait for long."""
        try:
            while not self._closing:
                event.clear()
                try:
                    at = await self._send_head(lane)
                except Unavailable as error:
                    log.warning("outbox_postponed", code=error.code, exc_info=error.__cause__)
                    at = utc_now() + timedelta(seconds=1)
                except Exception as error:  # the lane's next delivery must not go without
                    log.error("outbox_crashed", bot_id=lane[0], exc_info=error)
                    at = utc_now() + timedelta(seconds=5)
                if event.is_set():
                    continue
                if at is None or at - utc_now() > MAX_SLEEP:
                    return
                with suppress(TimeoutError):
                    async with asyncio.timeout(max((at - utc_now()).total_seconds(), 0.0)):
                        await event.wait()
        finally:
            del self._lanes[lane]

    async def _send_head(self, lane: Lane) -> datetime | None:
        """Send the delivery at the head; the moment to come back, None when the lane is empty."""
        calls_of_bot = self._calls_of_bot.setdefault(lane[0], asyncio.Semaphore(MAX_CALLS_PER_BOT))
        async with calls_of_bot, self._calls:
            turn = await self._database.write(lambda connection: take(connection, lane, self._owner, utc_now()))
            for delivery in turn.ended:
                self.announce(delivery)
            if turn.delivery is None:
                return turn.at
            self._sending.add(turn.delivery.seq)
            try:
                await self._send(turn.delivery)
            finally:
                self._sending.discard(turn.delivery.seq)
        self.announce(turn.delivery)
        return utc_now()

    async def _send(self, delivery: Delivery) -> None:
        current: Delivery | None = delivery
        async with self._in_use(delivery) as bot:
            if not delivery.fragments:
                current = await self._planned(bot.adapter, delivery)
            while current is not None and (fragment := next_fragment(current)) is not None:
                step = await self._try(bot, current, fragment)
                self._count(bot.kind, _outcome(step))
                current = await self._database.write(
                    partial(record, delivery=current, fragment=fragment, step=step, owner=self._owner, now=utc_now())
                )

    @asynccontextmanager
    async def _in_use(self, delivery: Delivery) -> AsyncIterator[BotInUse]:
        async with AsyncExitStack() as stack:
            try:
                bot = await stack.enter_async_context(self._bots.use(delivery.bot_id))
            except (NotFound, DeliveryError) as error:  # the bot is gone, or cannot be used any more
                bot = BotInUse(_Unusable(Refused(error.message, code=error.code)), "gone")
            yield bot

    async def _try(self, bot: BotInUse, delivery: Delivery, fragment: StoredFragment) -> Step:
        """Make one call for a fragment; what is to be stored of it."""
        adapter, capabilities = bot.adapter, bot.adapter.capabilities
        options = {"can_look": isinstance(adapter, Looker), "at_least_once": bot.at_least_once}
        try:
            call = await self._call(delivery, fragment, uses_contexts=capabilities.uses_contexts)
            if fragment.state is FragmentState.UNKNOWN:
                if may_repeat(fragment, capabilities, utc_now(), at_least_once=bot.at_least_once):
                    await self._begin(fragment)
                elif (found := await self._look(adapter, call, fragment)) is not None:
                    return found
            return after_receipt(await self._deliver(adapter, call, delivery))
        except AppError as error:
            log.info("delivery_try_failed", bot_id=delivery.bot_id, delivery_id=delivery.id, error=repr(error))
            if isinstance(error, Unavailable):
                error = NotSent(error.message)
            return after_error(error, delivery, fragment, capabilities, self._policy, utc_now(), **options)
        except Exception as error:
            # A fault of the adapter, or an answer that nobody foresaw: the platform may have the message.
            log.error("adapter_crashed", bot_id=delivery.bot_id, delivery_id=delivery.id, exc_info=error)
            doubt = Unknown("The adapter failed while it was sending")
            return after_doubt(doubt, delivery, fragment, capabilities, self._policy, utc_now(), **options)

    async def _planned(self, adapter: Adapter, delivery: Delivery) -> Delivery | None:
        """Divide a reply into fragments, now that its turn has come; None when it cannot be sent."""
        try:
            ids = attachment_ids(from_stored(delivery.parts))
            attachments = await self._files.find_many(ids, None)
            live_ids = delivery.live_ids
            if live_ids is None:  # its follower is gone
                live_ids = await self._database.read(lambda connection: find_live_of(connection, delivery))
            fragments = await plan_reply(adapter, _target(delivery), delivery.parts, attachments, live_ids)
        except AppError as error:
            log.warning("reply_not_planned", bot_id=delivery.bot_id, delivery_id=delivery.id, code=error.code)
            refusal = error
            await self._database.write(lambda connection: refuse(connection, delivery, refusal, utc_now()))
            return None
        return await self._database.write(
            lambda connection: add_fragments(connection, delivery, fragments, self._owner, utc_now())
        )

    async def _begin(self, fragment: StoredFragment) -> None:
        await self._database.write(lambda connection: store.begin_fragment(connection, fragment, utc_now()))

    async def _look(self, adapter: Adapter, call: Call, fragment: StoredFragment) -> Step | None:
        """Look for a fragment that may have arrived; None when it is certain that it has not, and it is begun again."""
        looks = int((fragment.extra or {}).get("looks", 0))
        if not isinstance(adapter, Looker) or looks >= MAX_LOOKS:
            raise Unknown(fragment.error or "It is not known whether the message arrived")
        receipt = await adapter.find(call, fragment.first_tried_at or utc_now())
        if receipt is not None:
            return after_receipt(receipt)
        if looks + 1 < MAX_LOOKS:
            at = utc_now() + self._policy.look_after
            error = Unknown(fragment.error or "The message has not been found yet")
            values = {"state": FragmentState.UNKNOWN.value, "extra": {"looks": looks + 1}}
            return Step("later", values, at=at, error=error)
        await self._begin(fragment)
        return None

    async def _call(self, delivery: Delivery, fragment: StoredFragment, *, uses_contexts: bool) -> Call:
        """Raises Refused for a file that is gone."""
        context = None
        if uses_contexts and self._contexts is not None:
            context = await self._contexts.of_fragment((delivery.bot_id, delivery.target), fragment)
        file = None
        if fragment.attachment_id is not None:
            attachments = await self._files.find_many([fragment.attachment_id], None)
            if fragment.attachment_id not in attachments:
                raise Refused("A file of the message has been deleted")
            file = _File(self._files, attachments[fragment.attachment_id])
        action = cast(Action, fragment.action)
        return Call(
            _target(delivery),
            Fragment(fragment.payload, fragment.plain, fragment.attachment_id, action, fragment.edited_id),
            fragment.wire_key,
            file,
            context=context,
            tries=fragment.attempts,
        )

    async def _deliver(self, adapter: Adapter, call: Call, delivery: Delivery) -> Receipt:
        seconds = adapter.capabilities.call_seconds if call.file is None else FILE_SECONDS
        if delivery.waits:  # somebody waits for the answer, and is told at the deadline that there is none
            seconds = min(seconds, max((delivery.deadline - utc_now()).total_seconds(), 0.1))
        if call.file is not None and isinstance(adapter, Preparer):
            call = await self._prepared(adapter, call, seconds)
        try:
            async with asyncio.timeout(seconds):
                return await adapter.deliver(call)
        except TimeoutError:
            raise Unknown("The platform did not answer in time") from None

    async def _prepared(self, adapter: Preparer, call: Call, seconds: float) -> Call:
        """Upload the call's file: nothing of that is visible, and it can be done again."""
        try:
            async with asyncio.timeout(seconds):
                handle = await adapter.prepare(call)
        except TimeoutError:
            raise NotSent("The file could not be uploaded in time") from None
        except Unknown as error:
            raise NotSent(error.message, platform_code=error.platform_code) from error
        return Call(call.target, call.fragment, call.wire_key, call.file, handle, call.context, call.tries)

    async def _poll(self) -> None:
        lanes = await self._database.read(
            lambda connection: store.list_due_lanes(
                connection, self._owner, utc_now(), at_start=False, sole_owner=self._sole_owner
            )
        )
        for lane in lanes:
            self.wake(lane)

    async def _renew(self) -> None:
        if seqs := list(self._sending):
            await self._database.write(lambda connection: store.renew_leases(connection, self._owner, seqs))

    async def _purge(self) -> None:
        await self._database.write(lambda connection: store.purge(connection, utc_now() - RETENTION))


@dataclass(frozen=True, slots=True)
class _File:
    """A fragment's file in the storage."""

    files: FileService
    attachment: Attachment

    async def read(self) -> bytes:
        return await self.files.read(self.attachment, self.attachment.size)

    def stream(self) -> AsyncIterator[bytes]:
        return self.files.stream(self.attachment)


@dataclass(frozen=True, slots=True)
class _Unusable:
    """The adapter of a bot that cannot be used."""

    error: Refused

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities()

    def plan(self, _target: Target, _parts: object) -> list[Fragment]:
        return []

    async def deliver(self, _call: Call) -> Receipt:
        raise self.error

    async def close(self) -> None:
        pass


def _target(delivery: Delivery) -> Target:
    message_type, _, session_id = delivery.target.partition(":")
    return Target(cast(MessageType, message_type), session_id, delivery.username, delivery.key_id)


def _outcome(step: Step) -> str:
    if step.kind == "next":
        return "sent"
    return step.state.value if step.state is not None else "retried"
