"""A platform that does what a script says, and an outbox that sends to it."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Literal

from sqlalchemy import select

from app.bots.adapters.base import Call, Capabilities, Fragment, OutgoingPart, Receipt, Target
from app.bots.adapters.outcomes import NotSent, RateLimited, Refused, TargetGone, Unauthorized, Unknown
from app.bots.outbox import store
from app.bots.outbox.models import OPEN_STATES, Delivery, DeliveryRow
from app.bots.outbox.planning import new_delivery, new_fragments
from app.bots.outbox.policy import RetryPolicy
from app.bots.outbox.worker import BotInUse, Outbox
from app.bots.umo import Umo
from app.chat.parts import Text, to_stored
from app.clock import utc_now
from app.core import Core, open_core
from app.database.engine import Database
from app.errors import BadRequest, NotFound
from app.files.service import FileService
from app.idempotency import Idempotency
from app.parts import open_files
from tests.support.server import make_settings
from tests.support.waiting import until

Fault = Literal[
    "ok",
    "refused",
    "format_refused",  # the text is taken without its formatting
    "wrong",  # the request was wrong in itself
    "chat_limited",  # the chat is to rest
    "bot_limited",
    "not_sent",
    "lost",  # taken, and no answer came
    "unclear",  # not taken, and no answer came
    "gone",
    "unauthorized",
    "crashed",  # a fault of the adapter's own
]
QUICK = RetryPolicy(tries=3, wait_initial=0.001, wait_max=0.002)


@dataclass(slots=True)
class ScriptedAdapter:
    """A platform that answers each chat by its script, and with `ok` when that is over; `seen` is what people see.

    With `hold`, a call waits for that event before it does anything; `arrived` is set by every call.
    """

    capabilities: Capabilities = field(default_factory=Capabilities)
    scripts: Mapping[str, list[Fault]] = field(default_factory=dict)
    rest_seconds: float = 0.002
    hold: asyncio.Event | None = None
    arrived: asyncio.Event = field(default_factory=asyncio.Event)
    seen: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    calls: int = 0
    _keys: set[str] = field(default_factory=set)

    def plan(self, _target: Target, parts: Sequence[OutgoingPart]) -> list[Fragment]:
        return [Fragment({"text": part.text}, {"text": part.text}) for part in parts if isinstance(part, Text)]

    async def deliver(self, call: Call) -> Receipt:
        self.calls += 1
        self.arrived.set()
        if self.hold is not None:
            await self.hold.wait()
        script = self.scripts.get(call.target.session_id)
        fault = script.pop(0) if script else "ok"
        match fault:
            case "refused":
                raise Refused("no")
            case "format_refused" if call.wire_key not in self._keys:  # it is the text's own, and for good
                raise Refused("no formatting", formatting=True)
            case "wrong":
                raise BadRequest("wrong")
            case "chat_limited" | "bot_limited":
                scope: Literal["bot", "target"] = "bot" if fault == "bot_limited" else "target"
                raise RateLimited("wait", after=self.rest_seconds, scope=scope)
            case "not_sent":
                raise NotSent("no connection")
            case "unclear":
                raise Unknown("no answer")
            case "gone":
                raise TargetGone("blocked")
            case "unauthorized":
                raise Unauthorized("token revoked")
            case "crashed":
                raise ZeroDivisionError
        self._show(call)
        if fault == "lost":
            raise Unknown("no answer")
        return Receipt(call.wire_key)

    async def close(self) -> None:
        pass

    def _show(self, call: Call) -> None:
        if self.capabilities.repeat.kind == "keyed" and call.wire_key in self._keys:
            return
        self._keys.add(call.wire_key)
        self.seen[call.target.session_id].append(call.fragment.payload["text"])


@dataclass(slots=True)
class ScriptedBots:
    """The running bots."""

    bots: dict[str, BotInUse]

    @asynccontextmanager
    async def use(self, bot_id: str) -> AsyncIterator[BotInUse]:
        if bot_id not in self.bots:
            raise NotFound("no such bot", code="bot_not_running")
        yield self.bots[bot_id]


@dataclass(slots=True)
class Stage:
    """A database, and outboxes on it."""

    core: Core
    files: FileService
    outboxes: list[Outbox] = field(default_factory=list)

    @property
    def database(self) -> Database:
        return self.core.database

    def outbox(self, bots: Mapping[str, BotInUse], owner: str = "server", *, sole_owner: bool = True) -> Outbox:
        made = Outbox(self.database, ScriptedBots(dict(bots)), self.files, owner, sole_owner=sole_owner, policy=QUICK)
        self.outboxes.append(made)
        return made

    async def queue(
        self, bot_id: str, chat: str, texts: Sequence[str], *, waits: bool = False, seconds: float = 60.0
    ) -> str:
        """Queue a message of several pieces; its id, which begins with the bot and the chat."""
        target = Target("FriendMessage", chat)
        parts = [Text(text) for text in texts]
        id = f"{bot_id}/{chat}/{texts[0]}"
        now = utc_now()
        values = new_delivery(
            id,
            Umo(bot_id, "FriendMessage", chat),
            target,
            to_stored(parts),
            "api",
            id,
            now=now,
            deadline=now + timedelta(seconds=seconds),
            waits=waits,
        )
        fragments = new_fragments(id, [Fragment({"text": text}, {"text": text}) for text in texts])
        await self.database.write(partial(store.add_delivery, values=values, fragments=fragments))
        return id

    async def deliveries(self, *ids: str) -> list[Delivery]:
        found = [await self.database.read(partial(store.find_delivery, delivery_id=id)) for id in ids]
        return [each for each in found if each is not None]

    async def all_over(self, *bot_ids: str) -> None:
        """Wait until nothing of these bots is open."""
        query = select(DeliveryRow.seq).where(
            DeliveryRow.bot_id.in_(bot_ids), DeliveryRow.state.in_([state.value for state in OPEN_STATES])
        )

        async def is_so() -> bool:
            return await self.database.read(lambda connection: connection.execute(query).first() is None)

        await until(is_so, seconds=30)


@asynccontextmanager
async def staged(data_dir: Path, database_url: str | None = None) -> AsyncIterator[Stage]:
    """A stage on a database with the newest schema; what its outboxes are doing is broken off at its end."""
    core = open_core(make_settings(data_dir, database_url=database_url))
    stage = Stage(core, open_files(core.settings, core, Idempotency(core.database)).service)
    try:
        yield stage
    finally:
        for outbox in stage.outboxes:
            await outbox.close()
        await core.database.close()


def lane(bot_id: str, chat: str) -> tuple[str, str]:
    return bot_id, f"FriendMessage:{chat}"
