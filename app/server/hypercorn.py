"""Hypercorn, the default server."""

import logging
import socket
from collections.abc import Sequence

from hypercorn.asyncio import serve as hypercorn_serve
from hypercorn.utils import LifespanFailureError
from quart import Quart

from app.server.hypercorn_connection import coalesce_writes
from app.server.hypercorn_protocols import BoundedConfig, install_protocols
from app.server.options import (
    BACKLOG,
    KEEP_ALIVE_SECONDS,
    MAX_HEADER_BYTES,
    LifespanFailed,
    ServerOptions,
    UntilStopped,
)
from app.server.websocket_compression import refuse_websocket_compression

KEEP_ALIVE_REQUESTS = 100_000


async def serve(
    app: Quart, sockets: Sequence[socket.socket], options: ServerOptions, until_stopped: UntilStopped
) -> None:
    """See app.server.options.Serve."""
    refuse_websocket_compression()
    install_protocols(cleartext_http2=options.cleartext_http2)
    coalesce_writes()
    try:
        await hypercorn_serve(app, _config(sockets, options), shutdown_trigger=until_stopped)
    except LifespanFailureError as error:
        raise LifespanFailed(error) from error
    except BaseExceptionGroup as group:
        # Hypercorn waits in a task group, which wraps its single error.
        raise group.exceptions[0] from None


def _config(sockets: Sequence[socket.socket], options: ServerOptions) -> BoundedConfig:
    config = BoundedConfig(options.max_websocket_bytes)
    # Hypercorn makes sockets of its own from the descriptors, which must then have no other owner.
    config.bind = [f"fd://{listener.detach()}" for listener in sockets]
    config.backlog = BACKLOG
    config.keep_alive_timeout = KEEP_ALIVE_SECONDS
    config.keep_alive_max_requests = KEEP_ALIVE_REQUESTS
    config.graceful_timeout = options.graceful
    config.h11_max_incomplete_size = MAX_HEADER_BYTES
    config.include_server_header = False
    # Palaver logs requests itself, without query strings. The server's own errors go to the common log.
    config.accesslog = None
    config.errorlog = logging.getLogger("hypercorn.server")
    config.errorlog.setLevel(logging.WARNING)
    return config
