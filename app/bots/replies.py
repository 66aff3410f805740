"""Replies on their way to a chat: shown while they are made, and sent for good when they are over.

What is shown on the way may be lost. The end is not: it is put into the outbox by the transaction that ends the run.
"""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from contextvars import Context
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import partial
from hashlib import sha256
from typing import cast
from uuid import uuid4

import structlog
from sqlalchemy import Connection

from app.bots.adapters.base import Adapter, Call, Capabilities, Fragment, OutgoingPart, Target, Typist
from app.bots.adapters.inbound import InboundEvent
from app.bots.adapters.outcomes import DeliveryError, RateLimited, Refused
from app.bots.inbox import store as inbox_store
from app.bots.inbox.contexts import ReplyContexts
from app.bots.inbox.turns import MESSAGE_ID
from app.bots.outbox import store
from app.bots.outbox.planning import RUN_KEY, new_delivery, plan_beside
from app.bots.outbox.store import Lane
from app.bots.outbox.worker import Outbox
from app.bots.service import BotService
from app.bots.umo import MessageType, Umo
from app.chat.parts import Media, Part, Reply, Text, to_stored
from app.chat.runs.events import Chunk, Ended, Event, TextDelta
from app.chat.runs.log import RunLog
from app.chat.runs.reply import RunResult
from app.chat.service import Accepted
from app.chat.values import Run, RunStatus
from app.clock import utc_now
from app.database.engine import Database
from app.errors import AppError

FIRST_SECONDS = 1.0
"""A reply that is over by then is sent whole."""
DEADLINE = timedelta(minutes=15)
"""A reply that could not be sent by then is not wanted any more."""
LIVE_GRACE = timedelta(seconds=25)
"""How long the end of a reply waits for its follower, which may have died."""
CUT_SHORT = "_The reply was not completed._"

log = structlog.get_logger(__name__)


def store_reply(connection: Connection, run: Run, result: RunResult) -> None:
    """Put a bot's reply into the outbox, in the transaction that ends its run."""
    number = run.message_id.removeprefix(MESSAGE_ID)
    stored = inbox_store.lock_event(connection, int(number)) if number.isdecimal() else None
    if stored is None:
        return
    is_shown = inbox_store.find_live(connection, run.id) is not None
    parts = _parts_of(result)
    if not parts and not is_shown:
        return
    message_type, _, session_id = stored.target.partition(":")
    if message_type == "GroupMessage" and stored.platform_id:
        parts = [Reply(stored.platform_id), *parts]
    umo = Umo(stored.bot_id, cast(MessageType, message_type), session_id)
    now = utc_now()
    values = new_delivery(
        str(uuid4()),
        umo,
        Target(umo.message_type, session_id, key_id=run.key_id),
        to_stored(parts),
        "run",
        f"{RUN_KEY}{run.id}",
        now=now,
        deadline=now + DEADLINE,
    )
    # The follower may be in the middle of a call, and releases the reply when it knows what people see.
    store.add_delivery(connection, {**values, "not_before": now + LIVE_GRACE if is_shown else now}, ())


def _parts_of(result: RunResult) -> list[Part]:
    """The parts of a reply that people in a chat are shown; of an incomplete one, a word on that."""
    text = result.content.text.strip()
    if result.status is RunStatus.FAILED and not text:
        text = f"⚠️ {result.error}"
    elif result.status in (RunStatus.FAILED, RunStatus.INTERRUPTED):
        text = f"{text}\n\n{CUT_SHORT}".strip()
    parts: list[Part] = [Text(text)] if text else []
    return parts + [part for part in result.content.parts if isinstance(part, Media)]


@dataclass(slots=True)
class _Shown:
    """What people see of a reply so far: the messages, and the payloads in them."""

    ids: list[str] = field(default_factory=list)
    fragments: list[Fragment] = field(default_factory=list)
    is_open: bool = False
    is_over: bool = False


