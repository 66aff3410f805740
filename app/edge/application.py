"""The Quart application, with back-pressure for request bodies: what nobody reads is not received from the socket.

Quart receives a body as fast as it arrives and keeps it until it is read, so a sender faster than the storage fills the
memory. And when a server answers early and closes the connection, the reset makes the sender's system discard the
answer. Both are solved here, for every door.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Generator
from contextlib import suppress
from types import TracebackType
from typing import Any, NoReturn

from hypercorn.typing import ASGIReceiveCallable, ASGIReceiveEvent, ASGISendCallable, ASGISendEvent
from quart import Quart, Request
from quart.asgi import ASGIHTTPConnection
from quart.routing import QuartMap, QuartRule
from quart.wrappers.base import BaseRequestWebsocket
from werkzeug.routing import MapAdapter, Rule

from app.errors import OperatorError

BUFFERED_BYTES = 256 * 1024
# How long an early answer waits for a sender that is still sending.
LINGER_SECONDS = 2.0
SENT_BYTES = 256 * 1024
UNKNOWN_PATH = "/\0"


class BoundedBody:
    """A request body of which about BUFFERED_BYTES wait to be read.

    It has the interface of `quart.wrappers.request.Body`, but no limit: readers limit what they read.
    """

    def __init__(self, expected_content_length: int | None, max_content_length: int | None) -> None:
        self._pieces: list[bytes] = []
        self._size = 0
        self._is_discarded = False
        self._readable = asyncio.Event()
        self._has_room = asyncio.Event()
        self._has_room.set()
        self._complete = asyncio.Event()

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        await self._readable.wait()
        if not self._pieces:
            raise StopAsyncIteration
        data = self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)
        self.clear()
        if not self._complete.is_set():
            self._readable.clear()
        self._has_room.set()
        return data

    def __await__(self) -> Generator[Any, None, bytes]:
        return self._read().__await__()

    async def _read(self) -> bytes:
        return b"".join([piece async for piece in self])

    def append(self, data: bytes) -> None:
        if not data or self._is_discarded:
            return
        self._pieces.append(data)
        self._size += len(data)
        self._readable.set()
        if self._size >= BUFFERED_BYTES:
            self._has_room.clear()

    def set_complete(self) -> None:
        self._complete.set()
        self._readable.set()
        self._has_room.set()

    def set_result(self, data: bytes) -> None:
        self.append(data)
        self.set_complete()

    def clear(self) -> None:
        self._pieces = []
        self._size = 0

    def discard(self) -> None:
        """Receive the rest without keeping it."""
        self._is_discarded = True
        self._has_room.set()

    async def wait_for_room(self) -> None:
        await self._has_room.wait()

    @property
    def is_complete(self) -> bool:
        return self._complete.is_set()

    async def wait_complete(self) -> None:
        await self._complete.wait()


class BoundedRequest(Request):
    body_class = BoundedBody  # type: ignore[assignment]  # the interface without the implementation
    body: BoundedBody  # type: ignore[assignment]


class BoundedConnection(ASGIHTTPConnection):
    """Receives a body while there is room for it, and lets the sender finish before an early answer ends."""

    async def handle_messages(self, request: BoundedRequest, receive: ASGIReceiveCallable) -> None:  # type: ignore[override]
        async def receive_into_room() -> ASGIReceiveEvent:
            await request.body.wait_for_room()
            return await receive()

        await super().handle_messages(request, receive_into_room)

    async def handle_request(self, request: BoundedRequest, send: ASGISendCallable) -> None:  # type: ignore[override]
        body = request.body

        async def send_and_linger(event: ASGISendEvent) -> None:
            if event["type"] == "http.response.start":
                # The disconnect of the sender is received after its body: waiting for room would hide it from now on.
                body.discard()
            elif event["type"] == "http.response.body" and not event["more_body"] and not body.is_complete:
                with suppress(TimeoutError):
                    async with asyncio.timeout(LINGER_SECONDS):
                        await body.wait_complete()
            if event["type"] == "http.response.body" and len(event["body"]) > SENT_BYTES:
                # Each piece waits for the one before: what a slow reader does not take is not copied for it.
                pieces = memoryview(event["body"])
                for start in range(0, len(pieces), SENT_BYTES):
                    more = event["more_body"] or start + SENT_BYTES < len(pieces)
                    piece = bytes(pieces[start : start + SENT_BYTES])
                    await send({"type": "http.response.body", "body": piece, "more_body": more})
            else:
                await send(event)

        await super().handle_request(request, send_and_linger)


class AnyHostMap(QuartMap):
    """Routes for any `Host`. Quart answers an invalid one with a 500, before the first hook runs."""

    def bind_to_request(
        self, request: BaseRequestWebsocket, subdomain: str | None, server_name: str | None
    ) -> MapAdapter:
        # A second slash at the beginning is dropped by werkzeug, and makes another path for proxies with rules.
        path = UNKNOWN_PATH if request.scope["path"].startswith("//") else request.path
        return self.bind("localhost", request.root_path, subdomain, request.scheme, request.method, path)


class MatchedRule(QuartRule):
    """A route that is matched, and whose URL is never built."""

    def _compile_builder(self, append_unknown: bool = True) -> Callable[..., NoReturn]:
        # Werkzeug's makes and compiles a syntax tree, twice a rule: most of the time in which an application is made.
        return _refuse_to_build


def _refuse_to_build(_rule: Rule, **_values: Any) -> NoReturn:
    raise RuntimeError("URLs of routes are not built")


ExceptionInfo = tuple[type, BaseException, TracebackType] | tuple[None, None, None]


class Application(Quart):
    """Quart with back-pressure for request bodies, and without its limits of a body's size and a response's time."""

    request_class = BoundedRequest
    asgi_http_class = BoundedConnection
    url_map_class = AnyHostMap
    url_rule_class = MatchedRule

    def __init__(self, import_name: str) -> None:
        super().__init__(import_name, static_folder=None)
        self.config["MAX_CONTENT_LENGTH"] = None
        self.config["RESPONSE_TIMEOUT"] = None
        self.url_map.merge_slashes = False  # ids may hold two slashes, and no path is answered with a redirect

    def log_exception(self, exception_info: ExceptionInfo) -> None:
        """Log an exception, unless its text alone is shown to the operator."""
        if not isinstance(exception_info[1], OperatorError):
            super().log_exception(exception_info)
