"""The inbox: what is stored is dealt with."""

import asyncio
from collections.abc import Callable
from typing import Any, cast

from sqlalchemy import Connection

from app.bots.adapters.inbound import InboundEvent
from app.bots.inbox.service import InboxService
from app.bots.outbox.store import Lane
from app.clock import utc_now
from app.database.engine import Database
from tests.support.server import Server


class SlowDatabase:
    """A database whose answer to a write comes when the gate is opened."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.written, self.gate = asyncio.Event(), asyncio.Event()

    async def write(self, act: Callable[[Connection], Any]) -> Any:
        result = await self._database.write(act)
        self.written.set()
        await self.gate.wait()
        return result


async def test_an_event_is_dealt_with_though_its_connection_ended_meanwhile(server: Server) -> None:
    woken: asyncio.Queue[Lane] = asyncio.Queue()
    database = SlowDatabase(server.core.database)
    inbox = InboxService(cast(Database, database), server.core.secrets, "here", woken.put_nowait)
    event = InboundEvent(
        dedupe_key="1", message_type="FriendMessage", session_id="42", sender_id="42", happened_at=utc_now(), text="hi"
    )
    accepting = asyncio.create_task(inbox.accept("bot1", [event]))
    await database.written.wait()
    accepting.cancel()
    await asyncio.gather(accepting, return_exceptions=True)
    database.gate.set()
    async with asyncio.timeout(5):
        assert await woken.get() == ("bot1", "FriendMessage:42")
