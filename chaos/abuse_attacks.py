"""The attacks of one hostile key.

`python -m chaos.abuse_attacks URL KEY SECONDS` runs them, and prints as JSON how often each was answered with what.
"""

import asyncio
import base64
import os
import socket
import sys
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import aiohttp
import msgspec

from chaos import abuse_files as files
from chaos.abuse_model import LONG_REPLY

LOST = (aiohttp.ClientError, OSError, TimeoutError, asyncio.IncompleteReadError)
MIB = 1024**2
PAUSE_SECONDS = 0.05
SLOW_READERS = 60
WEBSOCKETS = 2_500
SLOW_UPLOADS = 40
FLOODS = {
    "empty fragments": b"\x00\x80mask",
    "fragments of a byte": b"\x00\x81mask\x00",
    "pongs": b"\x8a\x80mask",
    "pings": b"\x89\x80mask",
    "text pings": b"\x81\x8cmask" + bytes(byte ^ b"mask"[i % 4] for i, byte in enumerate(b'{"t":"ping"}')),
    "empty texts": b"\x81\x80mask",
}


class Attacker:
    """One key, and what the server answered to each attack."""

    def __init__(self, url: str, key: str, http: aiohttp.ClientSession) -> None:
        self.answers: dict[str, Counter[str]] = {}
        self._address = urlsplit(url)
        self._key = key
        self._http = http

    async def post(self, attack: str, path: str, body: object, *, seconds: float = 120.0) -> Any:
        """Send a body, and return the answer's JSON; None for a stream and for what was not answered."""
        data = body if isinstance(body, bytes) else msgspec.json.encode(body)
        headers = {"Content-Type": "application/json"}
        return await self._send(attack, path, seconds, data=data, headers=headers)

    async def upload(self, attack: str, name: str, content: bytes) -> str | None:
        """Upload a file, and return its id."""
        form = aiohttp.FormData()
        form.add_field("file", content, filename=name)
        answer = await self._send(attack, "/api/v1/file", 120.0, data=form)
        return None if not answer or not answer.get("data") else str(answer["data"]["attachment_id"])

    async def _send(self, attack: str, path: str, seconds: float, **options: Any) -> Any:
        try:
            async with asyncio.timeout(seconds), self._http.post(path, **options) as response:
                self.count(attack, str(response.status))
                if response.content_type == "application/json":
                    return await response.json()
                await response.read()
        except LOST as error:
            self.count(attack, type(error).__name__)
        return None

    def count(self, attack: str, answer: str) -> None:
        self.answers.setdefault(attack, Counter())[answer] += 1

    async def open(self, head: str, *, narrow: bool = False) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Open a connection of its own and write a request's head, with the key and without its end."""
        connection = socket.socket()
        if narrow:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.setblocking(False)
        address = (self._address.hostname, self._address.port)
        await asyncio.get_running_loop().sock_connect(connection, address)
        reader, writer = await asyncio.open_connection(sock=connection, limit=4096)
        writer.write(f"{head}\r\nHost: palaver\r\nX-API-Key: {self._key}\r\n".encode())
        return reader, writer

    async def open_websocket(self, *, frames: bytes = b"") -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await self.open("GET /api/v1/chat/ws HTTP/1.1")
        key = base64.b64encode(os.urandom(16)).decode()
        writer.write(
            f"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n"
            "\r\n".encode()
            + frames
        )
        return reader, writer


async def patterns(attacker: Attacker) -> None:
    text = "a" * 99_999 + "\0"
    await attacker.post("patterns", "/api/kernel2/roles", {"name": "r", "system_prompt": text})
    await attacker.post("patterns", "/api/kernel2/roles", {"name": " " * 90_000 + "\0", "system_prompt": "x"})
    await attacker.post("patterns", "/api/v1/chat", {"username": text, "message": "x", "session_id": text})


