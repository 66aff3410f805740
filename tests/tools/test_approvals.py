"""Calls that wait for a person's yes or no, over restarts too."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from tests.conftest import StartServer
from tests.support import answers
from tests.support.answers import reply
from tests.support.client import Client, SseEvent, text_of, types_of
from tests.support.database import lose_confirmation
from tests.support.model_server import ModelServer
from tests.support.server import Server
from tests.tools.test_steps import calls_in, use

CALL = ("c1", "now", '{"timezone": "UTC"}')


@asynccontextmanager
async def asking(client: Client, **body: Any) -> AsyncIterator[tuple[AsyncIterator[SseEvent], SseEvent, str]]:
    """A reply up to where it waits for an approval: its further events, that event, and the run's id."""
    async with client.chatting("What time is it?", session_id="s1", **body) as events:
        first = event = await anext(events)
        while event.type != "approval_required":
            event = await anext(events)
        yield events, event, first.data["run_id"]


async def decide(client: Client, run_id: str, approval_id: str, *, approve: bool, reason: str | None = None) -> Any:
    body = {"approval_id": approval_id, "approve": approve, "reason": reason}
    return await client.post(f"/api/v1/chat/runs/{run_id}/approvals", body)


async def status_of(client: Client, run_id: str) -> str:
    return str((await client.get(f"/api/v1/chat/runs/{run_id}")).json()["data"]["status"])


async def test_an_approved_call_is_carried_out(server: Server, client: Client, model: ModelServer) -> None:
    use(server, "now", more='ask = ["n*"]\n')
    model.script(answers.tool_calls(CALL), reply(["Late."]))
    async with asking(client) as (events, event, run_id):
        assert event.data["data"]["name"] == "now"
        assert event.data["data"]["args"] == {"timezone": "UTC"}
        assert await status_of(client, run_id) == "requires_action"
        (listed,) = (await client.get(f"/api/v1/chat/runs/{run_id}/approvals")).json()["data"]["approvals"]
        assert (listed["state"], listed["name"]) == ("waiting", "now")
        answer = await decide(client, run_id, event.data["data"]["approval_id"], approve=True)
        assert (answer.status_code, answer.json()["data"]["state"]) == (200, "approved")
        rest = [each async for each in events]
    assert "UTC" in calls_in(rest)[-1][1]["result"]
    assert text_of(rest) == "Late."
    assert await status_of(client, run_id) == "completed"


async def test_a_denied_call_is_not_carried_out_and_the_model_reads_why(
    server: Server, client: Client, model: ModelServer
) -> None:
    use(server, "now", more='ask = ["now"]\n')
    model.script(answers.tool_calls(CALL), reply(["All right."]))
    async with asking(client) as (events, event, run_id):
        await decide(client, run_id, event.data["data"]["approval_id"], approve=False, reason="not today")
        rest = [each async for each in events]
    assert "not today" in calls_in(rest)[-1][1]["result"]
    assert "not today" in model.requests[-1].body["messages"][-1]["content"]
    (step, _) = (await client.history("s1"))[1]["parts"]
    assert step["tool_calls"][0]["status"] == "refused"


async def test_a_decision_is_made_once(server: Server, client: Client, model: ModelServer) -> None:
    use(server, "now", more='ask = ["now"]\n')
    model.script(answers.tool_calls(CALL), answers.tool_calls(("c2", "now", "{}")), reply(["Late."]))
    async with asking(client) as (events, event, run_id):
        first = event.data["data"]["approval_id"]
        assert (await decide(client, run_id, "nonsense", approve=True)).json()["code"] == "approval_not_found"
        await decide(client, run_id, first, approve=True)
        while (event := await anext(events)).type != "approval_required":
            pass
        assert (await decide(client, run_id, first, approve=True)).status_code == 200
        assert (await decide(client, run_id, first, approve=False)).json()["code"] == "approval_decided"
        await decide(client, run_id, event.data["data"]["approval_id"], approve=True)
        assert types_of([each async for each in events])[-1] == "end"


