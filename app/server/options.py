"""The interface of the ASGI servers, and the limits that they share."""

import socket
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from quart import Quart

from app.errors import OperatorError

ServerName = Literal["hypercorn", "uvicorn"]
"""The module in this package; all but Hypercorn are extras of that name."""

BACKLOG = 1024
# Longer than the minute for which proxies and client pools usually keep a connection, so that they close first.
KEEP_ALIVE_SECONDS = 75.0
MAX_HEADER_BYTES = 64 * 1024

UntilStopped = Callable[[], Awaitable[object]]
"""Awaited once connections are answered; the server stops when it returns."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerOptions:
    """Options of one server; `graceful` is the time for open connections when it stops, in seconds.

    `cleartext_http2` admits HTTP/2 without TLS, on Hypercorn.
    """

    max_websocket_bytes: int
    cleartext_http2: bool = False
    graceful: float = 5.0


class CannotServe(OperatorError):
    """A server that cannot start."""


class LifespanFailed(OperatorError):
    """An application that failed to start or to end."""

    def __init__(self, cause: Exception) -> None:
        super().__init__(f"Palaver could not start or end in good order: {cause}")


Serve = Callable[[Quart, Sequence[socket.socket], ServerOptions, UntilStopped], Coroutine[Any, Any, None]]
"""Answers connections to the listening sockets, which it closes, until the last argument returns.

Raises LifespanFailed, and what the last argument raises.
"""
