"""What the doors rest on is the same on each ASGI server: bounded heads and bodies, streams, sockets, the end."""

import asyncio
import json
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import psutil
import pytest

from tests.conftest import StartServer
from tests.support.answers import numbered, reply
from tests.support.client import Client
from tests.support.model_server import ModelServer
from tests.support.processes import API_KEY, ServerProcess
from tests.support.programs import plain_environment
from tests.support.server import Server

SERVERS = ("hypercorn", "uvicorn")


@pytest.fixture(params=SERVERS)
async def server(request: pytest.FixtureRequest, start_server: StartServer) -> AsyncIterator[Server]:
    async with start_server(server=request.param, max_body_bytes=20_000) as started:
        yield started


async def answer_to(server: Server, *pieces: bytes) -> bytes:
    """The head of the answer to what is sent, whose end does not come."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    try:
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
        async with asyncio.timeout(5):
            return await reader.readuntil(b"\r\n\r\n")
    finally:
        writer.transport.abort()


async def test_a_reply_goes_on_when_its_reader_leaves_defect_1(client: Client, model: ModelServer) -> None:
    gate = asyncio.Event()
    model.script(reply(numbered(6), gate=gate, hold_after=2))
    async with client.http.stream("POST", "/api/v1/chat", json={"username": "a", "message": "Hi"}) as stream:
        async for line in stream.aiter_lines():
            if line.startswith("data: "):
                run_id = json.loads(line[6:]).get("run_id")
                break
    gate.set()
    async with client.http.stream("GET", f"/api/v1/chat/runs/{run_id}/stream") as stream:
        events = [json.loads(line[6:]) async for line in stream.aiter_lines() if line.startswith("data: ")]
    assert next(each["data"] for each in events if each["type"] == "complete") == "".join(numbered(6))
    assert (await client.get(f"/api/v1/chat/runs/{run_id}")).json()["data"]["status"] == "completed"


async def test_a_head_without_an_end_is_refused(server: Server) -> None:
    line = b"X-Long: " + b"x" * 8000 + b"\r\n"
    head = await answer_to(server, b"GET /health HTTP/1.1\r\nHost: x\r\n", *[line] * 9)
    assert head.split()[1] in (b"400", b"431")


async def test_one_header_without_an_end_is_refused(server: Server) -> None:
    head = await answer_to(server, b"GET /health HTTP/1.1\r\nHost: x\r\nX-Long: ", *[b"x" * 8000] * 9)
    assert head.split()[1] in (b"400", b"431")


async def test_a_long_body_does_not_count_as_a_head(server: Server, client: Client) -> None:
    async with aiohttp.ClientSession() as http:
        for _ in range(2):  # over one connection
            body = {"username": "a", "message": "x" * 19_000}
            async with http.post(f"{server.base_url}/api/v1/chat", json=body, headers=client.http.headers) as answer:
                assert answer.status == 200
                assert b'"end"' in await answer.read()


async def test_a_body_that_is_too_large_is_refused_while_it_arrives(server: Server) -> None:
    head = await answer_to(
        server,
        b"POST /api/v1/chat HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n",
        b"Transfer-Encoding: chunked\r\nX-API-Key: %s\r\n\r\n" % (await server.new_key("chat")).encode(),
        *[b"%x\r\n%s\r\n" % (4000, b" " * 4000)] * 8,
    )
    assert head.startswith(b"HTTP/1.1 413 ")


async def test_an_answer_is_sent_in_one_piece(server: Server) -> None:
    for _ in range(5):
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        async with asyncio.timeout(5):
            first, rest = await reader.read(65536), await reader.read()
        assert first.endswith(b'{"status":"healthy"}')
        assert rest == b""
        writer.close()


async def test_what_is_no_http_is_refused(server: Server) -> None:
    assert (await answer_to(server, b"What is this?\r\n\r\n")).split()[1] == b"400"


async def test_a_socket_talks_and_bounds_its_frames(server: Server) -> None:
    url = f"{server.base_url}/api/v1/chat/ws"
    async with aiohttp.ClientSession() as http:
        async with http.ws_connect(url) as socket:
            assert (await socket.receive_json())["code"] == "UNAUTHORIZED"
            await socket.receive()
            assert socket.close_code == 1008
        async with http.ws_connect(url, headers={"X-API-Key": await server.new_key()}, compress=15) as socket:
            assert socket.compress == 0  # what is unfolded has no bound
            await socket.send_json({"username": "a", "message": "Hi"})
            while (await socket.receive_json(timeout=10))["type"] != "end":
                pass
            await socket.send_str("x" * 30_000)
            await socket.receive(timeout=10)
            assert socket.close_code == 1009


@pytest.mark.xdist_group("timing")
@pytest.mark.parametrize("name", SERVERS)
async def test_a_connection_is_closed_when_nothing_comes_for_long(
    name: str, start_server: StartServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before its first request, and after one, which begins the time anew."""
    monkeypatch.setattr(f"app.server.{name}.KEEP_ALIVE_SECONDS", 1)
    async with start_server(server=name) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        nothing, silent = await asyncio.open_connection("127.0.0.1", server.port)
        async with asyncio.timeout(10):
            for _ in range(3):
                await asyncio.sleep(0.6)
                writer.write(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
                assert (await reader.readuntil(b"}")).startswith(b"HTTP/1.1 200 ")
            assert await reader.read() == b""
            assert await nothing.read() == b""
        writer.close()
        silent.close()


@pytest.mark.xdist_group("timing")
@pytest.mark.parametrize("name", SERVERS)
async def test_idle_connections_do_not_hold_up_the_end(name: str, start_server: StartServer) -> None:
    loop = asyncio.get_running_loop()
    async with start_server(server=name) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
        await reader.readuntil(b"}")
        ending = loop.time()
    assert loop.time() - ending < 5
    assert await reader.read() == b""
    writer.close()


@pytest.mark.parametrize("name", SERVERS)
async def test_a_connection_that_its_client_closes_is_forgotten_at_once(name: str, tmp_path: Path) -> None:
    server = ServerProcess(tmp_path / "data", {"PALAVER_SERVER": name})
    try:
        await server.start()
        for _ in range(5):
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            writer.write(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
            await reader.readuntil(b"}")
            writer.close()
        process = psutil.Process(server.process.pid)
        async with asyncio.timeout(5):
            while {each.status for each in process.net_connections("tcp")} != {psutil.CONN_LISTEN}:
                await asyncio.sleep(0.05)
    finally:
        await server.close()


@pytest.mark.parametrize("name", SERVERS)
async def test_a_signal_lets_replies_come_to_their_end(name: str, tmp_path: Path) -> None:
    async with ModelServer() as model:
        gate = asyncio.Event()
        model.script(reply(numbered(4), gate=gate, hold_after=2))
        environment = {"PALAVER_SERVER": name, "OPENAI_BASE_URL": model.base_url}
        server = ServerProcess(tmp_path / "data", environment)
        try:
            await server.start()
            async with (
                aiohttp.ClientSession(headers={"X-API-Key": API_KEY}) as http,
                http.post(f"{server.base_url}/api/v1/chat", json={"username": "a", "message": "Hi"}) as answer,
            ):
                await model.wait_for_requests(1)
                ending = asyncio.create_task(server.end(signal.SIGTERM))
                await asyncio.sleep(0.2)
                gate.set()
                assert b'"complete"' in await answer.read()
                assert await ending == 0
            assert "Traceback" not in server.log_file.read_text()
        finally:
            await server.close()


@pytest.mark.parametrize("name", SERVERS)
async def test_a_start_that_fails_is_one_line(name: str, tmp_path: Path) -> None:
    code = (
        "import app.chat.runs.recovery as r\n"
        "async def fail(self): raise OSError('no luck')\n"
        "r.Recovery.open = fail\n"
        "from app.cli import main; main()"
    )
    outcome, said = await _serve(code, tmp_path / "data", PALAVER_SERVER=name)
    assert (outcome, said.splitlines()[-1].startswith("Error: ")) == (1, True)
    assert "could not start or end in good order" in said
    assert "no luck" in said


async def test_a_server_that_is_not_installed_is_one_line(tmp_path: Path) -> None:
    code = "import sys; sys.modules['uvicorn'] = None; from app.cli import main; main()"
    outcome, said = await _serve(code, tmp_path / "data", PALAVER_SERVER="uvicorn")
    assert outcome == 1
    assert said.splitlines()[-1] == "Error: uvicorn is not installed: pip install 'palaver[uvicorn]'"


async def _serve(code: str, data_dir: Path, **environment: str) -> tuple[int | None, str]:
    """How a `palaver serve` that does not start ends, and what it says."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", code, "serve", "--data-dir", str(data_dir), "--port", "0"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env={**plain_environment(), **environment},
    )
    async with asyncio.timeout(60):
        said, _ = await process.communicate()
    return process.returncode, said.decode()
