"""The steps of a reply: calls carried out, results shown to the model, everything kept in its order."""

import asyncio
import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from tests.conftest import StartServer
from tests.support import answers
from tests.support.answers import Answer, reply
from tests.support.client import Client, SseEvent, text_of, types_of
from tests.support.model_server import ModelServer
from tests.support.server import Server


def use(server: Server, *tools: str, more: str = "") -> None:
    """Let the default profile use the tools."""
    file = server.settings.data_dir / "configs" / "default.toml"
    file.write_text(f"[tools]\nuse = {json.dumps(tools)}\n{more}", encoding="utf-8")


def calls_in(events: list[SseEvent]) -> list[tuple[str, Mapping[str, Any]]]:
    """The calls and results of a reply, as (chain_type, JSON)."""
    return [
        (event.data["chain_type"], json.loads(event.data["data"]))
        for event in events
        if event.data.get("chain_type") in ("tool_call", "tool_call_result")
    ]


def tool_names(body: Mapping[str, Any]) -> list[str]:
    return [tool["function"]["name"] for tool in body.get("tools", [])]


async def test_without_tools_in_the_profile_the_model_is_offered_none(client: Client, model: ModelServer) -> None:
    await client.chat("Hi")
    assert "tools" not in model.requests[-1].body


async def test_a_call_is_carried_out_and_the_model_asked_again(
    server: Server, client: Client, model: ModelServer
) -> None:
    use(server, "now")
    model.script(
        answers.tool_calls(("c1", "now", '{"timezone": "Europe/Oslo"}'), text=["Let me look. "]),
        reply(["It is ", "late."], usage=(20, 5, 3)),
    )
    events = await client.chat("What time is it?", session_id="s1")
    (call_kind, call), (result_kind, result) = calls_in(events)
    assert (call_kind, call["id"], call["name"], call["args"]) == (
        "tool_call",
        "c1",
        "now",
        {"timezone": "Europe/Oslo"},
    )
    assert (result_kind, result["id"]) == ("tool_call_result", "c1")
    assert "Europe/Oslo" in result["result"]
    assert text_of(events) == "Let me look. It is late."
    first, second = (request.body for request in model.requests)
    assert tool_names(first) == tool_names(second) == ["now"]
    assistant, tool = second["messages"][-2:]
    assert assistant["content"] == "Let me look. "
    assert assistant["tool_calls"][0]["function"] == {"name": "now", "arguments": '{"timezone": "Europe/Oslo"}'}
    assert tool == {"role": "tool", "tool_call_id": "c1", "content": result["result"]}


async def test_history_has_text_and_calls_in_their_order_and_the_next_turn_shows_them(
    server: Server, client: Client, model: ModelServer
) -> None:
    use(server, "now")
    model.script(answers.tool_calls(("c1", "now", "{}"), text=["Looking."]), reply(["Late."]), reply(["Yes."]))
    await client.chat("Time?", session_id="s1")
    before, step, after = (await client.history("s1"))[1]["parts"]
    (call,) = step["tool_calls"]
    assert (before, after) == ({"type": "plain", "text": "Looking."}, {"type": "plain", "text": "Late."})
    assert (step["type"], call["name"], call["args"], call["status"]) == ("tool_call", "now", {}, "ok")
    assert call["result"] and call["finished_ts"] >= call["ts"]
    await client.chat("Sure?", session_id="s1")
    roles = [message["role"] for message in model.requests[-1].body["messages"]]
    assert roles[-5:] == ["user", "assistant", "tool", "assistant", "user"]


async def test_calls_of_one_step_are_carried_out_in_the_order_of_the_list(
    server: Server, client: Client, model: ModelServer
) -> None:
    use(server, "now")
    zones = ("Europe/Oslo", "Asia/Tokyo", "UTC", "America/Lima")
    model.script(
        answers.tool_calls(*((f"c{n}", "now", json.dumps({"timezone": zone})) for n, zone in enumerate(zones))),
        reply(["Done."]),
    )
    calls = calls_in(await client.chat("Times?"))
    ids = [f"c{n}" for n in range(4)]
    assert [call["id"] for kind, call in calls if kind == "tool_call"] == ids
    assert [call["id"] for kind, call in calls if kind == "tool_call_result"] == ids


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (("c", "nonsense", "{}"), "no tool named nonsense"),
        (("c", "now", "{oops"), "not JSON"),
        (("c", "now", "[]"), "must be a JSON object"),
        (("c", "now", '{"timezone": 5}'), "do not follow the schema"),
        (("c", "now", '{"timezone": "Mars/Olympus"}'), "no time zone"),
    ],
)
async def test_a_call_that_cannot_be_carried_out_has_a_result_that_says_so(
    server: Server, client: Client, model: ModelServer, call: tuple[str, str, str], words: str
) -> None:
    use(server, "now")
    model.script(answers.tool_calls(call), reply(["I see."]))
    events = await client.chat("Hi", session_id="s1")
    (_, result) = calls_in(events)[-1]
    assert words in result["result"]
    assert text_of(events) == "I see."
    assert (await client.history("s1"))[1]["parts"][0]["tool_calls"][0]["status"] == "failed"


