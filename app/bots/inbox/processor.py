"""Dealing with events: one task for each chat with something new, in the order in which it came."""

import asyncio
import secrets
from collections.abc import Callable, Sequence
from contextlib import suppress
from contextvars import Context
from datetime import timedelta

import msgspec
import structlog
from sqlalchemy import Connection

from app.background import every
from app.bots import store as bot_store
from app.bots.adapters.inbound import InboundEvent
from app.bots.inbox import store
from app.bots.inbox.admission import MAX_AGE, Rules, admit, creator_of
from app.bots.inbox.models import EventState, StoredEvent
from app.bots.inbox.turns import TurnMaker, bot_principal, claim_of_event, stop_session
from app.bots.outbox.store import Lane
from app.bots.replies import Replies
from app.bots.sending import MessageService
from app.bots.service import BotService
from app.chat.service import ChatService
from app.clock import utc_now
from app.database.engine import Database
from app.errors import AppError, Forbidden, NotFound, TooManyRequests, Unavailable

POLL_SECONDS = 10.0
ALBUM_SECONDS = 1.5
RETRY_SECONDS = 2.0
RETENTION = timedelta(days=7)
MAX_PAIRINGS = 100
CODE_LETTERS = "ABCDEFGHJKLMNPQRSTUVWXYZ23456789"
PAIRING_TEXT = "You are not on this bot's list yet. Ask its operator to approve the code {code}"
NEW_TEXT = "This is a new conversation."
STOPPED_TEXT, NOTHING_TEXT = "Stopped.", "There is nothing to stop."

log = structlog.get_logger(__name__)


