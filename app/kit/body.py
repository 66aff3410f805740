"""Request bodies that stop at the socket: what nobody has read yet is not fetched from the sender either.

Quart takes a body from the server as fast as it comes and keeps it until it is read, so that a sender faster than the
storage fills the memory. And a server that answers before it has read everything, then closes, makes the sender's
system throw the answer away unread (a reset connection). Both are put right here, for every door.
"""

import asyncio
from collections.abc import Generator
from contextlib import suppress
from typing import Any, cast

from hypercorn.typing import ASGIReceiveCallable, ASGISendCallable, ASGISendEvent
from quart import Quart, Request
from quart.asgi import ASGIHTTPConnection
from quart.wrappers.request import Body
from werkzeug.exceptions import RequestEntityTooLarge

BUFFERED_BYTES = 256 * 1024
# How long an early answer waits for a sender that is still sending; what it sends is thrown away.
LINGER_SECONDS = 2.0


class BoundedBody(Body):
    """Holds about BUFFERED_BYTES while it is iterated over; awaiting it whole still collects it whole."""

    def __init__(self, expected_content_length: int | None, max_content_length: int | None) -> None:
        super().__init__(expected_content_length, max_content_length)
        self._room = asyncio.Event()
        self._room.set()
        self._ended = asyncio.Event()
        self._wanted_whole = False
        self._unwanted = False

    async def __anext__(self) -> bytes:
        data = await super().__anext__()
        self._room.set()
        return data

    def __await__(self) -> Generator[Any, None, Any]:
        self._wanted_whole = True
        self._room.set()
        return super().__await__()

    def append(self, data: bytes) -> None:
        if self._unwanted:
            return
        super().append(data)
        if len(self._data) >= BUFFERED_BYTES and not self._wanted_whole:
            self._room.clear()

    def restrict(self, limit: int | None) -> None:
        """Refuse a whole body of more than `limit` bytes, as soon as that many have come."""
        self._max_content_length = limit
        if limit is not None and len(self._data) > limit:
            self._must_raise = RequestEntityTooLarge()
            self.set_complete()

    def end(self) -> None:
        """The sender has sent all of it."""
        self._ended.set()
        self.set_complete()

    async def room(self) -> None:
        """Wait until more may be appended."""
        await self._room.wait()

    def discard(self) -> None:
        """Throw away what is still to come."""
        self._unwanted = True
        self._room.set()

    async def until_end(self) -> None:
        """Wait until the sender has sent all of it."""
        await self._ended.wait()


class BoundedRequest(Request):
    body_class = BoundedBody
    body: BoundedBody

    @property
    def max_content_length(self) -> int | None:
        """The most that may come of a body that is read whole, in bytes.

        Quart's own setter comes too late: its body took the limit when it was made.
        """
        return super().max_content_length

    @max_content_length.setter
    def max_content_length(self, value: int | None) -> None:
        self._max_content_length = value
        self.body.restrict(value)


class BoundedConnection(ASGIHTTPConnection):
    """Takes from the server what the body has room for, and lets the sender finish before an early answer ends."""

    async def handle_messages(self, request: Request, receive: ASGIReceiveCallable) -> None:
        body = cast(BoundedRequest, request).body
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            if message["type"] == "http.request":
                body.append(message.get("body", b""))
                if message.get("more_body", False):
                    await body.room()
                else:
                    body.end()

    async def handle_request(self, request: Request, send: ASGISendCallable) -> None:
        body = cast(BoundedRequest, request).body

        async def send_and_linger(event: ASGISendEvent) -> None:
            if event["type"] == "http.response.start":
                # From here on a pause would also hide the sender's leaving, which comes after its body.
                body.discard()
            elif event["type"] == "http.response.body" and not event.get("more_body", False):
                with suppress(TimeoutError):
                    await asyncio.wait_for(body.until_end(), LINGER_SECONDS)
            await send(event)

        await super().handle_request(request, send_and_linger)


def install_bounded_bodies(app: Quart) -> None:
    """Give `app` such bodies. MAX_CONTENT_LENGTH is lifted: each view that reads a body sets its own limit."""
    app.request_class = BoundedRequest
    app.asgi_http_class = BoundedConnection
    app.config["MAX_CONTENT_LENGTH"] = None