async def huge_json(attacker: Attacker) -> None:
    brackets = b'{"a":[' + b",".join([b"{}"] * 40) + b'],"messages":[{"role":"user","content":"'
    text = b"x" * (32 * MIB)
    await attacker.post("huge JSON", "/v1/chat/completions", brackets + text + b'"}]}')
    await attacker.post("huge JSON", "/api/kernel2/chat", brackets + b"\\u00e9" * (5 * MIB) + b'"}]}')
    await attacker.post("huge JSON", "/v1/embeddings", b'{"input":[' + b"[],".join([b"[],"] * 500_000) + b"[]]}")
    await attacker.post("huge JSON", "/api/v1/chat", brackets + text[: 3 * MIB] + b'"}]}')


async def one_image_many_times(attacker: Attacker) -> None:
    image = await attacker.upload("one image many times", "noise.png", await asyncio.to_thread(files.large_image))
    if image is None:
        return
    part = {"type": "image", "attachment_id": image}
    message = [{"type": "plain", "text": "x"}, *[part] * 49]
    body = {"username": "mallory", "message": message}
    await asyncio.gather(*(attacker.post("one image many times", "/api/v1/chat", body) for _ in range(5)))


async def one_document_many_times(attacker: Attacker) -> None:
    document = await attacker.upload("one document many times", "long.txt", files.long_text())
    part = {"type": "file", "attachment_id": document}
    body = {
        "username": "mallory",
        "session_id": f"d{uuid4()}",
        "message": [{"type": "plain", "text": "x"}, *[part] * 49],
    }
    for _ in range(6):
        await attacker.post("one document many times", "/api/v1/chat", body)


async def image_bombs(attacker: Attacker) -> None:
    bomb = await asyncio.to_thread(files.jpeg_bomb)

    async def of_v1() -> None:
        url = "data:image/jpeg;base64," + base64.b64encode(files.changed(bomb)).decode()
        content = [{"type": "image_url", "image_url": {"url": url}}]
        body = {"messages": [{"role": "user", "content": content}]}
        await attacker.post("image bombs", "/v1/chat/completions", body, seconds=1.0)

    async def of_the_open_api() -> None:
        image = await attacker.upload("image bombs", "bomb.jpg", files.changed(bomb))
        body = {"username": "mallory", "message": [{"type": "image", "attachment_id": image}]}
        await attacker.post("image bombs", "/api/v1/chat", body, seconds=1.0)

    await asyncio.gather(*(act() for act in (of_v1, of_the_open_api) * 4))


async def slow_readers(attacker: Attacker) -> None:
    body = {"username": "mallory", "session_id": f"slow{uuid4()}", "message": LONG_REPLY, "enable_streaming": False}
    run_id = None
    async with attacker._http.post("/api/v1/chat", json=body) as response:
        async for line in response.content:
            if line.startswith(b"data: ") and b'"run_id"' in line[:4096]:
                run_id = msgspec.json.decode(line[6:])["run_id"]
                break
        with suppress(*LOST):
            await response.read()
    connections = []
    for _ in range(SLOW_READERS):
        reader, writer = await attacker.open(f"GET /api/v1/chat/runs/{run_id}/stream HTTP/1.1", narrow=True)
        writer.write(b"\r\n")
        attacker.count("slow readers", (await reader.readline()).decode().strip())
        reader._transport.pause_reading()  # type: ignore[attr-defined]
        connections.append(writer)
    try:
        await asyncio.sleep(30)
    finally:
        for writer in connections:
            writer.transport.abort()


def flood(name: str, frame: bytes) -> Callable[[Attacker], Awaitable[None]]:
    async def act(attacker: Attacker) -> None:
        _, writer = await attacker.open_websocket()
        try:
            while True:
                writer.write(frame * 10_000)
                await writer.drain()  # nothing is read of what the server answers
                attacker.count(f"flood of {name}", "10,000 frames")
        finally:
            writer.transport.abort()

    return act


async def flood_without_a_key(attacker: Attacker) -> None:
    stranger = Attacker(attacker._address.geturl(), "x" * 40, attacker._http)
    reader, writer = await stranger.open_websocket(frames=FLOODS["pings"] * 160_000)
    try:
        attacker.count("flood without a key", (await reader.readline()).decode().strip())
    finally:
        writer.transport.abort()


