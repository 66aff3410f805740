"""Request bodies that stop at the socket: what nobody has read yet is not fetched from the sender either.

Quart takes a body from the server as fast as it comes and keeps it until it is read, so that a sender faster than the
storage fills the memory. And a server that answers before it has read everything, then closes, makes the sender's
system throw the answer away unread (a reset connection). Both are put right here, for every door.
"""

import asyncio
from collections.abc import Generator, Iterable
from contextlib import suppress
from functools import partial
from typing import Any, cast

from hypercorn.typing import ASGIReceiveCallable, ASGISendCallable, ASGISendEvent
from quart import Quart, Request, Response
from quart.asgi import ASGIHTTPConnection
from quart.typing import ResponseTypes
from quart.utils import encode_headers
from quart.wrappers.request import Body
from quart.wrappers.response import DataBody
from werkzeug.exceptions import RequestEntityTooLarge

from app.edge.headers import ReceivedHeaders
from app.limits import LeanEvent

BUFFERED_BYTES = 256 * 1024
# How long an early answer waits for a sender that is still sending; what it sends is thrown away.
LINGER_SECONDS = 2.0


class BoundedBody(Body):
    """Holds about BUFFERED_BYTES while it is iterated over; awaiting it whole still collects it whole."""

    def __init__(self, expected_content_length: int | None, max_content_length: int | None) -> None:
        super().__init__(expected_content_length, max_content_length)
        self._pieces: list[bytes] = []
        self._held = 0
        self._room = LeanEvent()
        self._room.set()
        self._ended = LeanEvent()
        # In the place of Quart's own, which are as large as what a small request says.
        self._has_data = LeanEvent()  # type: ignore[assignment]
        self._complete = LeanEvent()  # type: ignore[assignment]
        self._wanted_whole = False
        self._unwanted = False

    async def __anext__(self) -> bytes:
        """What has come, as the server gave it: Quart's own body copies each piece twice."""
        while not self._pieces:
            if self._must_raise is not None or self._complete.is_set():
                return await super().__anext__()  # says how it ended
            self._has_data.clear()
            await self._has_data.wait()
        if self._must_raise is not None:
            raise self._must_raise
        pieces, self._pieces, self._held = self._pieces, [], 0
        self._room.set()
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def __await__(self) -> Generator[Any, None, Any]:
        self._wanted_whole = True
        self._room.set()
        for piece in self._pieces:
            super().append(piece)
        self._pieces = []
        return super().__await__()

    def append(self, data: bytes) -> None:
        if self._unwanted or self._must_raise is not None or not data:
            return
        if self._wanted_whole:
            super().append(data)
            return
        self._pieces.append(data)
        self._held += len(data)
        self._has_data.set()
        if self._max_content_length is not None and self._held > self._max_content_length:
            self._refuse()
        elif self._held >= BUFFERED_BYTES:
            self._room.clear()

    def restrict(self, limit: int | None) -> None:
        """Refuse a whole body of more than `limit` bytes, as soon as that many have come."""
        self._max_content_length = limit
        if limit is not None and self._held > limit:
            self._refuse()

    def _refuse(self) -> None:
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

    @property
    def ended(self) -> bool:
        """Whether the sender has sent all of it."""
        return self._ended.is_set()

    async def until_end(self) -> None:
        """Wait until the sender has sent all of it."""
        await self._ended.wait()