class Processor:
    """Makes turns of events; `owner` names this server."""

    def __init__(
        self,
        database: Database,
        bots: BotService,
        chat: ChatService,
        turns: TurnMaker,
        messages: MessageService,
        replies: Replies,
        owner: str,
        *,
        sole_owner: bool,
        count: Callable[[str], None] = lambda _outcome: None,
    ) -> None:
        self._count = count
        self._database = database
        self._bots = bots
        self._chat = chat
        self._turns = turns
        self._messages = messages
        self._replies = replies
        self._owner = owner
        self._sole_owner = sole_owner
        self._lanes: dict[Lane, asyncio.Event] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._closing = False

    async def open(self) -> None:
        """Go on with what an earlier process of this server has not dealt with."""
        await self._adopt(at_start=True)

    async def run(self) -> None:
        """Look for what other servers have left, until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(every(POLL_SECONDS, self._adopt, "inbox_not_polled"))
            group.create_task(every(3600.0, self._purge, "inbox_not_purged"))

    async def close(self) -> None:
        self._closing = True
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def wake(self, lane: Lane) -> None:
        """Have a chat's new events dealt with."""
        if (event := self._lanes.get(lane)) is not None:
            event.set()
        elif not self._closing:
            event = self._lanes[lane] = asyncio.Event()
            task = asyncio.create_task(self._serve(lane, event), context=Context())
            self._tasks.add(task)  # the loop itself holds tasks weakly
            task.add_done_callback(self._tasks.discard)

    async def _adopt(self, *, at_start: bool = False) -> None:
        lanes = await self._database.write(
            lambda connection: store.adopt_lanes(
                connection, self._owner, at_start=at_start, sole_owner=self._sole_owner
            )
        )
        for lane in lanes:
            self.wake(lane)

    async def _purge(self) -> None:
        now = utc_now()
        await self._database.write(lambda connection: store.purge(connection, now - RETENTION, now))

    async def _serve(self, lane: Lane, woken: asyncio.Event) -> None:
        try:
            while True:
                woken.clear()
                seconds = await self._next(lane)
                if woken.is_set() or seconds == 0:
                    continue
                if seconds is None:
                    return
                await asyncio.sleep(seconds)
        finally:
            del self._lanes[lane]

    async def _next(self, lane: Lane) -> float | None:
        """Deal with the first event of a lane; the seconds until the next look, None when nothing is left."""
        try:
            stored = await self._database.read(lambda connection: store.next_events(connection, lane, self._owner))
            if not stored:
                return None
            age = (utc_now() - stored[-1].received_at).total_seconds()
            if stored[0].event.get("album") is not None and age < ALBUM_SECONDS:
                return ALBUM_SECONDS - age
            return await self._deal_with(stored)
        except Unavailable as error:
            log.warning("inbox_postponed", code=error.code, exc_info=error.__cause__)
            return RETRY_SECONDS

    async def _deal_with(self, stored: Sequence[StoredEvent]) -> float:
        try:
            events = [msgspec.convert(each.event, InboundEvent) for each in stored]
            await self._answer(stored, events)
        except TooManyRequests as error:
            if utc_now() - stored[0].received_at > MAX_AGE:
                await self._end(stored, EventState.DEAD, reason=error.code)
                return 0
            await self._database.write(lambda connection: store.postpone_events(connection, stored))
            return float(min(RETRY_SECONDS * 2.0 ** stored[0].attempts, 60.0))
        except Unavailable:
            raise
        except NotFound as error:  # the bot is gone
            await self._end(stored, EventState.IGNORED, reason=error.code)
        except AppError as error:
            log.warning("event_refused", bot_id=stored[0].bot_id, code=error.code)
            await self._end(stored, EventState.DEAD, reason=error.code)
            if error.status < 500:
                await self._say(stored[0], error.message)
        except Exception as error:  # the next event must not go without
            log.error("event_crashed", bot_id=stored[0].bot_id, event_id=stored[0].id, exc_info=error)
            await self._end(stored, EventState.DEAD, reason="internal_error")
        return 0

    async def _answer(self, stored: Sequence[StoredEvent], events: Sequence[InboundEvent]) -> None:
        first, event = stored[0], events[0]
        bot_id = first.bot_id
        bot, pairing = await self._database.read(
            lambda connection: (
                bot_store.find_bot(connection, bot_id),
                store.find_pairing(connection, bot_id, event.sender_id),
            )
        )
        if bot is None or not bot[0].enabled:
            await self._end(stored, EventState.IGNORED, reason="bot_not_running")
            return
        rules = Rules.of(bot[0].config)
        is_paired = None if pairing is None else pairing.approved
        admission = admit(event, rules, is_paired=is_paired, now=utc_now())
        principal = bot_principal(bot_id, creator_of(bot_id, event, rules))
        match admission.verdict:
            case "ignore":
                await self._end(stored, EventState.IGNORED, reason=admission.reason)
                return
            case "turn":
                await self._begin_run(stored, events, rules)
                return
            case "pair":
                code = await self._code_for(bot_id, event)
                text = PAIRING_TEXT.format(code=code)
            case "stop":
                session_id = await self._turns.session_id(bot_id, event, rules)
                text = STOPPED_TEXT if await stop_session(self._chat, principal, session_id) else NOTHING_TEXT
            case "new":
                session_id = await self._turns.session_id(bot_id, event, rules)
                await stop_session(self._chat, principal, session_id)
                await self._turns.begin_anew(bot_id, event, rules)
                text = NEW_TEXT
            case _:
                text = f"{bot_id}:{event.target}\nsender: {event.sender_id}"
        await self._say(first, text)
        await self._end(stored, EventState.DONE, reason=admission.verdict)

    async def _begin_run(self, stored: Sequence[StoredEvent], events: Sequence[InboundEvent], rules: Rules) -> None:
        first, event = stored[0], events[0]
        principal = bot_principal(first.bot_id, creator_of(first.bot_id, event, rules))
        claim = claim_of_event(first)
        accepted = await self._chat.find_first(principal, claim)
        if accepted is None:
            async with self._bots.use(first.bot_id) as bot:
                command = await self._turns.command(bot.adapter, stored, events, rules)
            try:
                accepted = await self._chat.send(principal, command, claim)
            except Forbidden:  # somebody has a session of that name
                await self._turns.begin_anew(first.bot_id, event, rules)
                session_id = await self._turns.session_id(first.bot_id, event, rules)
                command = msgspec.structs.replace(command, session_id=session_id)
                accepted = await self._chat.send(principal, command, claim)
        run_id = accepted.run.id
        await self._end(stored, EventState.DONE, run_id=run_id)
        self._replies.follow((first.bot_id, first.target), event, accepted, live=rules.live_replies)

    async def _code_for(self, bot_id: str, event: InboundEvent) -> str:
        """Return the code by which the operator knows the sender; the same each time."""
        code = "".join(secrets.choice(CODE_LETTERS) for _ in range(8))

        def add(connection: Connection) -> str:
            known = store.find_pairing(connection, bot_id, event.sender_id)
            if known is None:
                store.add_pairing(connection, bot_id, event.sender_id, event.sender_name, code, utc_now(), MAX_PAIRINGS)
            return code if known is None else known.code

        return await self._database.write(add)

    async def _say(self, stored: StoredEvent, text: str) -> None:
        with suppress(NotFound):
            await self._messages.post(stored.bot_id, stored.target, text, f"event:{stored.id}")

    async def _end(
        self,
        stored: Sequence[StoredEvent],
        state: EventState,
        *,
        reason: str | None = None,
        run_id: str | None = None,
    ) -> None:
        await self._database.write(
            lambda connection: store.end_events(connection, stored, state, reason=reason, run_id=run_id)
        )
        self._count(state.value if reason is None or state is EventState.DONE else reason)