async def many_websockets(attacker: Attacker) -> None:
    connections = []
    try:
        for _ in range(WEBSOCKETS):
            reader, writer = await attacker.open_websocket()
            connections.append((reader, writer))
            attacker.count("many WebSockets", (await reader.readline()).decode().strip())
        await asyncio.sleep(20)
    finally:
        for _, writer in connections:
            writer.transport.abort()


async def long_messages(attacker: Attacker) -> None:
    parts = [{"type": "text", "text": "x"}] * 300_000
    path, session = "/v1/chat/completions", {"session_id": "long"}
    await attacker.post("long messages", path, {**session, "messages": [{"role": "user", "content": parts}]})
    result = {"role": "tool", "tool_call_id": "x" * (20 * MIB), "content": "x"}
    await attacker.post("long messages", path, {**session, "messages": [result]})
    body = {"model": "x" * MIB, "messages": [{"role": "user", "content": "x"}]}
    await attacker.post("long messages", path, {**session, **body})


async def documents(attacker: Attacker) -> None:
    async def one(name: str, content: bytes) -> None:
        document = await attacker.upload("documents", name, content)
        body = {"username": "mallory", "message": [{"type": "file", "attachment_id": document}]}
        await attacker.post("documents", "/api/v1/chat", body)

    await asyncio.gather(*(one(*each) for each in await asyncio.to_thread(files.hostile_documents)))


async def slow_uploads(attacker: Attacker) -> None:
    form = '--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'

    async def one() -> None:
        reader, writer = await attacker.open("POST /api/v1/file HTTP/1.1")
        attacker.count("slow uploads", "begun")
        writer.write(
            b"Content-Type: multipart/form-data; boundary=b\r\nContent-Length: 1000000\r\n\r\n" + form.encode()
        )
        answer = asyncio.ensure_future(reader.readline())
        try:
            while not answer.done():
                writer.write(b"x")
                await asyncio.wait([answer], timeout=2.0)
            attacker.count("slow uploads", answer.result().decode().strip())
        finally:
            answer.cancel()
            writer.transport.abort()

    await asyncio.gather(*(one() for _ in range(SLOW_UPLOADS)))


async def full_storage(attacker: Attacker) -> None:
    await asyncio.gather(*(attacker.upload("full storage", "noise.bin", os.urandom(20 * MIB)) for _ in range(3)))


async def wrong_keys(attacker: Attacker) -> None:
    headers = {"X-API-Key": f"pk_{uuid4()}"}
    await attacker._send("wrong keys", "/api/v1/chat", 120.0, json={}, headers=headers)


ATTACKS: Mapping[str, Callable[[Attacker], Awaitable[None]]] = {
    **{act.__name__: act for act in (
        patterns, huge_json, one_image_many_times, one_document_many_times, image_bombs, slow_readers,
        flood_without_a_key, many_websockets, long_messages, documents, slow_uploads, full_storage, wrong_keys,
    )},
    **{f"flood_{name.replace(' ', '_')}": flood(name, frame) for name, frame in FLOODS.items()},
}  # fmt: skip


async def attack(url: str, key: str, seconds: float, names: list[str]) -> dict[str, Counter[str]]:
    """Run the attacks side by side, each again and again."""
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(url, headers={"X-API-Key": key}, connector=connector) as http:
        attacker = Attacker(url, key, http)

        async def again(act: Callable[[Attacker], Awaitable[None]]) -> None:
            while True:
                with suppress(*LOST):
                    await act(attacker)
                await asyncio.sleep(PAUSE_SECONDS)

        tasks = [asyncio.create_task(again(ATTACKS[name])) for name in names]
        done, _ = await asyncio.wait(tasks, timeout=seconds, return_when=asyncio.FIRST_EXCEPTION)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for task in done:
            task.result()
    return attacker.answers


if __name__ == "__main__":
    answers = asyncio.run(attack(sys.argv[1], sys.argv[2], float(sys.argv[3]), sys.argv[4:] or list(ATTACKS)))
    sys.stdout.write(msgspec.json.encode(answers).decode())
