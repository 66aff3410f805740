"""The interface of the ASGI servers, and the limits that they share."""

import socket
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from quart import Quart

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
    """Options of one server; `graceful` is the time for open connections when it stops, in seconds."""

    max_websocket_bytes: int
    graceful: float = 5.0


class CannotServe(Exception):
    """The server cannot start; the text is one line for the operator."""


class LifespanFailed(Exception):
    """The application failed to start or to end."""


Serve = Callable[[Quart, Sequence[socket.socket], ServerOptions, UntilStopped], Coroutine[Any, Any, None]]
"""Answers connections to the listening sockets, which it closes, until the last argument returns.

Raises LifespanFailed, and what the last argument raises.
"""
