"""A model server that fails: the contract's answer each time, nothing secret in it, and the session goes on."""

from pathlib import Path

import pytest

from tests.conftest import StartServer
from tests.support import answers
from tests.support.answers import Answer, reply
from tests.support.client import Client, text_of, types_of
from tests.support.model_server import ModelServer

SILENT = "The model server fell silent in the middle of its reply"
FAILED_AT_ONCE = ["session_id", "user_message_saved", "error", "end"]
FAILED_MIDWAY = ["session_id", "user_message_saved", "plain", "message_saved", "error", "end"]

AT_ONCE = [
    answers.status(500),
    answers.status(503),
    answers.status(429, headers={"Retry-After": "1"}),
    answers.status(401),
    answers.status(400),
    answers.cut_after(0),
    answers.empty(),
    answers.nothing_but_done(),
    answers.html(),
    answers.garbage(),
    answers.broken_json(0),
    answers.error_event(0),
]
MIDWAY = [
    answers.cut_after(3),
    answers.clean_end_after(3),
    answers.broken_json(3),
    answers.error_event(3),
]


@pytest.mark.parametrize("fault", AT_ONCE)
async def test_a_failure_before_the_first_token_is_an_error_event_defect_3(
    client: Client, model: ModelServer, fault: Answer
) -> None:
    model.script(fault, reply(["fine"]))
    events = await client.chat("Hi", session_id="s1")
    assert types_of(events) == FAILED_AT_ONCE
    error = events[-2].data
    assert error["code"] == "upstream_error"
    assert error["message_id"] == events[0].data["message_id"]
    assert answers.SECRET not in str(events)
    assert model.base_url not in str(events)
    assert await client.run_status(events[0].data["run_id"]) == "failed"
    assert text_of(await client.chat("Again", session_id="s1")) == "fine"


@pytest.mark.parametrize("fault", MIDWAY)
async def test_a_failure_midway_keeps_the_text_and_marks_it_defects_3_and_5(
    client: Client, model: ModelServer, fault: Answer
) -> None:
    model.script(fault, reply(["fine"]))
    events = await client.chat("Hi", session_id="s1")
    assert types_of(events) == FAILED_MIDWAY
    assert text_of(events) == "t0 t1 t2 "
    assert events[-2].data["code"] == "upstream_error"
    _, reply_message = await client.history("s1")
    assert (reply_message["status"], reply_message["parts"]) == ("failed", [{"type": "plain", "text": "t0 t1 t2 "}])
    run = (await client.get(f"/api/v1/chat/runs/{events[0].data['run_id']}")).json()["data"]
    assert (run["status"], run["error_code"]) == ("failed", "upstream_error")
    assert text_of(await client.chat("Again", session_id="s1")) == "fine"


async def test_a_second_try_never_glues_texts_together_defect_4(start_server: StartServer, model: ModelServer) -> None:
    """After the first token there is no second try, even where retries are allowed."""
    provider = {"id": "scripted", "base_url": model.base_url, "api_key": "k", "max_retries": 3}
    model.script(answers.cut_after(2))
    async with start_server(providers=[provider]) as server, Client(server, await server.new_key()) as client:
        events = await client.chat("Hi")
    assert text_of(events) == "t0 t1 "
    assert len(model.requests) == 1


async def test_before_the_first_token_the_provider_is_asked_again(
    start_server: StartServer, model: ModelServer
) -> None:
    provider = {"id": "scripted", "base_url": model.base_url, "api_key": "k", "max_retries": 2}
    model.script(answers.status(500), answers.status(429, headers={"Retry-After": "0"}), reply(["at last"]))
    async with start_server(providers=[provider]) as server, Client(server, await server.new_key()) as client:
        assert text_of(await client.chat("Hi")) == "at last"
    assert len(model.requests) == 3


@pytest.mark.parametrize("fault", [answers.hang(), answers.hang_after(0)])
async def test_a_model_server_that_hangs_is_given_up(
    start_server: StartServer, model: ModelServer, fault: Answer
) -> None:
    provider = {"id": "slow", "base_url": model.base_url, "api_key": "k", "max_retries": 0, "timeout_seconds": 1.5}
    model.script(fault, reply(["fine"]))
    async with start_server(providers=[provider]) as server, Client(server, await server.new_key()) as client:
        events = await client.chat("Hi", session_id="s1")
        assert types_of(events) == FAILED_AT_ONCE
        assert events[-2].data["data"] in ("The model server did not answer in time", SILENT)
        assert text_of(await client.chat("Again", session_id="s1")) == "fine"


