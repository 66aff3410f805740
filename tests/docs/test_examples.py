"""The examples in the pages work, on a server that was started as the README says."""

import asyncio
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from inspect import signature
from pathlib import Path
from typing import Annotated, Any

import msgspec
import pytest
from quart import Quart

import app.profiles.routes as profile_routes
import tests.chat.test_profiles as profile_tests
from app.bootstrap import EVENT_SCHEMAS
from app.bots.adapters.base import Adapter, Call, Receipt, Target
from app.chat.parts import Text
from app.doors.open_api.schemas import CHAT_EVENT
from app.edge.openapi import build_document
from app.edge.operation import Param, refusal
from app.edge.schemas import example
from app.errors import BadRequest, NotFound
from app.profiles.models import ProfileFile
from app.settings import Settings
from tests.docs.pages import ROOT, blocks, page, section
from tests.support.client import Client
from tests.support.model_server import ModelServer
from tests.support.server import Server
from tests.support.spec import SpecValidator

PALAVER = [sys.executable, "-c", "from app.cli import main; main()"]
README = page("README.md")
TOUR = page("docs/tour.md")
MODELS = page("docs/models.md")
KEYS = page("docs/keys.md")
CONTRIBUTING = page("CONTRIBUTING.md")
BOTS = page("docs/bots.md")


@dataclass(frozen=True, slots=True)
class Stranger:
    """A newcomer's server in a folder of its own; `printed` is the output of the start."""

    folder: Path
    printed: str

    @property
    def url(self) -> str:
        (url,) = re.findall(r"listens on (\S+),", self.printed)
        return str(url)

    @property
    def key(self) -> str:
        (key,) = re.findall(r"^plv_\w+$", self.printed, re.MULTILINE)
        return str(key)

    def run(self, *command: str, **environment: str) -> str:
        """Run a command that must succeed, and return its output."""
        variables = _environment(PALAVER_URL=self.url, PALAVER_KEY=self.key, **environment)
        process = subprocess.run(
            command, cwd=self.folder, env=variables, capture_output=True, text=True, timeout=60, check=False
        )
        assert process.returncode == 0, process.stderr
        return process.stdout

    def shell(self, script: str, **environment: str) -> str:
        # The values that the reader fills in are in the environment already.
        script = re.sub(r"^export PALAVER_\w+=.*$", "", script, flags=re.MULTILINE)
        return self.run("bash", "-euc", script, **environment)


def _environment(**more: str) -> dict[str, str]:
    inherited = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    return {**inherited, "PYTHONPATH": str(ROOT), "PYTHONUTF8": "1", "NO_PROXY": "*", **more}


@contextmanager
def started(folder: Path, **environment: str) -> Iterator[Stranger]:
    """Start a server on a new data folder, and read its output up to the curl line, which is the last."""
    process = subprocess.Popen(
        [*PALAVER, "serve", "--port", "0"],
        cwd=folder,
        env=_environment(**environment),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    with process:
        assert process.stdout is not None
        printed: list[str] = []
        for line in process.stdout:
            printed.append(line)
            if line.startswith("curl "):
                break
        try:
            yield Stranger(folder, "".join(printed))
        finally:
            process.terminate()
            process.communicate(timeout=30)


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stranger]:
    with started(tmp_path_factory.mktemp("stranger"), PALAVER_WEBHOOK_ALLOW_PRIVATE="true") as server:
        yield server


def test_the_start_prints_what_the_readme_shows(stranger: Stranger) -> None:
    output = stranger.printed.replace(stranger.key, "plv_...").replace(stranger.url, "http://127.0.0.1:6185")
    output = re.sub(r"plv_token_\w+", "plv_token_...", output.replace(str(stranger.folder), "/home/you/palaver"))
    (example,) = blocks(section(README, "Start"), "text")
    assert output == example


def test_the_printed_curl_line_answers(stranger: Stranger) -> None:
    events = _events(stranger.run("bash", "-c", stranger.printed.splitlines()[-1]))
    assert events[0]["type"] == "session_id"
    assert [event["type"] for event in events[-4:]] == ["agent_stats", "complete", "message_saved", "end"]
    assert "OPENAI_API_KEY" in events[-3]["data"]


def test_the_five_minutes_in_curl_run(stranger: Stranger) -> None:
    minutes = section(README, "Five minutes").partition("### A key")[0]
    output = stranger.shell("\n".join(blocks(minutes, "sh")))
    assert '"status":"error"' not in output
    assert len([event for event in _events(output) if event["type"] == "end"]) == 2
    for expected in ('"filename":"plants.txt","type":"file"', '"display_name":"What grows in the shade?"'):
        assert expected in output, expected


def test_the_python_program_of_the_five_minutes_prints_the_reply(stranger: Stranger) -> None:
    (program,) = blocks(section(README, "Chat with Python"), "python")
    output = stranger.run(sys.executable, "-c", program)
    assert output == _reply_of(stranger, "python") + "\n"


