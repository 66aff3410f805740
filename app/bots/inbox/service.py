"""Taking events in: stored, and only then acknowledged."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from sqlalchemy import Connection

from app.bots import store as bot_store
from app.bots.adapters.base import BotIdentity
from app.bots.adapters.inbound import InboundEvent
from app.bots.inbox import store
from app.bots.inbox.admission import Rules, reason_to_ignore
from app.bots.outbox.store import Lane
from app.clock import utc_now
from app.crypto import SecretBox
from app.database.engine import Database


class InboxService:
    """Stores events, and wakes whoever deals with them; `owner` names this server."""

    def __init__(
        self,
        database: Database,
        secrets: SecretBox,
        owner: str,
        wake: Callable[[Lane], None],
        *,
        count: Callable[[str], None] = lambda _outcome: None,
    ) -> None:
        self._count = count
        self._database = database
        self._secrets = secrets
        self._owner = owner
        self._wake = wake
        self._accepting: set[asyncio.Task[None]] = set()
        self.going_down = asyncio.Event()
        """Set when the server stops, which would wait for open WebSockets for ever."""

    async def accept(
        self, bot_id: str, events: Sequence[InboundEvent], checkpoint: Mapping[str, Any] | None = None
    ) -> None:
        """Store events and the checkpoint in one transaction. Raises DatabaseUnavailable.

        Most talk of groups is not for the bot: that is ended here, and costs nothing more.
        """
        if not events and checkpoint is None:
            return

        def accept(connection: Connection) -> list[tuple[InboundEvent, str | None]]:
            now = utc_now()
            bot = bot_store.find_bot(connection, bot_id) if events else None
            rules = None if bot is None else Rules.of(bot[0].config)
            reasons = [None if rules is None else reason_to_ignore(event, rules, now) for event in events]
            pairs = list(zip(events, reasons, strict=True))
            added = store.add_events(connection, bot_id, pairs, self._owner, now, self._secrets)
            if checkpoint is not None:
                store.save_checkpoint(connection, bot_id, checkpoint)
            return added

        async def accept_and_wake() -> None:
            added = await self._database.write(accept)
            for _, reason in added:
                if reason is not None:
                    self._count(reason)
            for lane in {(bot_id, event.target) for event, reason in added if reason is None}:
                self._wake(lane)

        # Whoever reports may be cancelled, as when the bot is changed: what is stored by then is dealt with.
        task = asyncio.create_task(accept_and_wake())
        self._accepting.add(task)
        task.add_done_callback(self._accepting.discard)
        await asyncio.shield(task)

    async def hold(self, bot_id: str) -> None:
        """Note that a connection which the platform has opened to this server is the bot's."""
        await self._database.write(lambda connection: store.lease_listener(connection, bot_id, self._owner, utc_now()))

    async def let_go(self, bot_id: str) -> None:
        """Note that it has ended."""

        def let_go(connection: Connection) -> None:
            store.save_connection(connection, bot_id, self._owner, utc_now(), state="connecting")
            store.release_listener(connection, bot_id, self._owner)

        await self._database.write(let_go)

    def of_bot(self, bot_id: str, alive: Callable[[], None] = lambda: None) -> "BotInbox":
        """The inbox of one bot; `alive` is called when its connection shows that it works."""
        return BotInbox(self, self._database, bot_id, self._owner, alive)


class BotInbox:
    """The inbox as an adapter sees it."""

    def __init__(
        self, service: InboxService, database: Database, bot_id: str, owner: str, alive: Callable[[], None]
    ) -> None:
        self._service = service
        self._database = database
        self._bot_id = bot_id
        self._owner = owner
        self._alive = alive

    async def accept(self, events: Sequence[InboundEvent], checkpoint: Mapping[str, Any] | None = None) -> None:
        await self._service.accept(self._bot_id, events, checkpoint)
        self._alive()

    async def checkpoint(self) -> Mapping[str, Any]:
        return await self._database.read(partial(store.find_checkpoint, bot_id=self._bot_id))

    async def connected(self, identity: BotIdentity | None = None) -> None:
        known = {} if identity is None else {"identity": {"id": identity.id, "name": identity.name}}
        values = {"state": "connected", "last_error": None, **known}
        await self._database.write(
            lambda connection: store.save_connection(connection, self._bot_id, self._owner, utc_now(), **values)
        )
        self._alive()

    def alive(self) -> None:
        self._alive()
