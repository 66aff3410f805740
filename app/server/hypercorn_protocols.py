"""Hypercorn's protocols with the bounds that it has no settings for; see ARCHITECTURE.md.

- HTTP/1.1: a head of any size is accepted if it comes in one piece, and a length beside a transfer coding is no reason
  to close; HTTP/2 is spoken in cleartext to whoever asks, which passes a proxy's rules by.
- HTTP/2: an idle connection has no end.
- WebSockets: all frames that have come are handled before anybody else gets a turn, and none is too many.
"""

import asyncio
from typing import Final, cast

import h11
from hypercorn import protocol
from hypercorn.config import Config
from hypercorn.events import Closed, Updated
from hypercorn.protocol.events import Body, Data, Event, StreamClosed
from hypercorn.protocol.h2 import H2Protocol
from hypercorn.protocol.h11 import H11Protocol
from hypercorn.protocol.ws_stream import WSStream
from hypercorn.typing import WebsocketAcceptEvent, WebsocketScope
from wsproto.connection import Connection
from wsproto.events import CloseConnection
from wsproto.utilities import RemoteProtocolError

from app.limits import Bounds, ByteLimit, Share
from app.server.descriptors import Connections, max_connections
from app.server.frames import (
    POLICY_VIOLATION,
    PROTOCOL_ERROR,
    SLICE_BYTES,
    TOO_MANY_FRAMES,
    CountedConnection,
    TooManyFrames,
)

SMALL_MESSAGE_BYTES: Final = 256 * 1024
"""A message of which more has come is counted, until its end."""
# Messages without an end that a key, and all keys together, may hold.
MESSAGES_EACH: Final = 4
MESSAGES_TOTAL: Final = 16
# Around a header's name and value.
_HEADER_SYNTAX_BYTES = 4


class BoundedConfig(Config):
    """Hypercorn's configuration, with what is bounded for all connections together.

    `messages` is the memory for long WebSocket messages whose end has not come.
    """

    def __init__(self, max_message_bytes: int) -> None:
        super().__init__()
        self.connections = Connections(max_connections())
        self.websocket_max_message_size = max_message_bytes
        self.messages = ByteLimit(Bounds(MESSAGES_EACH * max_message_bytes, MESSAGES_TOTAL * max_message_bytes))


class Http1(H11Protocol):
    """HTTP/1.1 alone, with exact bounds."""

    async def _check_protocol(self, event: h11.Request) -> None:
        """Ask for no other protocol: neither by `Upgrade: h2c`, which a server may ignore, nor by the preface."""

    async def _create_stream(self, request: h11.Request) -> None:
        if (status := _refusal(request, self.config.h11_max_incomplete_size)) is not None:
            await self._send_error_response(status)
            await self.send(Closed())
            return
        names = {name for name, _ in request.headers}
        if b"content-length" in names and b"transfer-encoding" in names:
            # RFC 9112, 6.1: what follows may be a request that a proxy took for this one's body.
            self.keep_alive_requests = self.config.keep_alive_max_requests
        await super()._create_stream(request)


class Http1Upgradable(Http1):
    """HTTP/1.1 that gives way to HTTP/2."""

    async def _check_protocol(self, event: h11.Request) -> None:
        await H11Protocol._check_protocol(self, event)


def _refusal(request: h11.Request, max_head_bytes: int) -> int | None:
    """The status that refuses a request's head; None for a good one."""
    size = len(request.target) + sum(len(name) + len(value) + _HEADER_SYNTAX_BYTES for name, value in request.headers)
    if size > max_head_bytes:
        return 431
    if request.method != request.method.upper():
        return 501  # methods are case-sensitive: a proxy that refuses GET admits get
    if request.http_version == b"2.0":
        return 505
    is_known_form = request.target.startswith((b"/", b"http://", b"https://")) or request.target == b"*"
    return None if is_known_form else 400


class Http2(H2Protocol):
    """HTTP/2 whose idle time begins with the connection."""

    async def initiate(self, headers: list[tuple[bytes, bytes]] | None = None, settings: bytes | None = None) -> None:
        await super().initiate(headers, settings)
        await self.send(Updated(idle=self.idle))


class WebSocket(WSStream):
    """A WebSocket whose frames are handled in slices, between which everybody else has a turn."""

    config: BoundedConfig
    _memory: Share | None = None

    async def _accept(self, message: WebsocketAcceptEvent) -> None:
        await super()._accept(message)
        self.connection = cast(Connection, CountedConnection(self.connection, self.context.time))

    async def handle(self, event: Event) -> None:
        if not (isinstance(event, Body | Data) and self.handshake.accepted):
            await super().handle(event)
            return
        try:
            for start in range(0, len(event.data), SLICE_BYTES):
                if self.closed:
                    return
                await self._hold_memory()
                await super().handle(Data(self.stream_id, event.data[start : start + SLICE_BYTES]))
                await asyncio.sleep(0)
        except TooManyFrames:
            await self._end(POLICY_VIOLATION, TOO_MANY_FRAMES)
        except RemoteProtocolError:
            await self._end(PROTOCOL_ERROR, None)

    async def _hold_memory(self) -> None:
        """Wait until a long message may be held whose end has not come."""
        if self._memory is None and self.buffer.length > SMALL_MESSAGE_BYTES:
            self._memory = await self.config.messages.take(_key_of(self.scope), self.config.websocket_max_message_size)
        elif self._memory is not None and self.buffer.length == 0:
            self._memory.release()
            self._memory = None

    async def _end(self, code: int, reason: str | None) -> None:
        await self._send_wsproto_event(CloseConnection(code=code, reason=reason))
        await self.send(StreamClosed(stream_id=self.stream_id))


def _key_of(scope: WebsocketScope) -> str:
    """What tells callers from one another before a key is looked up."""
    return repr([value for name, value in scope["headers"] if name in (b"x-api-key", b"authorization")])


def install_protocols(*, cleartext_http2: bool) -> None:
    """Have Hypercorn speak by these classes."""
    vars(protocol)["H11Protocol"] = Http1Upgradable if cleartext_http2 else Http1
    vars(protocol)["H2Protocol"] = Http2
    vars(protocol.h11)["WSStream"] = vars(protocol.h2)["WSStream"] = WebSocket
