"""The interface of the ASGI servers, and the limits that they share."""

import socket
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

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


class Serve(Protocol):
    """Answers connections to the listening sockets, and closes them, until `until_stopped` returns.

    Raises LifespanFailed, and what `until_stopped` raises.
    """

    async def __call__(
        self, app: Quart, sockets: Sequence[socket.socket], options: ServerOptions, until_stopped: UntilStopped
    ) -> None: ...
