"""Callers take turns: what one of them has waiting holds up nobody else for longer than one document."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from app.errors import TooManyRequests
from app.files.extraction.reader import CallerBounds, DocumentReader
from app.workers.turns import Caller, FairSlots
from tests.conftest import StartServer
from tests.files import hostile
from tests.support.client import Client

SLOW = hostile.workbook(hostile.rows(1_000))


@asynccontextmanager
async def a_reader(bounds: CallerBounds | None = None) -> AsyncIterator[DocumentReader]:
    reader = DocumentReader(workers=1, bounds=bounds)
    try:
        yield reader
    finally:
        await reader.close()


async def test_a_short_text_waits_for_one_document_of_another_at_most() -> None:
    hostile_caller = Caller("key", "mallory")
    async with a_reader() as reader:
        for caller in (Caller("other key"), Caller("key", "alice")):
            flood = [asyncio.create_task(reader.read(SLOW, "slow.xlsx", caller=hostile_caller)) for _ in range(12)]
            await flood[0]
            done_before = sum(task.done() for task in flood)
            await reader.read(b"sixteen letters.", "short.txt", caller=caller)
            assert sum(task.done() for task in flood) <= done_before + 1
            await asyncio.gather(*flood)


async def test_those_who_wait_are_served_in_turns() -> None:
    slots = FairSlots(1)
    served: list[str] = []

    async def job(caller: Caller, name: str) -> None:
        async with slots.slot(caller):
            served.append(name)
            await asyncio.sleep(0)

    queue = [("a", "x", "a1"), ("a", "x", "a2"), ("a", "x", "a3"), ("a", "y", "a4"), ("b", "", "b1"), ("c", "", "c1")]
    await asyncio.gather(*(job(Caller(key, user), name) for key, user, name in queue))
    assert served == ["a1", "b1", "c1", "a4", "a2", "a3"]


async def test_a_place_that_is_given_up_goes_to_the_next() -> None:
    slots = FairSlots(1)
    entered = asyncio.Event()

    async def job(caller: Caller) -> None:
        async with slots.slot(caller):
            entered.set()

    async with slots.slot(Caller("a")):
        jobs = [asyncio.create_task(job(Caller(name))) for name in "bcd"]
        await asyncio.sleep(0)
        jobs[0].cancel()  # while it waits
        await asyncio.sleep(0)
        assert slots.waiting == 2
    jobs[1].cancel()  # when its turn has come, before it knows
    await jobs[2]
    assert entered.is_set()
    async with slots.slot(Caller("e")):
        assert slots.waiting == 0


@pytest.mark.parametrize("bounds", [CallerBounds(per_key=2, per_user=9), CallerBounds(per_key=9, per_user=2)])
async def test_a_caller_with_too_many_documents_is_told_so_and_others_are_not(bounds: CallerBounds) -> None:
    caller = Caller("key", "mallory")
    async with a_reader(bounds) as reader:
        flood = [asyncio.create_task(reader.read(b"text", "a.txt", caller=caller)) for _ in range(2)]
        await asyncio.sleep(0)
        with pytest.raises(TooManyRequests) as caught:
            await reader.read(b"text", "a.txt", caller=caller)
        assert caught.value.code == "too_many_documents"
        assert (await reader.read(b"text", "a.txt", caller=Caller("other key"))).text == "text"
        await asyncio.gather(*flood)
        assert (await reader.read(b"text", "a.txt", caller=caller)).text == "text"


async def test_users_of_one_key_take_turns_in_chats(start_server: StartServer) -> None:
    async with (
        start_server(document_workers=1, max_documents_per_user=20) as server,
        Client(server, await server.new_key("chat", "file")) as client,
    ):

        async def upload(name: str, content: bytes) -> str:
            uploaded = await client.request("POST", "/api/v1/file", files={"file": (name, content)})
            return str(uploaded.json()["data"]["attachment_id"])

        async def chat(username: str, attachment_id: str) -> int:
            part = {"type": "file", "attachment_id": attachment_id}
            body = {"username": username, "message": [part], "enable_streaming": False}
            return (await client.request("POST", "/api/v1/chat", json=body, timeout=120)).status_code

        slow = [await upload("slow.xlsx", SLOW) for _ in range(6)]
        short = await upload("short.txt", b"sixteen letters.")
        flood = [asyncio.create_task(chat("mallory", attachment_id)) for attachment_id in slow]
        await asyncio.wait(flood, return_when=asyncio.FIRST_COMPLETED)
        assert await chat("alice", short) == 200
        # Others than the one that was being read had their answers on the way.
        assert sum(task.done() for task in flood) <= len(flood) / 2
        assert set(await asyncio.gather(*flood)) == {200}
