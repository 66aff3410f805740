"""The inbox: what is stored is dealt with."""

import asyncio
from collections.abc import Callable
from typing import Any, cast

import msgspec
from sqlalchemy import Connection, select

from app.bots import store as bot_store
from app.bots.adapters.inbound import InboundEvent
from app.bots.inbox.models import EventRow
from app.bots.inbox.service import InboxService
from app.bots.models import Bot
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


async def test_what_is_not_for_the_bot_is_stored_and_wakes_nobody(server: Server) -> None:
    woken: list[Lane] = []
    counted: list[str] = []
    database, now = server.core.database, utc_now()
    bot = Bot(
        id="group-bot",
        adapter="telegram",
        name="",
        enabled=True,
        config={"allow": ["*"], "groups": "mention"},
        created_at=now,
        updated_at=now,
    )
    await database.write(lambda connection: bot_store.add_bot(connection, bot, b""))
    inbox = InboxService(database, server.core.secrets, "here", woken.append, count=counted.append)
    talk = InboundEvent(
        dedupe_key="1",
        message_type="GroupMessage",
        session_id="7",
        sender_id="42",
        happened_at=now,
        text="hi all",
        addressed=False,
    )
    question = msgspec.structs.replace(talk, dedupe_key="2", text="and you?", addressed=True)
    await inbox.accept("group-bot", [talk])
    assert (woken, counted) == ([], ["not_addressed"])
    await inbox.accept("group-bot", [talk, question])
    assert (woken, counted) == ([("group-bot", "GroupMessage:7")], ["not_addressed"])
    query = select(EventRow.state, EventRow.reason).order_by(EventRow.id)
    rows = await database.read(lambda connection: connection.execute(query).all())
    assert [tuple(row) for row in rows] == [("ignored", "not_addressed"), ("new", None)]