async def test_foreign_users_see_and_decide_nothing(server: Server, client: Client, model: ModelServer) -> None:
    use(server, "now", more='ask = ["now"]\n')
    model.script(answers.tool_calls(CALL), reply(["Late."]))
    async with (
        Client(server, await server.new_key("chat", username="bob")) as bob,
        asking(client) as (events, event, run_id),
    ):
        assert (await bob.get(f"/api/v1/chat/runs/{run_id}/approvals")).status_code == 404
        assert (await decide(bob, run_id, event.data["data"]["approval_id"], approve=True)).status_code == 404
        await decide(client, run_id, event.data["data"]["approval_id"], approve=False)
        assert types_of([each async for each in events])[-1] == "end"


async def test_a_waiting_run_can_be_stopped(server: Server, client: Client, model: ModelServer) -> None:
    use(server, "now", more='ask = ["now"]\n')
    model.script(answers.tool_calls(CALL))
    async with asking(client) as (events, event, run_id):
        await client.post(f"/api/v1/chat/runs/{run_id}/stop")
        rest = [each async for each in events]
    assert types_of(rest)[-2:] == ["error", "end"]
    answer = await decide(client, run_id, event.data["data"]["approval_id"], approve=True)
    assert (answer.status_code, answer.json()["code"]) == (409, "approval_decided")
    assert len(model.requests) == 1


@pytest.mark.parametrize("decided", ["before the restart", "after it"])
async def test_a_waiting_run_survives_a_restart(start_server: StartServer, model: ModelServer, decided: str) -> None:
    async with start_server() as server, Client(server, key := await server.new_key()) as client:
        use(server, "now", more='ask = ["now"]\n')
        model.script(answers.tool_calls(CALL, text=["Let me look. "]), reply(["Late."]))
        async with asking(client) as (_, event, run_id):
            approval_id = event.data["data"]["approval_id"]
    async with start_server() as server, Client(server, key) as client:
        assert await status_of(client, run_id) == "requires_action"
        await decide(client, run_id, approval_id, approve=True)
        await client.until_run(run_id, "completed")
        events = await client.replay(run_id)
        numbers = [each.id for each in events]
        assert numbers == list(range(1, len(numbers) + 1))
        assert text_of(events) == "Let me look. Late."
        assert [kind for kind, _ in calls_in(events)] == ["tool_call", "tool_call_result"]
    assert len(model.requests) == 2


async def test_a_mixed_step_that_waits_over_a_restart_keeps_the_calls_of_the_client(
    start_server: StartServer, model: ModelServer
) -> None:
    tools = [{"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}]
    body = {"messages": [{"role": "user", "content": "Hi"}], "session_id": "s1", "tools": tools}
    async with start_server() as server, Client(server, key := await server.new_key()) as client:
        use(server, "now", more='ask = ["now"]\n')
        model.script(answers.tool_calls(CALL, ("c2", "weather", "{}"), text=["Hm. "]))
        async with client.http.stream("POST", "/v1/chat/completions", json={**body, "stream": True}) as stream:
            run_id = stream.headers["x-palaver-run-id"]
            await client.until_run(run_id, "requires_action")
    async with start_server() as server, Client(server, key) as client:
        (approval,) = (await client.get(f"/api/v1/chat/runs/{run_id}/approvals")).json()["data"]["approvals"]
        await decide(client, run_id, approval["approval_id"], approve=True)
        await client.until_run(run_id, "completed")
        calls = [call["name"] for kind, call in calls_in(await client.replay(run_id)) if kind == "tool_call"]
    assert calls == ["now", "weather"]


async def test_a_pause_whose_storing_was_not_confirmed_is_asked_once(
    server: Server, client: Client, model: ModelServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(server, "now", more='ask = ["now"]\n')
    model.script(answers.tool_calls(CALL, ("c2", "now", "{}")), reply(["Late."]))
    lost = lose_confirmation(monkeypatch, "approvals")
    async with asking(client) as (events, event, run_id):
        assert lost == ["approvals"]
        listed = (await client.get(f"/api/v1/chat/runs/{run_id}/approvals")).json()["data"]["approvals"]
        assert [each["state"] for each in listed] == ["waiting", "waiting"]
        assert event.data["data"]["approval_id"] in [each["approval_id"] for each in listed]
        for each in listed:
            assert (await decide(client, run_id, each["approval_id"], approve=True)).status_code == 200
        assert text_of([each async for each in events]) == "Late."
    assert await status_of(client, run_id) == "completed"
