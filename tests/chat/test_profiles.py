"""Profiles: files that decide how a bot answers, picked up as they are edited."""

import codecs
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import StartServer
from tests.support.client import Client, text_of
from tests.support.model_server import ModelServer
from tests.support.server import Server


def write(server: Server, name: str, text: str) -> Path:
    file = server.settings.data_dir / "configs" / f"{name}.toml"
    file.write_text(text, encoding="utf-8")
    return file


async def configs(client: Client) -> list[dict[str, Any]]:
    listed: list[dict[str, Any]] = (await client.get("/api/v1/configs")).json()["data"]["configs"]
    return listed


async def test_the_default_profile_is_written_on_first_start(server: Server, client: Client) -> None:
    assert (server.settings.data_dir / "configs" / "default.toml").is_file()
    assert await configs(client) == [
        {"id": "default", "name": "default", "path": "default.toml", "is_default": True, "problem": None}
    ]


async def test_paths_are_relative_defect_25(server: Server, client: Client) -> None:
    write(server, "other", 'name = "Other"')
    assert [config["path"] for config in await configs(client)] == ["default.toml", "other.toml"]


async def test_a_profile_decides_what_the_model_is_sent(server: Server, client: Client, model: ModelServer) -> None:
    write(
        server,
        "poet",
        'name = "Poet"\nprovider = "scripted"\nmodel = "verse-1"\nsystem_prompt = "Rhyme."\n'
        "[parameters]\ntemperature = 0.3\nmax_tokens = 50\nstop = ['END']\n[history]\nmax_messages = 2\n",
    )
    for text in ("one", "two", "three"):
        await client.chat(text, session_id="s1", config_id="poet")
    body = model.requests[-1].body
    assert (body["model"], body["temperature"], body["max_tokens"], body["stop"]) == ("verse-1", 0.3, 50, ["END"])
    assert [message["content"] for message in body["messages"]] == ["Rhyme.", "two", "You said: two", "three"]


async def test_history_is_cut_by_tokens_too(server: Server, client: Client, model: ModelServer) -> None:
    write(server, "short", "[history]\nmax_tokens = 40\n")
    await client.chat("word " * 100, session_id="s1")
    await client.chat("second", session_id="s1", config_id="short")
    assert [message["content"] for message in model.requests[-1].body["messages"]] == ["second"]


async def test_a_chosen_profile_stays_with_the_session_until_default_is_chosen(
    server: Server, client: Client, model: ModelServer
) -> None:
    write(server, "poet", 'name = "Poet"\nmodel = "verse-1"')
    await client.chat("Hi", session_id="s1", config_name="Poet")
    await client.chat("Hi", session_id="s1")
    await client.chat("Hi", session_id="s1", config_id="default")
    await client.chat("Hi", session_id="s1")
    assert [r.body["model"] for r in model.requests] == ["verse-1", "verse-1", "gpt-4.1-mini", "gpt-4.1-mini"]


async def test_a_session_can_be_given_a_profile(server: Server, client: Client, model: ModelServer) -> None:
    write(server, "poet", 'model = "verse-1"')
    await client.chat("Hi", session_id="s1")
    change = {"username": "alice", "config_id": "poet"}
    answer = await client.request("PATCH", "/api/v1/chat/sessions/s1", json=change)
    assert answer.json()["data"]["config_id"] == "poet"
    await client.chat("Hi", session_id="s1")
    assert model.requests[-1].body["model"] == "verse-1"


async def test_a_name_of_two_profiles_is_ambiguous(server: Server, client: Client) -> None:
    write(server, "a", 'name = "Same"')
    write(server, "b", 'name = "Same"')
    response = await client.post("/api/v1/chat", {"username": "alice", "message": "Hi", "config_name": "Same"})
    assert response.status_code == 400
    assert response.json()["message"] == "config_name is ambiguous, please use config_id: Same"