async def test_calls_of_tools_that_there_are_not_count_as_one(
    server: Server, client: Client, model: ModelServer
) -> None:
    use(server, "now")
    model.script(answers.tool_calls(("a", "made_up", "{}"), ("b", "other", "{}")), reply(["I see."]))
    await client.chat("Hi")
    metrics = (await client.http.get("/metrics")).text
    assert 'palaver_tool_calls_total{outcome="failed",tool="(unknown)"} 2.0' in metrics
    assert "made_up" not in metrics


async def test_the_third_same_call_is_called_a_repetition(server: Server, client: Client, model: ModelServer) -> None:
    use(server, "now")
    model.script(
        answers.tool_calls(("a", "now", '{"timezone":"UTC"}')),
        answers.tool_calls(("b", "now", '{ "timezone": "UTC" }')),
        answers.tool_calls(("c", "now", '{"timezone":"UTC"}')),
        reply(["Enough."]),
    )
    results = [call for kind, call in calls_in(await client.chat("Hi")) if kind == "tool_call_result"]
    assert ["repetition" in result["result"] for result in results] == [False, False, True]


async def test_after_max_steps_the_model_is_asked_once_more_without_tools(
    server: Server, client: Client, model: ModelServer
) -> None:
    use(server, "now", more="max_steps = 2\n")
    model.script(
        answers.tool_calls(("a", "now", '{"timezone":"UTC"}')),
        answers.tool_calls(("b", "now", '{"timezone":"Asia/Tokyo"}')),
        reply(["So be it."]),
    )
    events = await client.chat("Hi")
    assert [tool_names(request.body) for request in model.requests] == [["now"], ["now"], []]
    assert text_of(events) == "So be it."


async def test_a_model_that_calls_without_end_is_ended(server: Server, client: Client, model: ModelServer) -> None:
    use(server, "now", more="max_steps = 1\n")
    model.script(*(answers.tool_calls((f"c{n}", "now", json.dumps({"timezone": "UTC"}))) for n in range(3)))
    events = await client.chat("Hi")
    assert len(model.requests) == 2
    assert types_of(events)[-1] == "end"
    assert "no steps left" in calls_in(events)[-1][1]["result"]


async def test_usage_adds_up_over_the_steps(server: Server, client: Client, model: ModelServer) -> None:
    use(server, "now")
    step = answers.tool_calls(("c1", "now", "{}"))
    model.script(answers.with_usage(step, (10, 2, 3)), reply(["Late."], usage=(30, 12, 4)))
    events = await client.chat("Hi", session_id="s1")
    (stats,) = (event.data["data"] for event in events if event.type == "agent_stats")
    assert stats["token_usage"] == {"input_other": 26, "input_cached": 14, "output": 7}
    assert (await client.history("s1"))[1]["token_usage"] == stats["token_usage"]


@pytest.mark.parametrize("narrowing", [False, [], ["search_*"]])
async def test_a_request_narrows_the_tools(
    server: Server, client: Client, model: ModelServer, narrowing: object
) -> None:
    use(server, "now", "search_knowledge")
    await client.chat("Hi", tools_use=narrowing)
    assert tool_names(model.requests[-1].body) == (["search_knowledge"] if narrowing else [])


async def test_a_request_cannot_widen_the_tools(server: Server, client: Client, model: ModelServer) -> None:
    use(server, "now")
    await client.chat("Hi", tools_use=["*"])
    assert tool_names(model.requests[-1].body) == ["now"]


@pytest.mark.parametrize("value", ["now", [1], [""], {"now": True}])
async def test_a_bad_tools_use_is_refused(client: Client, value: object) -> None:
    answer = await client.post("/api/v1/chat", {"username": "alice", "message": "Hi", "tools_use": value})
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_tools_use")


