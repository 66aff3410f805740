"""`GET /api/v1/approvals`: what waits for a yes or no, in all runs that a key may see."""

from typing import Any

import pytest

from tests.support import answers
from tests.support.answers import reply
from tests.support.client import Client
from tests.support.model_server import ModelServer
from tests.support.server import Server
from tests.tools.test_approvals import CALL, asking, decide
from tests.tools.test_steps import use

pytestmark = pytest.mark.databases("sqlite", "postgresql")


async def listed(client: Client, **query: Any) -> Any:
    answer = await client.get("/api/v1/approvals", **query)
    assert answer.status_code == 200, answer.text
    return answer.json()["data"]


async def test_what_waits_is_listed_to_its_user_and_to_administrators(
    server: Server, client: Client, model: ModelServer
) -> None:
    use(server, "now", more='ask = ["now"]\n')
    model.script(answers.tool_calls(CALL), reply(["Late."]))
    alice = Client(server, await server.new_key("chat", username="alice"))
    bob = Client(server, await server.new_key("chat", username="bob"))
    admin = Client(server, await server.new_key("chat", "admin"))
    async with alice, bob, admin, asking(client) as (events, event, run_id):
        (waiting,) = (await listed(alice))["approvals"]
        approval_id = event.data["data"]["approval_id"]
        assert (waiting["approval_id"], waiting["run_id"], waiting["session_id"]) == (approval_id, run_id, "s1")
        assert (waiting["username"], waiting["state"], waiting["args"]) == ("alice", "waiting", {"timezone": "UTC"})
        assert (await listed(admin, state="waiting"))["approvals"] == [waiting]
        assert (await listed(client, username="alice"))["approvals"] == [waiting]
        assert (await listed(bob))["approvals"] == []
        assert (await listed(admin, username="bob"))["approvals"] == []
        await decide(client, run_id, approval_id, approve=False)
        _ = [each async for each in events]
        assert (await listed(alice, state="waiting"))["approvals"] == []
        assert [each["state"] for each in (await listed(alice))["approvals"]] == ["denied"]
        assert (await listed(alice, state="approved"))["approvals"] == []


async def test_what_waits_no_more_is_left_out_when_its_run_is_stopped(
    server: Server, client: Client, model: ModelServer
) -> None:
    use(server, "now", more='ask = ["now"]\n')
    model.script(answers.tool_calls(CALL))
    async with asking(client) as (events, _, run_id):
        assert len((await listed(client, username="alice"))["approvals"]) == 1
        await client.post(f"/api/v1/chat/runs/{run_id}/stop")
        _ = [each async for each in events]
    assert (await listed(client, username="alice"))["approvals"] == []


async def test_pages_of_approvals(server: Server, client: Client, model: ModelServer) -> None:
    use(server, "now", more='ask = ["now"]\n')
    model.script(answers.tool_calls(CALL, ("c2", "now", "{}"), ("c3", "now", '{"timezone": "CET"}')), reply(["Late."]))
    async with asking(client) as (_, _, run_id):
        first = await listed(client, username="alice", limit=2)
        second = await listed(client, username="alice", limit=2, cursor=first["next_cursor"])
        assert second["next_cursor"] is None
        ids = [each["approval_id"] for page in (first, second) for each in page["approvals"]]
        assert len(set(ids)) == 3
        await client.post(f"/api/v1/chat/runs/{run_id}/stop")


async def test_what_is_refused(server: Server, client: Client) -> None:
    alice = Client(server, await server.new_key("chat", username="alice"))
    files = Client(server, await server.new_key("file", "admin"))
    async with alice, files:
        for caller, query, refused in (
            (alice, {"username": "bob"}, (403, "username_not_allowed")),
            (client, {}, (403, "insufficient_scope")),
            (files, {}, (403, "insufficient_scope")),
            (alice, {"state": "maybe"}, (400, "invalid_state")),
            (alice, {"cursor": "nonsense"}, (400, "invalid_cursor")),
            (alice, {"limit": "few"}, (400, "invalid_limit")),
        ):
            answer = await caller.get("/api/v1/approvals", **query)
            assert (answer.status_code, answer.json()["code"]) == refused, query
