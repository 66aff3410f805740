"""Limits that two servers on one database hold together, also when one of them restarts in the middle."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

import pytest

from app.auth.limits import Budget
from app.clock import utc_now
from tests.conftest import StartServer
from tests.support.answers import reply
from tests.support.client import Client
from tests.support.model_server import ModelServer

pytestmark = [pytest.mark.databases("postgresql"), pytest.mark.xdist_group("timing")]

CHAT = {"message": "Hi", "enable_streaming": False}
SECRET = "ab" * 32
HELLO = {"messages": [{"role": "user", "content": "Hi"}]}


async def statuses(clients: Sequence[Client], count: int) -> Counter[int]:
    """Send as many requests at once, by all doors, through all clients in turn; how many got which status."""

    async def send(number: int) -> int:
        client = clients[number % len(clients)]
        if number % 3 == 0:
            answer = await client.http.post("/api/v1/chat", json={**CHAT, "username": f"user{number}"})
        elif number % 3 == 1:
            answer = await client.http.post("/v1/chat/completions", json=HELLO)
        else:
            answer = await client.http.post("/api/kernel2/chat", json={**HELLO, "stream": False})
        assert answer.status_code == 200 or answer.headers["retry-after"]
        return answer.status_code

    return Counter(await asyncio.gather(*(send(number) for number in range(count))))


async def test_a_hundred_of_five_hundred_requests_pass(
    start_server: StartServer, tmp_path: Path, database_url: str
) -> None:
    async with start_server(data_dir=tmp_path / "a", database_url=database_url, secret_key=SECRET) as first:
        _, text = await first.core.keys.create(name="limited", scopes=["chat"], limits={"rpm_limit": 100})
        async with Client(first, text) as at_first:
            async with (
                start_server(data_dir=tmp_path / "b", database_url=database_url, secret_key=SECRET) as second,
                Client(second, text) as at_second,
            ):
                clients = [at_first, at_second]
                seen = await statuses(clients, 250)
                assert seen == {200: 100, 429: 150}
            # The second server restarts in the middle.
            async with (
                start_server(data_dir=tmp_path / "b", database_url=database_url, secret_key=SECRET) as second,
                Client(second, text) as at_second,
            ):
                assert await statuses([at_first, at_second], 250) == {429: 250}


async def test_a_budget_is_overshot_by_no_reply_that_had_not_begun(
    start_server: StartServer, tmp_path: Path, database_url: str, model: ModelServer
) -> None:
    used = 300
    model.script(*[reply(["Hello"], usage=(100, 0, 200))] * 200)
    async with (
        start_server(data_dir=tmp_path / "a", database_url=database_url, secret_key=SECRET) as first,
        start_server(data_dir=tmp_path / "b", database_url=database_url, secret_key=SECRET) as second,
    ):
        limits = {"budget": Budget(per="day", tokens=10_000)}
        _, text = await first.core.keys.create(name="limited", scopes=["chat"], limits=limits)
        async with Client(first, text) as at_first, Client(second, text) as at_second:
            passed = 0
            for _ in range(20):
                seen = await statuses([at_first, at_second], 40)
                passed += seen[200]
                if not seen[200]:
                    break
        assert passed * used >= 10_000  # all of it can be used
        assert (passed - 1) * used < 10_000  # and the last one began while something was left


async def test_limits_go_by_the_clock_of_the_database(
    start_server: StartServer, tmp_path: Path, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with start_server(data_dir=tmp_path, database_url=database_url, secret_key=SECRET) as server:
        for seconds in (-70, 70):
            _, text = await server.core.keys.create(name="limited", scopes=["chat"], limits={"rpm_limit": 1})
            async with Client(server, text) as client:
                with monkeypatch.context() as patch:
                    # As at a server whose clock is wrong.
                    shifted = utc_now() + timedelta(seconds=seconds)
                    patch.setattr("app.chat.accept.utc_now", lambda moment=shifted: moment)
                    assert await statuses([client], 1) == {200: 1}
                refused = await client.post("/api/v1/chat", {**CHAT, "username": "alice"})
                assert (refused.status_code, refused.json()["code"]) == (429, "rate_limited")
                assert int(refused.headers["retry-after"]) <= 60
