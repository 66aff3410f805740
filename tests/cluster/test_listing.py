"""`GET /api/v1/servers`, and what a key may take at all of them together."""

import asyncio
import secrets
from pathlib import Path

import pytest

from tests.cluster.conftest import Pair
from tests.conftest import StartServer
from tests.support import answers
from tests.support.client import Client
from tests.support.model_server import ModelServer
from tests.support.server import Server
from tests.support.waiting import until


async def test_a_server_lists_itself(server: Server) -> None:
    async with Client(server, await server.new_key("admin")) as client:
        (listed,) = (await client.get("/api/v1/servers")).json()["data"]["servers"]
    assert (listed["is_this"], listed["is_live"], listed["runs"]) == (True, True, 0)
    assert listed["address"].endswith(str(server.settings.port))


async def test_only_keys_of_no_user_with_the_scope_see_them(server: Server, client: Client) -> None:
    assert (await client.get("/api/v1/servers")).status_code == 403
    async with Client(server, await server.new_key("admin", username="alice")) as bound:
        refused = await bound.get("/api/v1/servers")
        assert (refused.status_code, refused.json()["code"]) == (403, "username_not_allowed")
    async with Client(server, None) as nobody:
        assert (await nobody.get("/api/v1/servers")).status_code == 401


@pytest.mark.databases("postgresql")
@pytest.mark.parametrize("bus", ["none"], indirect=True)
async def test_both_servers_are_listed_with_their_load(pair: Pair, model: ModelServer) -> None:
    model.script(answers.hang())
    async with pair.a.chatting("Hi", session_id="s1") as events:
        await anext(events)
        async with Client(pair.server_b, await pair.server_a.new_key("admin")) as admin:

            async def shows_the_run() -> bool:
                servers = (await admin.get("/api/v1/servers")).json()["data"]["servers"]
                assert [each["is_this"] for each in servers] == [False, True]
                return [(each["runs"], each["streams"]) for each in servers] == [(1, 1), (0, 0)]

            await until(shows_the_run)
    await pair.b.post("/api/v1/chat/sessions/s1/stop", {"username": "alice"})


@pytest.mark.databases("postgresql")
async def test_the_limits_of_a_key_are_those_of_all_servers(
    start_server: StartServer, database_url: str, tmp_path: Path, model: ModelServer
) -> None:
    model.script(answers.hang(), answers.hang(), answers.hang())
    options = {"database_url": database_url, "secret_key": secrets.token_hex(32), "max_runs_per_key": 2}
    async with (
        start_server(data_dir=tmp_path / "a", **options) as server_a,
        start_server(data_dir=tmp_path / "b", **options) as server_b,
    ):
        key, other_key = await server_a.new_key(), await server_a.new_key()
        async with Client(server_a, key) as a, Client(server_b, key) as b, Client(server_b, other_key) as other:
            for session_id in ("s1", "s2"):
                async with a.chatting("Hi", session_id=session_id) as events:
                    await anext(events)
            await asyncio.sleep(2.5)  # two renewals, after which both servers know
            refused = await b.post("/api/v1/chat", {"username": "alice", "message": "Hi", "session_id": "s3"})
            assert (refused.status_code, refused.json()["code"]) == (429, "too_many_runs")
            async with other.chatting("Hi", session_id="s4") as events:
                await anext(events)