class Replies:
    """Follows the runs that answer events, and shows their replies where the platform can edit."""

    def __init__(
        self,
        database: Database,
        bots: BotService,
        outbox: Outbox,
        contexts: ReplyContexts,
        *,
        first_seconds: float = FIRST_SECONDS,
    ) -> None:
        self._database = database
        self._bots = bots
        self._outbox = outbox
        self._contexts = contexts
        self._first_seconds = first_seconds
        self._tasks: set[asyncio.Task[None]] = set()

    def follow(self, lane: Lane, event: InboundEvent, accepted: Accepted, *, live: bool) -> None:
        """Show the reply of a run while it is made, and have it sent when it is over."""
        task = asyncio.create_task(self._follow(lane, event, accepted, live=live), context=Context())
        self._tasks.add(task)  # the loop itself holds tasks weakly
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _follow(self, lane: Lane, event: InboundEvent, accepted: Accepted, *, live: bool) -> None:
        typing: asyncio.Task[None] | None = None
        shown = _Shown()
        try:
            async with self._bots.use(lane[0]) as bot:
                capabilities = bot.adapter.capabilities
            typing = asyncio.create_task(self._type(lane, event, capabilities))
            if live and capabilities.edits:
                await self._show(lane, event, accepted, capabilities, typing, shown)
            await accepted.log.first((Ended,))
        except AppError as error:
            log.warning("reply_not_shown", bot_id=lane[0], code=error.code)
            await accepted.log.first((Ended,))
        except Exception as error:  # a fault of the adapter: the reply itself is sent all the same
            log.error("reply_follower_crashed", bot_id=lane[0], exc_info=error)
            await accepted.log.first((Ended,))
        finally:
            if typing is not None:
                typing.cancel()
        if shown.is_open:
            await self._release(lane, accepted.run.id, shown)
        self._outbox.wake(lane)

    async def _open(self, lane: Lane, run: Run) -> bool:
        """Note that the reply is about to be shown; False when the run is over."""

        def open_live(connection: Connection) -> bool:
            inbox_store.lock_event(connection, int(run.message_id.removeprefix(MESSAGE_ID)))
            if store.find_by_key(connection, lane[0], f"{RUN_KEY}{run.id}") is not None:
                return False
            inbox_store.open_live(connection, run.id, lane, utc_now())
            return True

        return await self._database.write(open_live)

    async def _release(self, lane: Lane, run_id: str, shown: _Shown) -> None:
        """Let the end of the reply be sent, over the messages that people see."""

        def release(connection: Connection) -> None:
            store.release_reply(connection, lane, f"{RUN_KEY}{run_id}", shown.ids, utc_now())
            inbox_store.forget_live(connection, run_id)

        try:
            await self._database.write(release)
        except AppError as error:  # it is sent after a while, all the same
            log.warning("reply_not_released", bot_id=lane[0], code=error.code)

    async def _show(
        self,
        lane: Lane,
        event: InboundEvent,
        accepted: Accepted,
        capabilities: Capabilities,
        typing: asyncio.Task[None],
        shown: _Shown,
    ) -> None:
        """Show the text so far now and then, until the run is over."""
        seconds = self._first_seconds
        run_log = accepted.log
        while await run_log.first((Ended,), seconds) is None and not run_log.closed and not shown.is_over:
            seconds = capabilities.live_seconds
            text = _text_of(run_log)
            if not text.strip():
                continue
            typing.cancel()
            if not shown.is_open:
                shown.is_open = await self._open(lane, accepted.run)
                if not shown.is_open:
                    return
            try:
                async with self._bots.use(lane[0]) as bot:
                    await self._bring_up_to_date(lane, event, accepted.run.id, bot.adapter, text, shown)
            except RateLimited as error:
                seconds = max(error.after, seconds)
            except DeliveryError as error:
                log.info("live_reply_given_up", bot_id=lane[0], error=repr(error))
                return

    async def _bring_up_to_date(
        self, lane: Lane, event: InboundEvent, run_id: str, adapter: Adapter, text: str, shown: _Shown
    ) -> None:
        """Send and edit messages until people see `text`. Raises DeliveryError."""
        target = Target(event.message_type, event.session_id)
        parts: list[OutgoingPart] = [Text(text)]
        if event.is_group and event.platform_id and adapter.capabilities.replies:
            parts.insert(0, Reply(event.platform_id))
        for index, fragment in enumerate(await plan_beside(adapter, target, parts)):
            if index < len(shown.ids):
                if fragment.payload != shown.fragments[index].payload:
                    edit = replace(fragment, action="edit", platform_id=shown.ids[index])
                    await _deliver(adapter, Call(target, edit, _key(run_id, index), is_live=True))
                    shown.fragments[index] = fragment
                continue
            context = await self._contexts.of_live(lane) if adapter.capabilities.uses_contexts else None
            call = Call(target, fragment, _key(run_id, index), context=context, is_live=True)
            platform_id = await _deliver(adapter, call)
            if platform_id is None:  # which cannot be edited
                shown.is_over = True
                return
            shown.ids.append(platform_id)
            shown.fragments.append(fragment)
            ids = tuple(shown.ids)
            await self._database.write(partial(inbox_store.save_live, run_id=run_id, platform_ids=ids))

    async def _type(self, lane: Lane, event: InboundEvent, capabilities: Capabilities) -> None:
        """Show that the bot is typing, until cancelled."""
        if (seconds := capabilities.typing_seconds) is None:
            return
        target = Target(event.message_type, event.session_id)
        while True:
            with suppress(AppError, TimeoutError):
                async with self._bots.use(lane[0]) as bot:
                    if not isinstance(bot.adapter, Typist):
                        return
                    async with asyncio.timeout(seconds):
                        await bot.adapter.typing(target)
            await asyncio.sleep(seconds * 0.8)


async def _deliver(adapter: Adapter, call: Call) -> str | None:
    """Make a call, with the plain form of the text if the formatting is refused. Raises DeliveryError."""
    try:
        receipt = await adapter.deliver(call)
    except Refused as error:
        if not error.formatting or call.fragment.plain is None:
            raise
        plain = replace(call.fragment, payload=call.fragment.plain, plain=None)
        receipt = await adapter.deliver(replace(call, fragment=plain, wire_key=_key(call.wire_key, 0)))
    return receipt.platform_id


def _key(run_id: str, index: int) -> str:
    return sha256(f"live {run_id} {index}".encode()).hexdigest()[:32]


def _text_of(run_log: RunLog) -> str:
    """The text of a reply so far."""
    events: Sequence[Event] = run_log.events
    return "".join(event.text for event in events if isinstance(event, (TextDelta, Chunk)))
