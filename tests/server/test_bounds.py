"""What a client may do to a connection, before and after it has said who it is."""

import asyncio
import base64
import json
import os
import struct
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import aiohttp
import pytest

from tests.conftest import StartServer
from tests.support.processes import ServerProcess
from tests.support.server import Server

SERVERS = ("hypercorn", "uvicorn")
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0"
UPGRADE = b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: h2c\r\nHTTP2-Settings: \r\n\r\n"
TEXT, PING, PONG = 1, 9, 10


@pytest.fixture(params=SERVERS)
async def server(request: pytest.FixtureRequest, start_server: StartServer) -> AsyncIterator[Server]:
    async with start_server(server=request.param) as started:
        yield started


@asynccontextmanager
async def connection(server: Server) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    try:
        async with asyncio.timeout(20):
            yield reader, writer
    finally:
        writer.transport.abort()


async def status_of(server: Server, request: bytes) -> int:
    async with connection(server) as (reader, writer):
        writer.write(request)
        return int((await reader.readuntil(b"\r\n")).split()[1])


# HTTP


async def test_an_upgrade_to_http_2_is_ignored(server: Server) -> None:
    assert await status_of(server, UPGRADE) == 200


async def test_http_2_is_not_assumed(server: Server) -> None:
    async with connection(server) as (reader, writer):
        writer.write(PREFACE)
        answer = await reader.read()  # and the connection is closed
    assert answer.startswith((b"HTTP/1.1 4", b"HTTP/1.1 505"))


async def test_http_2_is_spoken_where_it_is_asked_for(start_server: StartServer) -> None:
    async with start_server(cleartext_http2=True) as server:
        assert await status_of(server, UPGRADE) == 101
        async with connection(server) as (reader, writer):
            writer.write(PREFACE)
            assert (await reader.readexactly(9))[3] == 4  # SETTINGS