def test_the_openai_program_of_the_five_minutes_prints_the_reply(stranger: Stranger) -> None:
    (program,) = blocks(section(README, "OpenAI's client"), "python")
    output = stranger.run(sys.executable, "-c", program)
    assert output.startswith("You said: “Hello from OpenAI's client”")


def test_the_tour_in_curl_runs(stranger: Stranger) -> None:
    output = stranger.shell("\n".join(blocks(section(TOUR, "curl"), "sh")))
    assert '"status":"error"' not in output
    ends = [event for event in _events(output) if event["type"] == "end"]
    assert len(ends) == 3  # the first question's, the replay's, the one about the file
    assert len(set(re.findall('"type":"complete","data":"You said: “Only once.*', output))) == 1
    for expected in (
        '"filename":"plants.txt","type":"file"',
        '"display_name":"What grows in the shade?"',
        "[file: plants.txt]",
        "Hostas, ferns and foxgloves.\n",
        '"path":"default.toml"',
        '{"bot_ids":["webchat"]}',
        '"umo":"webchat:FriendMessage:garden"',
        '"stopped_count":0',
    ):
        assert expected in output, expected


@pytest.mark.parametrize(("text", "heading"), [(README, "Chat with curl"), (TOUR, "curl")], ids=["README", "tour"])
def test_the_example_events_have_the_members_of_real_ones(text: str, heading: str) -> None:
    shapes = {shape["properties"]["type"]["const"]: shape for shape in CHAT_EVENT["oneOf"]}
    (example,) = blocks(section(text, heading), "text")
    for event in _events(example):
        assert set(event) == set(shapes[event["type"]]["properties"])


def test_the_python_program_leaves_resumes_and_has_the_whole_reply(stranger: Stranger) -> None:
    (program,) = blocks(section(TOUR, "Python"), "python")
    output = stranger.run(sys.executable, "-c", program)
    assert _reply_of(stranger, "python") in output
    assert output.endswith("user complete\n" + output.splitlines()[-1] + "\n")
    assert output.splitlines()[-1].endswith("assistant complete")


def test_the_javascript_program_has_the_whole_reply(stranger: Stranger) -> None:
    node = shutil.which("node")
    if node is None:
        pytest.skip("node is not installed")
    version = stranger.run(node, "--version")
    if int(version.removeprefix("v").partition(".")[0]) < 20:
        pytest.skip(f"node is {version}")
    (program,) = blocks(section(TOUR, "JavaScript"), "js")
    (stranger.folder / "chat.mjs").write_text(program)
    output = stranger.run(node, "chat.mjs")
    assert _reply_of(stranger, "js") in output
    assert re.search(r"\nsaved as message \d+\n$", output)


def test_the_commands_for_keys_run(stranger: Stranger) -> None:
    (script,) = blocks(section(KEYS, "Managing keys"), "sh")
    create, create_bound, listing, rotate, revoke, delete = (
        line.removeprefix(".venv/bin/palaver ").split() for line in script.splitlines()
    )
    another = blocks(section(README, "Start"), "sh")[-1].removeprefix(".venv/bin/palaver ").split()
    (for_alice,) = blocks(section(README, "A key"), "sh")
    assert for_alice.removeprefix(".venv/bin/palaver ").split() == create_bound
    key = stranger.run(*PALAVER, *create).splitlines()[-1]
    for words in (create_bound, another):
        assert stranger.run(*PALAVER, *words).startswith("plv_")
    (row,) = [line for line in stranger.run(*PALAVER, *listing).splitlines() if " shop " in line]
    key_id = row.split()[0]

    def run_on_key(words: list[str]) -> str:
        return stranger.run(*PALAVER, *(key_id if word == "KEY_ID" else word for word in words))

    rotated = run_on_key(rotate).splitlines()[-1]
    for text in (key, rotated):
        assert '"status":"ok"' in stranger.run("curl", "-s", *_get(stranger, "/api/v1/chat/sessions?username=a", text))
    run_on_key(revoke)
    answer = stranger.run("curl", "-s", *_get(stranger, "/api/v1/chat/sessions?username=a", rotated))
    assert json.loads(answer)["code"] == "invalid_api_key"
    run_on_key(delete)


async def test_the_variables_configure_a_model_server(model: ModelServer, tmp_path: Path) -> None:
    lines = blocks(section(README, "A real model"), "sh")[0].splitlines()
    assert lines == blocks(section(MODELS, "A real model"), "sh")[0].splitlines()
    (ollama,) = [line for line in lines if line.endswith("# Ollama")]
    variables = dict(word.split("=", 1) for word in ollama.partition(" make run")[0].split())
    variables["OPENAI_BASE_URL"] = model.base_url

    def ask() -> str:
        with started(tmp_path, **variables) as server:
            assert "Model server: openai_chat_completion\n" in server.printed
            return server.run("bash", "-c", server.printed.splitlines()[-1])

    assert _events(await asyncio.to_thread(ask))[-1]["type"] == "end"
    assert model.requests[0].body["model"] == variables["PALAVER_OPENAI_MODEL"]