class BoundedRequest(Request):
    body_class = BoundedBody
    body: BoundedBody

    @property
    def blueprints(self) -> list[str]:
        """The blueprints that the view belongs to. None here is inside another, which Quart looks for three times."""
        blueprint = "" if self.url_rule is None else self.url_rule.endpoint.rpartition(".")[0]
        return [blueprint] if blueprint else []

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
    """Takes from the server what the body has room for, and lets the sender finish before an early answer ends.

    The request is handled in the task that the server made for it, and not in one more.
    """

    _has_all = False  # whether the request has no body

    async def __call__(self, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        request = cast(BoundedRequest, self._create_request_from_scope(send))
        has_all = self._has_all = _is_whole(request)
        if has_all and not await _take(request.body, receive):
            return
        handler = asyncio.current_task()
        assert handler is not None
        listener: asyncio.Task[None] | None = None
        left = False

        def listen() -> None:
            nonlocal listener
            listener = asyncio.ensure_future(self.handle_messages(request, receive))
            listener.add_done_callback(on_messages_end)

        def on_messages_end(messages: asyncio.Task[None]) -> None:
            # The sender has left, or cannot be heard any more.
            nonlocal left
            if not messages.cancelled():
                left = True
                handler.cancel()

        # Many an answer to a request without a body is over within this turn of the loop, and needs nobody to listen.
        starting = asyncio.get_running_loop().call_soon(listen) if has_all else None
        if starting is None:
            listen()
        try:
            await self.handle_request(request, send)
        except asyncio.CancelledError:
            if not left or handler.uncancel():
                raise
        finally:
            if starting is not None:
                starting.cancel()
            if listener is not None:
                listener.remove_done_callback(on_messages_end)
                # It waits for the server and has nothing to clear up, so that nobody has to wait for its end.
                listener.cancel()
        if left and listener is not None:
            listener.result()

    def _create_request_from_scope(self, send: ASGISendCallable) -> Request:
        scope = self.scope
        if scope["http_version"] < "1.1" or scope.get("root_path") or not scope["path"].startswith("/"):
            return super()._create_request_from_scope(send)
        # As Quart does it for all others, with headers that are looked through faster.
        headers = [("Remote-Addr", (scope.get("client") or ("<local>",))[0])]
        headers += [(name.decode("latin1").title(), value.decode("latin1")) for name, value in scope["headers"]]
        return self.app.request_class(
            scope["method"],
            scope["scheme"],
            scope["path"],
            scope["query_string"],
            ReceivedHeaders(headers),
            "",
            scope["http_version"],
            max_content_length=self.app.config["MAX_CONTENT_LENGTH"],
            body_timeout=self.app.config["BODY_TIMEOUT"],
            send_push_promise=partial(self._send_push_promise, send),
            scope=scope,
        )

    async def handle_messages(self, request: Request, receive: ASGIReceiveCallable) -> None:
        body = cast(BoundedRequest, request).body
        while await _take(body, receive):
            if not body.ended:
                await body.room()

    async def _send_response(self, send: ASGISendCallable, response: ResponseTypes) -> None:
        whole = response.response if self._has_all and isinstance(response, Response) else None
        if not isinstance(whole, DataBody):
            await super()._send_response(send, response)
            return
        # Quart says that an answer is over in an event of its own, which is as much work as any other.
        headers = encode_headers(response.headers)
        data = whole.data[whole.begin : whole.end]
        await send({"type": "http.response.start", "status": response.status_code, "headers": headers})
        await send({"type": "http.response.body", "body": data, "more_body": False})

    async def handle_request(self, request: Request, send: ASGISendCallable) -> None:
        if self._has_all:
            await super().handle_request(request, send)
            return
        body = cast(BoundedRequest, request).body

        length = -1
        over = False

        async def send_and_linger(event: ASGISendEvent) -> None:
            nonlocal length, over
            if event["type"] == "http.response.start":
                # From here on a pause would also hide the sender's leaving, which comes after its body.
                body.discard()
                length = _length_in(event["headers"])
                await send(event)
                event["headers"] = ()  # Hypercorn keeps the event to the end of the answer, but needs them no more
                return
            if over:
                return
            if event["type"] == "http.response.body":
                if body.ended:
                    over = not event.get("more_body", False) or 0 < length == len(event["body"])
                    event["more_body"] = not over
                elif not event.get("more_body", False):
                    with suppress(TimeoutError):
                        async with asyncio.timeout(LINGER_SECONDS):
                            await body.until_end()
            await send(event)

        await super().handle_request(request, send_and_linger)


def _is_whole(request: Request) -> bool:
    """Whether the server has all of the request, so that taking its body's end costs no turn of the loop.

    In HTTP/1 a body is announced; else it may follow unannounced, and its end be far away.
    """
    announced = request.content_length or request.headers.get("Transfer-Encoding") is not None
    return not announced and request.http_version < "2"


async def _take(body: BoundedBody, receive: ASGIReceiveCallable) -> bool:
    """Take the server's next message; False when the sender has left."""
    message = await receive()
    if message["type"] == "http.request":
        body.append(message.get("body", b""))
        if not message.get("more_body", False):
            body.end()
    return message["type"] != "http.disconnect"


def _length_in(headers: Iterable[tuple[bytes, bytes]]) -> int:
    """The length that an answer says it has; -1 when it says none."""
    return next((int(value) for name, value in headers if name.lower() == b"content-length"), -1)


def install_bounded_bodies(app: Quart) -> None:
    """Give `app` such bodies. MAX_CONTENT_LENGTH is lifted: each view that reads a body sets its own limit."""
    app.request_class = BoundedRequest
    app.asgi_http_class = BoundedConnection
    app.config["MAX_CONTENT_LENGTH"] = None