async def test_a_model_server_that_falls_silent_midway_is_given_up(
    start_server: StartServer, model: ModelServer
) -> None:
    provider = {"id": "slow", "base_url": model.base_url, "api_key": "k", "max_retries": 0, "timeout_seconds": 1.5}
    model.script(answers.hang_after(2))
    async with start_server(providers=[provider]) as server, Client(server, await server.new_key()) as client:
        events = await client.chat("Hi", session_id="s1")
        assert types_of(events) == FAILED_MIDWAY
        assert (await client.history("s1"))[1]["status"] == "failed"


async def test_a_model_server_that_is_not_there(start_server: StartServer) -> None:
    provider = {"id": "gone", "base_url": "http://127.0.0.1:9/v1", "api_key": "k", "max_retries": 0}
    async with start_server(providers=[provider]) as server, Client(server, await server.new_key()) as client:
        events = await client.chat("Hi", session_id="s1")
    assert types_of(events) == FAILED_AT_ONCE
    assert "127.0.0.1" not in str(events)


async def test_a_failed_reply_is_not_shown_to_the_model_as_its_own(client: Client, model: ModelServer) -> None:
    model.script(answers.status(500), reply(["fine"]))
    await client.chat("one", session_id="s1")
    await client.chat("two", session_id="s1")
    contents = [message["content"] for message in model.requests[1].body["messages"]]
    assert contents == ["You are a helpful assistant.", "one\n\ntwo"]


def profile(data_dir: Path, text: str) -> None:
    folder = data_dir / "configs"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "default.toml").write_text(text)


@pytest.mark.parametrize("fault", [answers.status(500), answers.status(401), answers.cut_after(0), answers.empty()])
async def test_a_fallback_answers_when_the_first_fails_before_its_first_token(
    start_server: StartServer, data_dir: Path, fault: Answer
) -> None:
    profile(data_dir, 'fallbacks = ["second"]')
    async with ModelServer() as first, ModelServer() as second:
        first.script(fault)
        providers = [
            {"id": "first", "base_url": first.base_url, "api_key": "key-one", "max_retries": 0},
            {"id": "second", "base_url": second.base_url, "api_key": "key-two", "default_model": "other"},
        ]
        async with start_server(providers=providers) as server, Client(server, await server.new_key()) as client:
            events = await client.chat("Hi")
            assert text_of(events) == "You said: Hi"
            run = (await client.get(f"/api/v1/chat/runs/{events[0].data['run_id']}")).json()["data"]
        assert (run["status"], run["provider"], run["model"]) == ("completed", "second", "other")
        assert second.requests[0].body["model"] == "other"


@pytest.mark.parametrize("fault", [answers.cut_after(2), answers.status(400)])
async def test_a_fallback_is_not_asked_once_the_first_has_spoken_or_refused(
    start_server: StartServer, data_dir: Path, fault: Answer
) -> None:
    profile(data_dir, 'fallbacks = ["second"]')
    async with ModelServer() as first, ModelServer() as second:
        first.script(fault)
        providers = [
            {"id": "first", "base_url": first.base_url, "api_key": "key-one", "max_retries": 0},
            {"id": "second", "base_url": second.base_url, "api_key": "key-two"},
        ]
        async with start_server(providers=providers) as server, Client(server, await server.new_key()) as client:
            assert (await client.chat("Hi"))[-2].data["code"] == "upstream_error"
        assert not second.requests


async def test_the_profile_bounds_the_tries(start_server: StartServer, data_dir: Path, model: ModelServer) -> None:
    profile(data_dir, "max_retries = 1")
    provider = {"id": "scripted", "base_url": model.base_url, "api_key": "key-one", "max_retries": 5}
    model.script(*(answers.status(503, headers={"Retry-After": "0"}) for _ in range(6)))
    async with start_server(providers=[provider]) as server, Client(server, await server.new_key()) as client:
        assert types_of(await client.chat("Hi")) == FAILED_AT_ONCE
    assert len(model.requests) == 2