def test_the_example_files_are_valid() -> None:
    (settings,) = blocks(section(MODELS, "A real model"), "toml")
    assert [provider.id for provider in Settings(**tomllib.loads(settings)).providers] == ["local", "openai"]
    (profile,) = blocks(section(MODELS, "Profiles"), "toml")
    assert msgspec.convert(tomllib.loads(profile), ProfileFile).history.max_messages == 20


def test_the_webhook_receiver_accepts_the_messages_of_the_bot(stranger: Stranger) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"127.0.0.1:{free.getsockname()[1]}"
    create, send = blocks(section(BOTS, "webhook"), "sh")
    admin = stranger.run(*PALAVER, "keys", "create", "--name", "admin", "--scope", "admin").splitlines()[-1]
    answer = stranger.shell(create.replace("127.0.0.1:9000", address), PALAVER_ADMIN_KEY=admin)
    secret = json.loads(answer)["data"]["generated_secrets"]["secret"]

    (program,) = blocks(section(BOTS, "webhook"), "python")
    program = program.replace('("127.0.0.1", 9000)', str(("127.0.0.1", int(address.partition(":")[2]))))
    with _receiver(program, secret) as receiver:
        sending = json.loads(stranger.shell(send))
        assert receiver.stdout is not None
        assert "hostas" in receiver.stdout.readline()
    assert (sending["data"]["message_id"], sending["data"]["umo"]) == ("m-1", "support:GroupMessage:room:7")


async def test_the_example_adapter_works(tmp_path: Path) -> None:
    names: dict[str, Any] = {"__name__": "line_file"}
    (program,) = blocks(section(BOTS, "Writing an adapter"), "python")
    exec(compile(program, "docs/bots.md", "exec"), names)
    factory = names["line_file_factory"]
    config = msgspec.convert({"path": str(tmp_path / "lines")}, factory.config_type)
    adapter = factory.build("diary", config)
    assert adapter.capabilities.parts == {"plain"}
    for name in ("plan", "deliver", "close"):
        own, theirs = getattr(adapter, name), getattr(Adapter, name)
        assert list(signature(own).parameters) == list(signature(theirs).parameters)[1:]
    target = Target("FriendMessage", "alice")
    (fragment,) = adapter.plan(target, [Text("Hello")])
    assert await adapter.deliver(Call(target, fragment, "m-1")) == Receipt(None)
    assert (tmp_path / "lines").read_text() == "alice: Hello\n"
    await adapter.close()
    with pytest.raises(BadRequest):
        factory.build("diary", msgspec.convert({"path": "lines"}, factory.config_type))


async def test_the_example_route_passes_its_example_tests(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    if hasattr(profile_routes, "get_config"):
        pytest.skip("this checkout has the example route already")

    def spec_with_the_route(app: Quart) -> SpecValidator:
        return SpecValidator(build_document(app, EVENT_SCHEMAS))

    monkeypatch.setattr("tests.support.client.spec_of", spec_with_the_route)
    example_tests, view = blocks(section(CONTRIBUTING, "Add a route"), "python")
    imports = {"Annotated": Annotated, "Param": Param, "refusal": refusal, "example": example, "NotFound": NotFound}
    module = {**vars(profile_routes), "blueprint": server.app, **imports}
    exec(compile(view, "CONTRIBUTING.md", "exec"), module)
    module = dict(vars(profile_tests))
    exec(compile(example_tests, "CONTRIBUTING.md", "exec"), module)
    async with Client(server, await server.new_key()) as client:
        await module["test_one_profile_can_be_read"](server, client)
        await module["test_an_unknown_profile_is_not_found"](client)


@contextmanager
def _receiver(program: str, secret: str) -> Iterator["subprocess.Popen[str]"]:
    program = program.replace("HTTPServer((", "hook = HTTPServer((").replace(
        ".serve_forever()", "\nprint('listening', flush=True)\nhook.serve_forever()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program],
        env=_environment(WEBHOOK_SECRET=secret),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == "listening\n"
        try:
            yield process
        finally:
            process.terminate()


def _events(output: str) -> list[Mapping[str, Any]]:
    return [json.loads(line.removeprefix("data: ")) for line in output.splitlines() if line.startswith("data: ")]


def _reply_of(stranger: Stranger, session_id: str) -> str:
    """The newest reply in a session's history."""
    path = f"/api/v1/chat/sessions/{session_id}/messages?username=alice"
    newest = json.loads(stranger.run("curl", "-s", *_get(stranger, path, stranger.key)))["data"]["messages"][0]
    return str(newest["parts"][0]["text"])


def _get(stranger: Stranger, path: str, key: str) -> list[str]:
    return [f"{stranger.url}{path}", "-H", f"X-API-Key: {key}"]