async def test_a_run_with_steps_cut_anywhere_and_resumed_is_the_same_bytes(
    server: Server, client: Client, model: ModelServer
) -> None:
    use(server, "now")
    model.script(
        answers.tool_calls(("a", "now", "{}"), text=["One. "]),
        answers.tool_calls(("b", "now", '{"timezone":"UTC"}'), text=["Two. "]),
        reply(["Three."]),
    )
    whole = await client.chat("Hi")
    run_id = whole[0].data["run_id"]
    for index, event in enumerate(whole):
        assert [each.raw for each in await client.replay(run_id, after=event.id)] == [
            each.raw for each in whole[index + 1 :]
        ]


async def test_a_fallback_is_asked_in_a_later_step_too(start_server: StartServer, model: ModelServer) -> None:
    providers = [
        {"id": name, "base_url": model.base_url, "default_model": name, "max_retries": 0} for name in ("one", "two")
    ]
    async with start_server(providers=providers) as server, Client(server, await server.new_key()) as client:
        use(server, "now")
        file = server.settings.data_dir / "configs" / "default.toml"
        file.write_text('fallbacks = ["two"]\n' + file.read_text())
        model.script(answers.tool_calls(("a", "now", "{}"), text=["One. "]), answers.status(500), reply(["Two."]))
        events = await client.chat("Hi")
    assert text_of(events) == "One. Two."
    assert [request.body["model"] for request in model.requests] == ["one", "one", "two"]


async def test_a_stopped_call_is_interrupted_and_what_others_answered_is_kept(
    start_server: StartServer, model: ModelServer
) -> None:
    asked = asyncio.Event()

    async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.set()
        await reader.read()  # until the client leaves
        writer.close()
        left.set()

    left = asyncio.Event()
    page = await asyncio.start_server(hang, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{page.sockets[0].getsockname()[1]}/"
    async with (
        page,
        start_server(fetch_allow_private=True) as server,
        Client(server, await server.new_key()) as client,
    ):
        use(server, "fetch_page", "now")
        model.script(answers.tool_calls(("c1", "fetch_page", json.dumps({"url": url})), ("c2", "now", "{}")))
        async with client.chatting("Fetch", session_id="s1") as events:
            seen = [await anext(events)]
            await asked.wait()
            await client.post("/api/v1/chat/sessions/s1/stop", {"username": "alice"})
            seen += [event async for event in events]
        await left.wait()
        kinds = [(kind, each["id"]) for kind, each in calls_in(seen)]
        called, answered = "tool_call", "tool_call_result"
        assert kinds == [(called, "c1"), (called, "c2"), (answered, "c2"), (answered, "c1")]
        (step,) = (await client.history("s1"))[1]["parts"]
        assert [(each["id"], each["status"]) for each in step["tool_calls"]] == [("c1", "interrupted"), ("c2", "ok")]


async def test_a_run_with_three_steps_is_stopped_at_every_event(
    server: Server, client: Client, model: ModelServer
) -> None:
    use(server, "now")

    def answer(body: Mapping[str, Any]) -> Answer:
        step = sum(message["role"] == "tool" for message in body["messages"])
        if step == 3:
            return reply(["All ", "done."], delay=0.02)
        zone = json.dumps({"timezone": ("UTC", "Asia/Tokyo", "Europe/Oslo")[step]})
        return replace(answers.tool_calls((f"c{step}", "now", zone), text=[f"Step {step}. "]), delay=0.02)

    model.default = answer
    whole = await client.chat("Hi", session_id="whole")
    for count in range(1, len(whole)):
        session_id = f"s{count}"
        async with client.chatting("Hi", session_id=session_id) as events:
            seen = [await anext(events) for _ in range(count)]
            run_id = seen[0].data["run_id"]
            await client.post(f"/api/v1/chat/runs/{run_id}/stop")
            seen += [event async for event in events]
        assert types_of(seen)[-1] == "end"
        assert [event.raw for event in await client.replay(run_id)] == [event.raw for event in seen]
        (stored,) = [message for message in await client.history(session_id) if message["role"] == "assistant"] or [{}]
        calls = [call for part in stored.get("parts", []) for call in part.get("tool_calls", [])]
        assert {call["status"] for call in calls} <= {"ok", "interrupted"}
        assert [kind for kind, _ in calls_in(seen)] == ["tool_call", "tool_call_result"] * len(calls)
        assert text_of(whole).startswith("".join(part.get("text", "") for part in stored.get("parts", [])))