@pytest.mark.xdist_group("timing")
async def test_an_idle_http_2_connection_is_closed(start_server: StartServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.server.hypercorn.KEEP_ALIVE_SECONDS", 0.5)
    async with start_server(cleartext_http2=True) as server, connection(server) as (reader, writer):
        writer.write(PREFACE)
        assert (await reader.read())[3] == 4  # to its end


async def test_a_length_beside_a_transfer_coding_closes_the_connection(server: Server) -> None:
    smuggled = b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n"
    async with connection(server) as (reader, writer):
        writer.write(
            b"POST /api/v1/chat HTTP/1.1\r\nHost: x\r\nContent-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
        )
        writer.write(smuggled)
        answer = await reader.read()
    assert answer.count(b"HTTP/1.1 ") == 1
    assert b"200" not in answer.split(b"\r\n")[0]


@pytest.mark.parametrize(
    ("target", "status"),
    [
        (b"/metrics", 200),
        (b"http://x/metrics", 200),  # RFC 9112, 3.2.2: a server must take it
        (b"//metrics", 404),
        (b"///metrics", 404),
        (b"/./metrics", 404),
        (b"metrics", 400),
        (b"/metrics/", 404),
    ],
)
async def test_a_path_is_one_path(server: Server, target: bytes, status: int) -> None:
    assert await status_of(server, b"GET %s HTTP/1.1\r\nHost: x\r\n\r\n" % target) == status


async def test_a_method_in_lower_case_is_no_method(server: Server) -> None:
    assert await status_of(server, b"get /metrics HTTP/1.1\r\nHost: x\r\n\r\n") in (400, 501)


async def test_a_large_head_in_one_piece_is_refused(server: Server) -> None:
    headers = b"".join(b"X-%d: %s\r\n" % (number, b"x" * 1000) for number in range(68))
    assert await status_of(server, b"GET /health HTTP/1.1\r\nHost: x\r\n%s\r\n" % headers) in (400, 431)


# WebSockets


def frame(kind: int, data: bytes = b"", *, is_last: bool = True) -> bytes:
    head = bytes(((0x80 if is_last else 0) | kind, 0x80 | min(len(data), 126)))
    return head + (struct.pack("!H", len(data)) if len(data) > 125 else b"") + b"\0\0\0\0" + data


FLOODS = {
    "empty fragments": frame(TEXT, is_last=False) + frame(0, is_last=False) * 30_000,
    "fragments of a byte": frame(TEXT, b"{", is_last=False) + frame(0, b" ", is_last=False) * 30_000,
    "pings": frame(PING) * 30_000,
    "pongs": frame(PONG) * 30_000,
    "empty texts": frame(TEXT) * 30_000,
    "short texts": frame(TEXT, b'{"t":"ping"}') * 30_000,
}


async def open_socket(server: Server, writer: asyncio.StreamWriter, reader: asyncio.StreamReader, key: str) -> None:
    writer.write(
        b"GET /api/v1/chat/ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: %s\r\nX-API-Key: %s\r\n\r\n"
        % (base64.b64encode(os.urandom(16)), key.encode())
    )
    assert b" 101 " in await reader.readuntil(b"\r\n\r\n")


@pytest.mark.parametrize("name", FLOODS)
async def test_a_flood_of_frames_ends_its_socket(server: Server, name: str) -> None:
    async with connection(server) as (reader, writer):
        await open_socket(server, writer, reader, await server.new_key("chat"))
        writer.write(FLOODS[name])
        answer = bytearray()
        try:
            while piece := await reader.read(65536):
                answer += piece
        except ConnectionResetError:  # what is unread when a connection is closed resets it
            return
    assert b"Too many frames" in answer[-40:]


@pytest.mark.parametrize("name", FLOODS)
async def test_a_flood_of_frames_holds_nobody_up(server: Server, name: str) -> None:
    """No turn of the server's loop, which is the test's, takes long; in CPU time, as the machine may be busy."""
    worst = 0.0

    async def watch() -> None:
        nonlocal worst
        while True:
            before = time.thread_time()
            await asyncio.sleep(0)
            worst = max(worst, time.thread_time() - before)

    async with connection(server) as (reader, writer):
        await open_socket(server, writer, reader, await server.new_key("chat"))
        watching = asyncio.create_task(watch())
        writer.write(FLOODS[name])
        with suppress(ConnectionResetError):
            while await reader.read(65536):
                pass
        watching.cancel()
    assert worst < 0.1


async def test_a_message_in_many_fragments_is_taken(server: Server) -> None:
    message = json.dumps({"t": "ping", "padding": "x" * 200_000}).encode()
    async with connection(server) as (reader, writer):
        await open_socket(server, writer, reader, await server.new_key("chat"))
        pieces = [message[start : start + 1000] for start in range(0, len(message), 1000)]
        for number, piece in enumerate(pieces):
            writer.write(frame(0 if number else TEXT, piece, is_last=number == len(pieces) - 1))
        assert b"pong" in await reader.read(1000)


async def test_a_message_of_megabytes_is_taken(server: Server) -> None:
    key = await server.new_key("chat")
    url = f"{server.base_url}/api/v1/chat/ws"
    async with aiohttp.ClientSession(headers={"X-API-Key": key}) as http, http.ws_connect(url) as socket:
        for _ in range(3):
            await socket.send_str(json.dumps({"t": "ping", "padding": "x" * 3_000_000}))
            assert (await socket.receive_json(timeout=20))["type"] == "pong"


# Connections


async def test_descriptors_that_run_out_are_logged_and_survived(tmp_path: Path) -> None:
    server = ServerProcess(tmp_path / "data", max_descriptors=160)
    try:
        await server.start()
        sockets = [await asyncio.open_connection("127.0.0.1", server.port) for _ in range(200)]
        async with asyncio.timeout(20):
            while b"too_many_connections" not in server.log_file.read_bytes():
                await asyncio.sleep(0.1)
        for _, writer in sockets:
            writer.transport.abort()
        async with asyncio.timeout(20), aiohttp.ClientSession() as http:
            while True:
                try:
                    async with http.get(f"{server.base_url}/health") as answer:
                        assert answer.status == 200
                        break
                except aiohttp.ClientError:
                    await asyncio.sleep(0.1)
        assert server.log_file.read_bytes().count(b"too_many_connections") == 1
        assert b"Traceback" not in server.log_file.read_bytes()
    finally:
        await server.close()
