"""Uvicorn with httptools, an optional server: it parses HTTP in C and needs about half of Hypercorn's CPU."""

import asyncio
import socket
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import Any, cast

from quart import Quart
from uvicorn import Config, Server
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.protocols.websockets.wsproto_impl import WSProtocol
from wsproto import WSConnection
from wsproto.events import CloseConnection

from app.server.coalescing import CoalescingTransport
from app.server.descriptors import max_connections
from app.server.frames import POLICY_VIOLATION, SLICE_BYTES, TOO_MANY_FRAMES, CountedConnection, TooManyFrames
from app.server.options import (
    BACKLOG,
    KEEP_ALIVE_SECONDS,
    MAX_HEADER_BYTES,
    LifespanFailed,
    ServerOptions,
    UntilStopped,
)

PAUSE_SECONDS = 0.01


async def serve(
    app: Quart, sockets: Sequence[socket.socket], options: ServerOptions, until_stopped: UntilStopped
) -> None:
    """See app.server.options.Serve."""
    await _lifespan(app.startup())
    try:
        await _Server(_config(app, options), until_stopped).serve(list(sockets))
    finally:
        await _lifespan(app.shutdown())


async def _lifespan(step: Any) -> None:
    # Uvicorn itself would exit the process without the cause.
    try:
        await step
    except Exception as error:
        raise LifespanFailed(error) from error


class _Server(Server):
    """Runs until `until_stopped` returns; signals are handled by the caller."""

    def __init__(self, config: Config, until_stopped: UntilStopped) -> None:
        super().__init__(config)
        self._until_stopped = until_stopped

    async def main_loop(self) -> None:
        upkeep = asyncio.create_task(super().main_loop())
        try:
            await self._until_stopped()
        finally:
            self.should_exit = True
            await upkeep

    @contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield


class _Protocol(HttpToolsProtocol):
    """Coalesces writes, and bounds what Uvicorn does not: a request's head, and the wait for the first request."""

    _head_bytes = _header_bytes = 0
    _in_head = True

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as Uvicorn's own
        super().connection_made(cast(asyncio.Transport, CoalescingTransport(self.loop, transport)))
        self.timeout_keep_alive_task = self.loop.call_later(self.timeout_keep_alive, self.timeout_keep_alive_handler)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._in_head:
            self._head_bytes += len(data)
            if self._head_bytes > MAX_HEADER_BYTES and not self.transport.is_closing():
                self.send_400_response("The request's head is too large.")

    def on_message_begin(self) -> None:
        self._in_head, self._head_bytes, self._header_bytes = True, 0, 0
        super().on_message_begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        self._header_bytes += len(name) + len(value)
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._in_head = False
        if self._header_bytes > MAX_HEADER_BYTES:  # in one piece with its end
            self.send_400_response("The request's head is too large.")
        else:
            super().on_headers_complete()


class _WebSocket(WSProtocol):
    """Handles what has come in slices, between which everybody else has a turn, and bounds the number of frames."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as Uvicorn's own
        super().connection_made(transport)
        self._pending = bytearray()
        self.conn = cast(WSConnection, CountedConnection(self.conn, self.loop.time))

    def data_received(self, data: bytes) -> None:
        if not self._pending:
            self.loop.call_soon(self._handle_slice)
        self._pending += data
        self.transport.pause_reading()

    def _handle_slice(self) -> None:
        if self.disconnected:
            return
        if self.read_paused:  # the application has not taken the last message
            self.loop.call_later(PAUSE_SECONDS, self._handle_slice)
            return
        piece = bytes(self._pending[:SLICE_BYTES])
        del self._pending[:SLICE_BYTES]
        try:
            super().data_received(piece)
        except TooManyFrames:
            self.transport.write(self.conn.send(CloseConnection(code=POLICY_VIOLATION, reason=TOO_MANY_FRAMES)))
            self.queue.put_nowait({"type": "websocket.disconnect", "code": POLICY_VIOLATION, "reason": None})
            self.transport.close()
            return
        if self._pending:
            self.loop.call_soon(self._handle_slice)
        elif not self.read_paused and not self.transport.is_closing():
            self.transport.resume_reading()


def _config(app: Quart, options: ServerOptions) -> Config:
    return Config(
        app,
        http=_Protocol,
        ws=_WebSocket,
        limit_concurrency=max_connections(),
        ws_max_size=options.max_websocket_bytes,
        # A message may be a thousand times as long after decompression, and tokens are too short to gain.
        ws_per_message_deflate=False,
        ws_ping_interval=None,
        lifespan="off",
        interface="asgi3",
        backlog=BACKLOG,
        timeout_keep_alive=int(KEEP_ALIVE_SECONDS),
        timeout_graceful_shutdown=int(options.graceful),
        # A header does not prove who calls.
        proxy_headers=False,
        server_header=False,
        # Palaver logs requests itself. The server's own errors go to the common log.
        access_log=False,
        log_config=None,
        log_level="warning",
    )
