"""A bus that goes away in the middle: everything goes on, found in the database."""

import asyncio
import secrets
import time
from pathlib import Path

import pytest
from sqlalchemy import make_url

from tests.conftest import StartServer
from tests.support.answers import hang_after, numbered, reply
from tests.support.client import Client, text_of, types_of
from tests.support.model_server import ModelServer
from tests.support.proxy import proxied

pytestmark = pytest.mark.databases("postgresql")


async def test_nothing_depends_on_redis(
    start_server: StartServer, database_url: str, tmp_path: Path, model: ModelServer, redis_url: str
) -> None:
    model.script(reply(numbered(150), delay=0.02), hang_after(2))
    redis = make_url(redis_url)
    async with proxied(redis.host or "127.0.0.1", redis.port or 6379) as proxy:
        options = {
            "database_url": database_url,
            "secret_key": secrets.token_hex(32),
            "bus_url": f"redis://127.0.0.1:{proxy.port}",
        }
        async with (
            start_server(data_dir=tmp_path / "a", **options) as server_a,
            start_server(data_dir=tmp_path / "b", **options) as server_b,
        ):
            key = await server_a.new_key()
            async with Client(server_a, key) as a, Client(server_b, key) as b:
                async with a.chatting("Hi", session_id="s1") as events:
                    first = await anext(events)
                    following = asyncio.create_task(b.replay(first.data["run_id"]))
                    await asyncio.sleep(0.5)
                    await proxy.go_away()
                    seen = [first, *[event async for event in events]]
                assert [event.raw for event in await following] == [event.raw for event in seen]
                assert types_of(seen)[-3:] == ["complete", "message_saved", "end"]
                async with a.chatting("Hi", session_id="s1") as events:
                    run_id = (await anext(events)).data["run_id"]
                began = time.monotonic()
                assert (await b.post(f"/api/v1/chat/runs/{run_id}/stop")).json()["data"]["stopped_count"] == 1
                assert time.monotonic() - began < 3
                assert text_of(await b.chat("Again", session_id="s1")).startswith("You said")
                await proxy.open()
                async with asyncio.timeout(10):
                    while "palaver_bus_up 1.0" not in (await b.get("/metrics")).text:
                        await asyncio.sleep(0.1)
