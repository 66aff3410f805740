"""What the ASGI servers have in common: how long they wait, how much they take, and how they are told to stop."""

import socket
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from quart import Quart

ServerName = Literal["hypercorn", "uvicorn"]
"""The module in this package; all but Hypercorn are extras of that name."""

BACKLOG = 1024
# Longer than the minute for which proxies and client pools usually keep a connection, so that they let go first.
KEEP_ALIVE_SECONDS = 75.0
MAX_HEADER_BYTES = 64 * 1024

UntilStopped = Callable[[], Awaitable[object]]
"""Awaited once connections are answered; when it returns, the server stops."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerOptions:
    """What differs from one use to another. What is still open when the runs have ended gets `graceful` seconds."""

    max_websocket_bytes: int
    graceful: float = 5.0


class LifespanFailed(Exception):
    """The application could not start or end in good order."""


Serve = Callable[[Quart, Sequence[socket.socket], ServerOptions, UntilStopped], Coroutine[Any, Any, None]]
"""Answers connections to the listening sockets, which it closes, until the last argument returns.

Raises LifespanFailed, and what the last argument raises.
"""
