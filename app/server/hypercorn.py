"""Hypercorn: the server that is always there."""

import logging
import socket
from collections.abc import Sequence

import hypercorn.asyncio.run as hypercorn_run
from hypercorn.asyncio import serve as hypercorn_serve
from hypercorn.asyncio import tcp_server
from hypercorn.config import Config
from hypercorn.protocol import ws_stream
from hypercorn.utils import LifespanFailureError
from quart import Quart

from app.server.connections import Connection, Context, Tasks
from app.server.options import (
    BACKLOG,
    KEEP_ALIVE_SECONDS,
    MAX_HEADER_BYTES,
    LifespanFailed,
    ServerOptions,
    UntilStopped,
)

KEEP_ALIVE_REQUESTS = 100_000
READ_BYTES = 1024 * 1024


async def serve(
    app: Quart, sockets: Sequence[socket.socket], options: ServerOptions, until_stopped: UntilStopped
) -> None:
    """See app.server.options.Serve."""
    _refuse_compression()
    _take_our_parts()
    try:
        await hypercorn_serve(app, _config(sockets, options), shutdown_trigger=until_stopped)
    except LifespanFailureError as error:
        raise LifespanFailed(str(error)) from error
    except BaseExceptionGroup as group:
        # Hypercorn waits in a task group, which wraps the one error that there is.
        raise group.exceptions[0] from None


def _refuse_compression() -> None:
    """Agree to no WebSocket extension. Hypercorn 0.18 offers permessage-deflate, has no setting for it, and looks at a
    message's size when it is unfolded: 200 KB from a client were 200 MB here, and tokens are too short to gain."""
    vars(ws_stream)["server_extensions_handshake"] = lambda requested, supported: None


def _take_our_parts() -> None:
    """Have connections handled by our parts; and read what the system has, up to READ_BYTES. Hypercorn reads 64 KB at a
    time: each piece of an upload costs it an event, a message in a queue and two turns of the loop."""
    vars(hypercorn_run).update(TCPServer=Connection, WorkerContext=Context)
    vars(tcp_server).update(TaskGroup=Tasks, MAX_RECV=READ_BYTES)


def _config(sockets: Sequence[socket.socket], options: ServerOptions) -> Config:
    config = Config()
    # Hypercorn makes sockets of its own from the descriptors, which must then have no other owner.
    config.bind = [f"fd://{each.detach()}" for each in sockets]
    config.backlog = BACKLOG
    config.keep_alive_timeout = KEEP_ALIVE_SECONDS
    config.keep_alive_max_requests = KEEP_ALIVE_REQUESTS
    config.graceful_timeout = options.graceful
    config.h11_max_incomplete_size = MAX_HEADER_BYTES
    config.websocket_max_message_size = options.max_websocket_bytes
    config.include_server_header = False
    # Palaver logs requests itself, without query strings; what goes wrong in the server goes where all lines go.
    config.accesslog = None
    config.errorlog = logging.getLogger("hypercorn.server")
    config.errorlog.setLevel(logging.WARNING)
    return config
