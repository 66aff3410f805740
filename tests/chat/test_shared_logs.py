"""Readers of a reply that is over share its log."""

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack

import psutil
import pytest

from app.chat.runs.events import Completed, Event, TextDelta
from app.chat.runs.log import MAX_PIECE_CHARS, RunLog
from tests.support.answers import reply
from tests.support.client import Client
from tests.support.model_server import ModelServer
from tests.support.server import Server

MIB = 1024**2


def encode(_numbers: Sequence[int], events: Sequence[Event]) -> bytes:
    return b"".join(event.text.encode() for event in events if isinstance(event, TextDelta | Completed))


async def test_a_piece_of_a_long_log_is_bounded_and_shared() -> None:
    events: list[Event] = [TextDelta(f"{number:05}" * 4000) for number in range(300)]
    log = RunLog.of([*enumerate([*events, Completed("x" * (2 * MIB), "")], 1)])
    readers = [log.follow("sse", encode) for _ in range(20)]
    pieces = [await anext(reader) for reader in readers]
    assert MAX_PIECE_CHARS <= len(pieces[0]) < MAX_PIECE_CHARS + 20_000
    assert all(piece is pieces[0] for piece in pieces)
    rest = [piece async for piece in readers[0]]
    assert b"".join([pieces[0], *rest]) == encode((), log.events)
    # Others, in between, do not make it again either.
    assert await anext(readers[1]) == rest[0]


@pytest.mark.xdist_group("timing")
async def test_a_reader_that_does_not_read_costs_less_than_two_megabytes(
    server: Server, client: Client, model: ModelServer
) -> None:
    model.script(reply(["0123456789abcdef" * 4096] * 100))  # 6.5 MB
    events = await client.chat("Hi")
    run_id = events[0].data["run_id"]
    request = f"GET /api/v1/chat/runs/{run_id}/stream HTTP/1.1\r\nHost: x\r\nX-API-Key: {client.key}\r\n\r\n".encode()
    memory = psutil.Process()
    readers: list[object] = []

    async with AsyncExitStack() as stack:

        async def open_reader() -> None:
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port, limit=1024)
            stack.callback(writer.transport.abort)
            writer.write(request)
            await reader.readuntil(b"\r\n\r\n")
            readers.append((reader, writer))

        for _ in range(5):
            await open_reader()
        before = memory.memory_info().rss
        for _ in range(20):
            await open_reader()
        assert (memory.memory_info().rss - before) / 20 < 2 * MIB
