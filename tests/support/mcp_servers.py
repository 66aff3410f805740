"""MCP servers for the tests: the reference server of the protocol's authors, and scripted ones that misbehave."""

import asyncio
import json
import os
import shutil
import signal
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
from filelock import FileLock

from tests.support.processes import free_port
from tests.support.programs import ROOT

PACKAGE = "@modelcontextprotocol/server-everything"
FOLDER = ROOT / "tests" / ".node" / "everything"
SCRIPT = FOLDER / "node_modules" / PACKAGE / "dist" / "index.js"
INSTALL_SECONDS = 180

Json = dict[str, Any]
Respond = Callable[[Json], Json | None]


async def everything() -> Path:
    """The script of the reference server, installed once for each checkout; skips the test where that is impossible."""
    for program in ("node", "npm"):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed")
    FOLDER.mkdir(parents=True, exist_ok=True)
    with FileLock(FOLDER / "install.lock"):
        if not SCRIPT.exists():
            process = await asyncio.create_subprocess_exec(
                *("npm", "install", "--no-audit", "--no-fund", "--prefix", str(FOLDER), PACKAGE),
                stdout=DEVNULL,
                stderr=PIPE,
            )
            try:
                async with asyncio.timeout(INSTALL_SECONDS):
                    _, problem = await process.communicate()
            except TimeoutError:
                process.kill()
                await process.wait()
                problem = b"it took too long"
            if process.returncode != 0:
                pytest.skip(f"{PACKAGE} cannot be installed: {problem.decode(errors='replace')[:300]}")
    return SCRIPT


class EverythingOverHttp:
    """The reference server over Streamable HTTP, on one port."""

    def __init__(self, script: Path) -> None:
        self.port = free_port()
        self._script = script
        self._process: Process | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/mcp"

    async def start(self) -> None:
        self._process = await asyncio.create_subprocess_exec(
            *("node", str(self._script), "streamableHttp"),
            stdout=DEVNULL,
            stderr=PIPE,
            env={**os.environ, "PORT": str(self.port)},
        )
        assert self._process.stderr is not None
        async with asyncio.timeout(30):
            while b"listening" not in (line := await self._process.stderr.readline()):
                assert line, "the server did not start"

    async def kill(self) -> None:
        assert self._process is not None
        self._process.kill()
        await self._process.communicate()
        self._process = None

    async def close(self) -> None:
        if self._process is not None:
            await self.kill()


def stdio_server(name: str, script: Path, **options: Any) -> Json:
    """The settings of a server that runs by node (`.js`) or by this Python."""
    program = "node" if script.suffix == ".js" else sys.executable
    arguments = [str(script), "stdio"] if script.suffix == ".js" else [str(script)]
    return {"name": name, "command": program, "args": arguments, "connect_timeout_seconds": 30, **options}


def http_server(name: str, url: str, **options: Any) -> Json:
    return {"name": name, "url": url, "allow_private": True, **options}


def children(script: Path, parent: int | None = None) -> list[psutil.Process]:
    """The processes below this one, or below `parent`, that run the script."""
    below = psutil.Process(parent).children(recursive=True)
    return [process for process in below if is_alive(process) and str(script) in process.cmdline()]


def is_alive(process: psutil.Process) -> bool:
    """Whether it runs; one that has ended and waits for its parent does not."""
    return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)


def bytes_read_by(processes: Iterable[psutil.Process]) -> int:
    """The bytes that the processes have read so far."""
    return sum(process.io_counters().read_chars for process in processes)


async def until(condition: Callable[[], Any | Awaitable[Any]], seconds: float = 30) -> Any:
    """Ask until the answer is true, and return it."""
    async with asyncio.timeout(seconds):
        while True:
            answer = condition()
            if isinstance(answer, Awaitable):
                answer = await answer
            if answer:
                return answer
            await asyncio.sleep(0.02)


def kill(processes: Iterable[psutil.Process]) -> None:
    for process in processes:
        process.send_signal(signal.SIGKILL)


# What a scripted server says: the functions below answer one JSON-RPC request each.


def tool(name: str, **members: Any) -> Json:
    return {"name": name, "description": f"Does {name}.", "inputSchema": {"type": "object"}, **members}


def text(value: str, **members: Any) -> Json:
    return {"content": [{"type": "text", "text": value}], **members}


def answering(answers: Mapping[str, Json | Callable[[Json], Json]]) -> Respond:
    """Answer by method; `initialize` unless there is another answer, and what is unknown with an error."""

    def respond(request: Json) -> Json | None:
        if "id" not in request:
            return None
        answer = answers.get(request["method"])
        if answer is None and request["method"] == "initialize":
            answer = {
                "protocolVersion": "2025-06-18",
                "capabilities": {"tools": {"listChanged": True}},
                "serverInfo": {"name": "scripted", "version": "1"},
            }
        head = {"jsonrpc": "2.0", "id": request["id"]}
        if answer is None:
            return {**head, "error": {"code": -32601, "message": "Method not found"}}
        return {**head, "result": answer(request) if callable(answer) else answer}

    return respond


class ScriptedMcp:
    """A server over HTTP with sessions; `raw` answers a request with bytes instead, where it returns some."""

    def __init__(self, respond: Respond) -> None:
        self.respond = respond
        self.raw: Callable[[Json], bytes | None] = lambda _request: None
        self.sessions: set[str] = set()
        self.requests: list[Json] = []
        self.headers: list[Mapping[str, str]] = []
        self.closing = False
        self.url = ""

    def forget_sessions(self) -> None:
        self.sessions.clear()

    def called(self, method: str) -> int:
        return sum(request.get("method") == method for request in self.requests)

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                line, *rows = head.decode().strip().split("\r\n")
                headers = {name.lower(): value.strip() for name, _, value in (row.partition(":") for row in rows)}
                body = await reader.readexactly(int(headers.get("content-length", 0)))
                writer.write(self._answer(line.split()[0], headers, body))
                await writer.drain()
                if self.closing:
                    break
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    def _answer(self, method: str, headers: Mapping[str, str], body: bytes) -> bytes:
        if method != "POST":
            return _http(405, b"")
        request = json.loads(body)
        self.requests.append(request)
        self.headers.append(headers)
        session = headers.get("mcp-session-id")
        if session is not None and session not in self.sessions:
            return _http(404, b'{"jsonrpc":"2.0","id":null,"error":{"code":-32001,"message":"Session not found"}}')
        if (raw := self.raw(request)) is not None:
            return raw
        answer = self.respond(request)
        if answer is None:
            return _http(202, b"")
        more = ""
        if request["method"] == "initialize":
            name = f"session-{len(self.requests)}"
            self.sessions.add(name)
            more = f"Mcp-Session-Id: {name}\r\n"
        return _http(200, json.dumps(answer).encode(), more)


def _http(status: int, body: bytes, more: str = "") -> bytes:
    head = f"HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n{more}\r\n"
    return head.encode() + body


@asynccontextmanager
async def scripted(respond: Respond) -> AsyncIterator[ScriptedMcp]:
    mcp = ScriptedMcp(respond)
    server = await asyncio.start_server(mcp.answer, "127.0.0.1", 0)
    mcp.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/mcp"
    async with server:
        yield mcp
