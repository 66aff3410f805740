"""A client of the Open API for the tests: every answer it gets is held against the published document."""

import asyncio
import json
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Self

import httpx2
from quart import Quart

from app.bootstrap import EVENT_SCHEMAS
from app.edge.openapi import build_document
from tests.support.server import Server
from tests.support.spec import SpecValidator


@dataclass(frozen=True, slots=True)
class SseEvent:
    """One event: its id, its JSON, and the bytes it came in."""

    id: int
    data: dict[str, Any]
    raw: bytes

    @property
    def type(self) -> str:
        return str(self.data["type"])


# Nothing here speaks TLS, and reading the system's authorities for each client takes longer than many tests.
WITHOUT_AUTHORITIES = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)

_validators: list[SpecValidator] = []


def spec_of(app: Quart) -> SpecValidator:
    """The document of all servers here: their routes are the same, and its making takes longer than many a test."""
    if not _validators:
        _validators.append(SpecValidator(build_document(app, EVENT_SCHEMAS)))
    return _validators[0]


class Client:
    """Calls the server with `key` (None: none at all)."""

    def __init__(self, server: Server, key: str | None) -> None:
        headers = {} if key is None else {"X-API-Key": key}
        self.http = httpx2.AsyncClient(
            base_url=server.base_url, headers=headers, timeout=30, trust_env=False, verify=WITHOUT_AUTHORITIES
        )
        self.key = key
        self._spec = spec_of(server.app)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.http.aclose()

    async def request(self, method: str, path: str, **options: Any) -> httpx2.Response:
        response = await self.http.request(method, path, **options)
        content_type = response.headers.get("content-type", "")
        self._spec.check(method, response.request.url.path, response.status_code, content_type, response.content)
        return response

    async def get(self, path: str, **params: Any) -> httpx2.Response:
        return await self.request("GET", path, params=params)

    async def post(self, path: str, body: Any = None) -> httpx2.Response:
        return await self.request("POST", path, json=body)

    @asynccontextmanager
    async def stream(self, method: str, path: str, **options: Any) -> AsyncIterator[AsyncIterator[SseEvent]]:
        """The events of a stream, as they come."""
        async with self.http.stream(method, path, **options) as response:
            if response.status_code != 200:
                await response.aread()
                raise AssertionError(f"{response.status_code}: {response.text}")
            assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
            yield self._events(response)

    async def _events(self, response: httpx2.Response) -> AsyncIterator[SseEvent]:
        buffer = b""
        async for chunk in response.aiter_raw():
            buffer += chunk
            *blocks, buffer = buffer.split(b"\n\n")
            for block in blocks:
                if block.startswith((b":", b"retry:")):
                    continue
                first, second = block.split(b"\n")
                event = json.loads(second.removeprefix(b"data: "))
                self._spec.check_event(event)
                yield SseEvent(int(first.removeprefix(b"id: ")), event, block)
        assert buffer == b""

    @asynccontextmanager
    async def chatting(self, message: Any, **body: Any) -> AsyncIterator[AsyncIterator[SseEvent]]:
        request = {"username": "alice", "message": message, **body}
        async with self.stream("POST", "/api/v1/chat", json=request) as events:
            yield events

    async def chat(self, message: Any, **body: Any) -> list[SseEvent]:
        """Send a message and read the whole reply's events."""
        async with self.chatting(message, **body) as events:
            return [event async for event in events]

    async def replay(self, run_id: str, after: int | None = None) -> list[SseEvent]:
        """A run's events, from the run's own stream."""
        params = {} if after is None else {"after": after}
        async with self.stream("GET", f"/api/v1/chat/runs/{run_id}/stream", params=params) as events:
            return [event async for event in events]

    async def history(self, session_id: str, username: str = "alice") -> list[dict[str, Any]]:
        """A session's messages, the oldest first."""
        response = await self.get(f"/api/v1/chat/sessions/{session_id}/messages", username=username, limit=100)
        assert response.status_code == 200, response.text
        messages: list[dict[str, Any]] = response.json()["data"]["messages"]
        return messages[::-1]

    async def run_status(self, run_id: str) -> str:
        return str((await self.get(f"/api/v1/chat/runs/{run_id}")).json()["data"]["status"])

    async def until_run(self, run_id: str, *statuses: str) -> str:
        """Wait (by its stream's end, then by asking) until the run has one of the statuses."""
        async with asyncio.timeout(20):
            while (status := await self.run_status(run_id)) not in statuses:
                await asyncio.sleep(0.02)
        return status


def text_of(events: list[SseEvent]) -> str:
    """The reply's text, put together from its pieces."""
    return "".join(e.data["data"] for e in events if e.type == "plain" and e.data["chain_type"] is None)


def types_of(events: list[SseEvent]) -> list[str]:
    """The events' types; neighbouring `plain` ones count once."""
    types = [event.type for event in events]
    return [kind for index, kind in enumerate(types) if kind != "plain" or index == 0 or types[index - 1] != "plain"]
