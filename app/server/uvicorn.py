"""Uvicorn with httptools, an optional server: it parses HTTP in C and needs about half of Hypercorn's CPU."""

import asyncio
import socket
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import Any, cast

from quart import Quart
from uvicorn import Config, Server
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from app.server.coalescing import CoalescingTransport
from app.server.options import (
    BACKLOG,
    KEEP_ALIVE_SECONDS,
    MAX_HEADER_BYTES,
    LifespanFailed,
    ServerOptions,
    UntilStopped,
)


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

    _head_bytes = 0
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
        self._in_head, self._head_bytes = True, 0
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._in_head = False
        super().on_headers_complete()


def _config(app: Quart, options: ServerOptions) -> Config:
    return Config(
        app,
        http=_Protocol,
        ws="wsproto",
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
