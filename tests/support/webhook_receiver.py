"""A receiver of webhooks on loopback: it checks every signature with the scheme's own package, and keeps what came."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import msgspec
from aiohttp import web
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True)
class Received:
    path: str
    headers: dict[str, str]
    payload: dict[str, Any]
    verified: bool

    @property
    def data(self) -> dict[str, Any]:
        data: dict[str, Any] = self.payload["data"]
        return data


@dataclass(slots=True)
class WebhookReceiver:
    """Answers with what `answers` holds, one each, and with 200 `{"message_id": "m-1"}` when there is nothing left."""

    secret: str | None = None
    answers: list[Answer] = field(default_factory=list)
    received: list[Received] = field(default_factory=list)
    arrived: asyncio.Event = field(default_factory=asyncio.Event)
    port: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook"

    async def handle(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        headers = {name.lower(): value for name, value in request.headers.items()}
        self.received.append(Received(request.path, headers, msgspec.json.decode(body), self._is_signed(body, headers)))
        self.arrived.set()
        answer = self.answers.pop(0) if self.answers else says({"message_id": "m-1"})
        return await answer(request)

    def _is_signed(self, body: bytes, headers: dict[str, str]) -> bool:
        if self.secret is None:
            return False
        try:
            Webhook(self.secret).verify(body, headers)
        except WebhookVerificationError:
            return False
        return True


def says(answer: Any, status: int = 200, headers: dict[str, str] | None = None) -> Answer:
    """An answer with JSON."""

    async def answer_it(_request: web.Request) -> web.StreamResponse:
        return web.Response(
            body=msgspec.json.encode(answer), status=status, headers=headers, content_type="application/json"
        )

    return answer_it


def sends(body: bytes, status: int = 200) -> Answer:
    """An answer with any bytes."""

    async def answer_it(_request: web.Request) -> web.StreamResponse:
        return web.Response(body=body, status=status)

    return answer_it


def waits_for(event: asyncio.Event, then: Answer | None = None) -> Answer:
    """An answer that does not come before the event is set."""

    async def answer_it(request: web.Request) -> web.StreamResponse:
        await event.wait()
        return await (then or says({"message_id": "m-1"}))(request)

    return answer_it


async def starts_and_hangs_up(request: web.Request) -> web.StreamResponse:
    """Status 200 at once, and no rest: the connection is cut."""
    response = web.StreamResponse()
    await response.prepare(request)
    await response.write(b"{")
    assert request.transport is not None
    request.transport.abort()
    return response


async def hangs_up(request: web.Request) -> web.StreamResponse:
    """No answer: the connection is cut."""
    assert request.transport is not None
    request.transport.abort()
    return web.Response()


@asynccontextmanager
async def webhook_receiver() -> AsyncIterator[WebhookReceiver]:
    receiver = WebhookReceiver()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", receiver.handle)
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    receiver.port = runner.addresses[0][1]
    try:
        yield receiver
    finally:
        await runner.cleanup()