async def test_an_edit_counts_from_the_next_message_on(server: Server, client: Client, model: ModelServer) -> None:
    await client.chat("Hi")
    write(server, "default", 'system_prompt = "New."')
    await client.chat("Hi")
    assert [r.body["messages"][0]["content"] for r in model.requests] == ["You are a helpful assistant.", "New."]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('name = "x"\nmodel = \n', "line 2"),
        ('name = "x"\nmodel = 5\n', "line 2"),
        ("name = 'x'\n\nmood = 'good'\n", "line 3"),
        ("[parameters]\ntemperature = 9\n", "line 2"),
        ("[history]\nmax_messages = -1\n", "line 2"),
    ],
)
async def test_a_broken_file_is_told_and_keeps_its_last_good_version(
    server: Server, client: Client, model: ModelServer, text: str, problem: str
) -> None:
    write(server, "poet", 'model = "verse-1"')
    write(server, "other", 'model = "other-1"')
    await client.chat("Hi", config_id="poet")
    write(server, "poet", text)
    await client.chat("Hi", config_id="poet")
    await client.chat("Hi", config_id="other")
    assert [r.body["model"] for r in model.requests] == ["verse-1", "verse-1", "other-1"]
    told = {config["id"]: config["problem"] for config in await configs(client)}
    assert told["poet"].startswith("poet.toml: ")
    assert problem in told["poet"]
    assert str(server.settings.data_dir) not in told["poet"]
    assert told["other"] is None


async def test_a_file_with_a_byte_order_mark_and_windows_line_ends_is_read(
    server: Server, client: Client, model: ModelServer
) -> None:
    write(server, "gardener", "").write_bytes(codecs.BOM_UTF8 + b'name = "Gardener"\r\nmodel = " verse-1 "\r\n')
    assert ("gardener", "Gardener", None) in [
        (each["id"], each["name"], each["problem"]) for each in await configs(client)
    ]
    await client.chat("Hi", config_id="gardener")
    assert model.requests[0].body["model"] == "verse-1"


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-be", "gbk"])
async def test_a_file_in_another_encoding_is_told(server: Server, client: Client, encoding: str) -> None:
    write(server, "poet", "")
    await configs(client)
    write(server, "poet", "").write_bytes('name = "園丁"\r\n'.encode(encoding))
    problems = {config["id"]: config["problem"] for config in await configs(client)}
    assert problems["poet"].startswith("poet.toml: the file ")
    assert problems["poet"].endswith(": save it as UTF-8")


async def test_a_file_that_was_never_good_is_no_profile(server: Server, client: Client) -> None:
    write(server, "bad", "name =")
    response = await client.post("/api/v1/chat", {"username": "alice", "message": "Hi", "config_id": "bad"})
    assert (response.status_code, response.json()["message"]) == (400, "config_id not found: bad")
    assert [config["id"] for config in await configs(client)] == ["default"]


async def test_without_its_file_the_default_profile_still_answers(server: Server, client: Client) -> None:
    file = write(server, "default", "x")
    file.unlink()
    assert text_of(await client.chat("Hi")) == "You said: Hi"


async def test_a_session_whose_profile_is_gone_goes_on_with_the_default(server: Server, client: Client) -> None:
    file = write(server, "poet", 'model = "verse-1"')
    await client.chat("Hi", session_id="s1", config_id="poet")
    file.unlink()
    assert text_of(await client.chat("Hi", session_id="s1")) == "You said: Hi"


async def test_a_profile_that_names_no_provider_there_is_says_so(server: Server, client: Client) -> None:
    write(server, "lost", 'provider = "nowhere"')
    response = await client.post("/api/v1/chat", {"username": "alice", "message": "Hi", "config_id": "lost"})
    assert (response.status_code, response.json()["message"]) == (400, "the profile's provider not found: nowhere")


async def test_only_listed_models_may_be_named(start_server: StartServer, model: ModelServer) -> None:
    provider = {"id": "p", "base_url": model.base_url, "api_key": "key-one", "models": ["a"], "default_model": "b"}
    async with start_server(providers=[provider]) as server, Client(server, await server.new_key()) as client:
        for name in ("a", "b"):
            await client.chat("Hi", selected_model=name)
        response = await client.post("/api/v1/chat", {"username": "alice", "message": "Hi", "selected_model": "c"})
    assert (response.status_code, response.json()["message"]) == (400, "selected_model not found: c")
