"""The queues of sessions, in memory and as rows: one suite for both. Rows are those of two servers."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from functools import partial
from uuid import uuid4

import msgspec
import pytest
from sqlalchemy import Connection

from app.chat import message_store, run_store, session_store
from app.chat.commands import OnBusy
from app.chat.parts import Text
from app.chat.runs import shared
from app.chat.runs.events import EventBatch, Failed
from app.chat.runs.queue import SessionQueue, Ticket, Turns
from app.chat.runs.reply import cut_short
from app.chat.runs.row_queue import RowQueue
from app.chat.values import MessageRole, MessageStatus, Run, RunStatus
from app.clock import utc_now
from app.cluster.bus import NoBus
from app.database.engine import Database, open_database
from app.errors import Conflict, TooManyRequests

LIMITS = (3, 5)


class Line:
    """Runs of sessions, entered and ended as the chat does it; `servers` are the queues of each server."""

    def __init__(self, database: Database, servers: Sequence[Turns]) -> None:
        self._database = database
        self._servers = servers
        self._runs: dict[str, tuple[Run, int]] = {}

    async def enter(self, key: str | None, on_busy: OnBusy = OnBusy.QUEUE, *, server: int = 0) -> Ticket:
        run_id = str(uuid4())
        ticket = Ticket(key or run_id, run_id)
        turns = self._servers[server % len(self._servers)]
        act = partial(self._accept, ticket=ticket, turns=turns, on_busy=on_busy, server=server)
        try:
            self._runs[run_id] = await self._database.write(act), server % len(self._servers)
        except BaseException:
            turns.leave(ticket)
            raise
        turns.entered(ticket)
        return ticket

    def _accept(self, connection: Connection, ticket: Ticket, turns: Turns, on_busy: OnBusy, server: int) -> Run:
        now, of_session = utc_now(), ticket.key != ticket.run_id
        parts = [Text("Hi")]
        if of_session and session_store.continue_session(connection, ticket.key, "alice", now) is None:
            session_store.add_session(connection, ticket.key, "alice", parts, None, now)
            session_store.continue_session(connection, ticket.key, "alice", now)
        place = turns.enter(connection, ticket, on_busy)
        run = Run(
            id=ticket.run_id,
            session_id=ticket.key if of_session else None,
            username="alice",
            key_id="k1",
            status=RunStatus.QUEUED,
            streaming=True,
            message_id="m1",
            config_id="default",
            provider_id="p",
            model="m",
            created_at=now,
            owner=f"server-{server % len(self._servers)}",
            place=place,
        )
        if of_session:
            args = (connection, ticket.key, run.id, MessageRole.USER, MessageStatus.COMPLETE, parts, now)
            number = message_store.add_message(*args)
            reply = message_store.add_message(
                connection, ticket.key, run.id, MessageRole.ASSISTANT, MessageStatus.PENDING, (), now
            )
            run = msgspec.structs.replace(run, user_message_id=number, reply_message_id=reply)
        run_store.add_run(connection, run, [])
        return run

    async def end(self, ticket: Ticket) -> None:
        run, server = self._runs.pop(ticket.run_id)
        result = cut_short(run, (), RunStatus.STOPPED, Failed("stopped", "It was stopped"))
        turns = self._servers[server]
        await self._database.write(lambda c: turns.end_run(c, run, result, EventBatch(1, result.events)))
        turns.leave(ticket)

    async def look(self) -> None:
        """Look for turns as each server does once a second."""
        for number, turns in enumerate(self._servers):
            act = partial(shared.list_standings, owner=f"server-{number}")
            for standing in await self._database.read(act):
                if standing.place is None:
                    turns.give_turn(standing.id)

    async def has_turn(self, *tickets: Ticket) -> list[bool]:
        await self.look()
        return [ticket.turn.is_set() for ticket in tickets]

    def number(self, ticket: Ticket) -> int:
        return self._runs[ticket.run_id][0].user_message_id or 0


@pytest.fixture
async def line(backend: str, database_url: str) -> AsyncIterator[Line]:
    database = open_database(database_url)
    servers: Sequence[Turns] = [SessionQueue(*LIMITS)]
    if backend == "postgresql":
        servers = [RowQueue(NoBus(is_shared=True), f"server-{number}", *LIMITS) for number in range(2)]
    yield Line(database, servers)
    await database.close()


async def test_each_has_its_turn_after_the_one_before(line: Line) -> None:
    tickets = [await line.enter("s1", server=number) for number in range(4)]
    for index, ticket in enumerate(tickets):
        assert await line.has_turn(*tickets[index:]) == [True] + [False] * (3 - index)
        await line.end(ticket)
    assert await line.has_turn(await line.enter("s1", server=1)) == [True]


async def test_sessions_do_not_wait_for_each_other_and_runs_without_one_for_none(line: Line) -> None:
    assert (
        await line.has_turn(*[await line.enter(key, server=n) for n, key in enumerate(("a", "b", None, None))])
        == [True] * 4
    )


async def test_one_that_leaves_while_it_waits_gives_no_turn(line: Line) -> None:
    first, second, third = [await line.enter("s1", server=number) for number in range(3)]
    await line.end(second)
    assert await line.has_turn(first, third) == [True, False]
    await line.end(first)
    assert await line.has_turn(third) == [True]


async def test_a_full_queue_takes_no_more(line: Line) -> None:
    tickets = [await line.enter("s1", server=number) for number in range(4)]
    with pytest.raises(TooManyRequests) as refused:
        await line.enter("s1", server=1)
    assert refused.value.code == "session_busy"
    await line.end(tickets[0])
    await line.enter("s1")


async def test_a_server_takes_no_more_than_its_total(line: Line) -> None:
    for key in ("a", "b", "c"):
        for _ in range(3 if key != "c" else 2):
            await line.enter(key)
    with pytest.raises(TooManyRequests) as refused:
        await line.enter("c")
    assert refused.value.code == "server_busy"


async def test_one_that_does_not_wait_is_refused_wherever_the_other_is(line: Line) -> None:
    first = await line.enter("s1")
    with pytest.raises(Conflict):
        await line.enter("s1", OnBusy.REJECT, server=1)
    await line.end(first)
    assert await line.has_turn(await line.enter("s1", OnBusy.REJECT, server=1)) == [True]


async def test_interruptions_go_next_the_latest_first(line: Line) -> None:
    first, waiting = await line.enter("s1"), await line.enter("s1", server=1)
    urgent, more_urgent = [await line.enter("s1", OnBusy.INTERRUPT, server=number) for number in range(2)]
    assert await line.has_turn(first, waiting, urgent, more_urgent) == [True, False, False, False]
    await line.end(first)
    assert await line.has_turn(waiting, urgent, more_urgent) == [False, False, True]
    await line.end(more_urgent)
    assert await line.has_turn(waiting, urgent) == [False, True]
    await line.end(urgent)
    assert await line.has_turn(waiting) == [True]


async def test_many_at_once_have_their_turns_in_the_order_of_their_messages(line: Line) -> None:
    entered = await asyncio.gather(
        *(line.enter(f"s{number % 10}", server=number) for number in range(40)), return_exceptions=True
    )
    tickets = [ticket for ticket in entered if isinstance(ticket, Ticket)]
    refused = [error for error in entered if not isinstance(error, Ticket)]
    assert all(isinstance(error, TooManyRequests) for error in refused)
    assert len(tickets) >= 15
    for key in {ticket.key for ticket in tickets}:
        queue = sorted((ticket for ticket in tickets if ticket.key == key), key=line.number)
        while queue:
            assert await line.has_turn(*queue) == [True] + [False] * (len(queue) - 1)
            await line.end(queue.pop(0))
