"""The examples of the pages do what the pages say, on a server that was started as a stranger starts it."""

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
from typing import Any

import msgspec
import pytest

from app.bots.adapters.base import Adapter, Target
from app.chat.parts import Text
from app.doors.open_api.schemas import CHAT_EVENT
from app.errors import BadRequest
from app.profiles.models import ProfileFile
from app.settings import Settings
from tests.docs.pages import ROOT, blocks, page, section
from tests.support.model_server import ModelServer

PALAVER = [sys.executable, "-c", "from app.cli import main; main()"]
README = page("README.md")
BOTS = page("docs/bots.md")


@dataclass(frozen=True, slots=True)
class Stranger:
    """A server on a new data folder, in a folder of the stranger's own; `printed` is what the start printed."""

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
        """What the command prints; it must succeed."""
        variables = _environment(PALAVER_URL=self.url, PALAVER_KEY=self.key, **environment)
        done = subprocess.run(
            command, cwd=self.folder, env=variables, capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def shell(self, script: str, **environment: str) -> str:
        # What the reader fills in is in the environment already.
        script = re.sub(r"^export PALAVER_\w+=.*$", "", script, flags=re.MULTILINE)
        return self.run("bash", "-euc", script, **environment)


def _environment(**more: str) -> dict[str, str]:
    known = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    return {**known, "PYTHONPATH": str(ROOT), "PYTHONUTF8": "1", "NO_PROXY": "*", **more}


@contextmanager
def started(folder: Path, **environment: str) -> Iterator[Stranger]:
    """A server on a new data folder that has printed all it prints, of which the last is the curl line."""
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
    shown = stranger.printed.replace(stranger.key, "plv_...").replace(stranger.url, "http://127.0.0.1:6185")
    shown = shown.replace(str(stranger.folder), "/home/you/palaver")
    (wanted,) = blocks(section(README, "Start"), "text")
    assert shown == wanted


def test_the_printed_curl_line_answers(stranger: Stranger) -> None:
    events = _events(stranger.run("bash", "-c", stranger.printed.splitlines()[-1]))
    assert events[0]["type"] == "session_id"
    assert [event["type"] for event in events[-4:]] == ["agent_stats", "complete", "message_saved", "end"]
    assert "OPENAI_API_KEY" in events[-3]["data"]


def test_the_tour_in_curl_runs(stranger: Stranger) -> None:
    tour = section(README, "curl")
    output = stranger.shell("\n".join(blocks(tour, "sh")))
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


def test_the_events_that_are_shown_are_real_ones() -> None:
    shapes = {shape["properties"]["type"]["const"]: shape for shape in CHAT_EVENT["oneOf"]}
    (shown,) = blocks(section(README, "curl"), "text")
    for event in _events(shown):
        assert set(event) == set(shapes[event["type"]]["properties"])


def test_the_python_program_leaves_resumes_and_has_the_whole_reply(stranger: Stranger) -> None:
    (program,) = blocks(section(README, "Python"), "python")
    output = stranger.run(sys.executable, "-c", program)
    assert _said(stranger, "python") in output
    assert output.endswith("user complete\n" + output.splitlines()[-1] + "\n")
    assert output.splitlines()[-1].endswith("assistant complete")


def test_the_javascript_program_has_the_whole_reply(stranger: Stranger) -> None:
    node = shutil.which("node")
    if node is None:
        pytest.skip("node is not installed")
    version = stranger.run(node, "--version")
    if int(version.removeprefix("v").partition(".")[0]) < 20:
        pytest.skip(f"node is {version}")
    (program,) = blocks(section(README, "JavaScript"), "js")
    (stranger.folder / "chat.mjs").write_text(program)
    output = stranger.run(node, "chat.mjs")
    assert _said(stranger, "js") in output
    assert re.search(r"\nsaved as message \d+\n$", output)


def test_the_commands_for_keys_run(stranger: Stranger) -> None:
    (script,) = blocks(section(README, "Keys"), "sh")
    create, create_bound, listing, rotate, revoke, delete = (
        line.removeprefix(".venv/bin/palaver ").split() for line in script.splitlines()
    )
    another = blocks(section(README, "Start"), "sh")[-1].removeprefix(".venv/bin/palaver ").split()
    key = stranger.run(*PALAVER, *create).splitlines()[-1]
    for words in (create_bound, another):
        assert stranger.run(*PALAVER, *words).startswith("plv_")
    (row,) = [line for line in stranger.run(*PALAVER, *listing).splitlines() if " shop " in line]
    key_id = row.split()[0]

    def on_it(words: list[str]) -> str:
        return stranger.run(*PALAVER, *(key_id if word == "KEY_ID" else word for word in words))

    rotated = on_it(rotate).splitlines()[-1]
    for text in (key, rotated):
        assert '"status":"ok"' in stranger.run("curl", "-s", *_get(stranger, "/api/v1/chat/sessions?username=a", text))
    on_it(revoke)
    answer = stranger.run("curl", "-s", *_get(stranger, "/api/v1/chat/sessions?username=a", rotated))
    assert json.loads(answer)["code"] == "invalid_api_key"
    on_it(delete)


async def test_the_variables_bring_in_a_model_server(model: ModelServer, tmp_path: Path) -> None:
    lines = blocks(section(README, "A real model"), "sh")[0].splitlines()
    (ollama,) = [line for line in lines if line.endswith("# Ollama")]
    variables = dict(word.split("=", 1) for word in ollama.partition(" make run")[0].split())
    variables["OPENAI_BASE_URL"] = model.base_url

    def ask() -> str:
        with started(tmp_path, **variables) as server:
            assert "Model server: openai_chat_completion\n" in server.printed
            return server.run("bash", "-c", server.printed.splitlines()[-1])

    assert _events(await asyncio.to_thread(ask))[-1]["type"] == "end"
    assert model.requests[0].body["model"] == variables["PALAVER_OPENAI_MODEL"]


def test_the_files_that_are_shown_can_be_used() -> None:
    (settings,) = blocks(section(README, "A real model"), "toml")
    assert [each.id for each in Settings(**tomllib.loads(settings)).providers] == ["local", "openai"]
    (profile,) = blocks(section(README, "Profiles"), "toml")
    assert msgspec.convert(tomllib.loads(profile), ProfileFile).to_profile("gardener").history_messages == 20


def test_the_webhook_receiver_takes_what_the_bot_sends(stranger: Stranger) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"127.0.0.1:{free.getsockname()[1]}"
    create, send = blocks(section(BOTS, "webhook"), "sh")
    admin = stranger.run(*PALAVER, "keys", "create", "--name", "admin", "--scope", "admin").splitlines()[-1]
    made = stranger.shell(create.replace("127.0.0.1:9000", address), PALAVER_ADMIN_KEY=admin)
    secret = json.loads(made)["data"]["generated_secrets"]["secret"]

    (program,) = blocks(section(BOTS, "webhook"), "python")
    program = program.replace('("127.0.0.1", 9000)', str(("127.0.0.1", int(address.partition(":")[2]))))
    with _receiver(program, secret) as receiver:
        answer = json.loads(stranger.shell(send))
        assert receiver.stdout is not None
        assert "hostas" in receiver.stdout.readline()
    assert answer["data"] == {"message_id": "m-1", "umo": "support:GroupMessage:room:7"}


async def test_the_adapter_that_is_shown_works(tmp_path: Path) -> None:
    names: dict[str, Any] = {"__name__": "line_file"}
    (program,) = blocks(section(BOTS, "Writing an adapter"), "python")
    exec(compile(program, "docs/bots.md", "exec"), names)
    factory = names["line_file_factory"]
    config = msgspec.convert({"path": str(tmp_path / "lines")}, factory.config_type)
    adapter = factory.build("diary", config)
    assert adapter.capabilities.parts == {"plain"}
    assert list(signature(adapter.send).parameters) == list(signature(Adapter.send).parameters)[1:]
    sent = await adapter.send(Target("FriendMessage", "alice"), [Text("Hello")], "m-1")
    assert sent.message_id is None
    assert (tmp_path / "lines").read_text() == "alice: Hello\n"
    await adapter.close()
    with pytest.raises(BadRequest):
        factory.build("diary", msgspec.convert({"path": "lines"}, factory.config_type))


@contextmanager
def _receiver(program: str, secret: str) -> Iterator["subprocess.Popen[str]"]:
    announced = program.replace("HTTPServer((", "hook = HTTPServer((").replace(
        ".serve_forever()", "\nprint('listening', flush=True)\nhook.serve_forever()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", announced],
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


def _said(stranger: Stranger, session_id: str) -> str:
    """The reply in the history of a session of one question."""
    path = f"/api/v1/chat/sessions/{session_id}/messages?username=alice"
    newest = json.loads(stranger.run("curl", "-s", *_get(stranger, path, stranger.key)))["data"]["messages"][0]
    return str(newest["parts"][0]["text"])


def _get(stranger: Stranger, path: str, key: str) -> list[str]:
    return [f"{stranger.url}{path}", "-H", f"X-API-Key: {key}"]
