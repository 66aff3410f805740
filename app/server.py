"""One server process: the addresses it listens on, and its life between the start and the signal that ends it."""

import asyncio
import errno
import gc
import ipaddress
import logging
import signal
import socket
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

import uvloop
from hypercorn.asyncio import serve as hypercorn_serve
from hypercorn.asyncio import tcp_server
from hypercorn.config import Config
from hypercorn.protocol import ws_stream
from quart import Quart

BACKLOG = 1024
# Longer than the minute for which proxies and client pools usually keep a connection, so that they let go first.
KEEP_ALIVE_SECONDS = 75.0
KEEP_ALIVE_REQUESTS = 100_000
MAX_HEADER_BYTES = 64 * 1024
READ_BYTES = 1024 * 1024
# How many new objects the collector waits for before it looks at them, and how many such looks before it looks at older
# ones too. Nearly all that a request makes is freed by its last reference: at Python's 700 objects the collector ran
# several times a request and took an eighth of its time.
GC_THRESHOLDS = (20_000, 20, 20)
# What is still open when the runs have ended gets this long to finish.
GRACEFUL_SECONDS = 5.0


class CannotServe(Exception):
    """The server cannot start; the text is one line for the operator."""


@dataclass(frozen=True, slots=True)
class Address:
    """One address that the host's name stands for; `target` is what `bind` takes."""

    family: int
    target: tuple[Any, ...]

    @property
    def is_loopback(self) -> bool:
        return ipaddress.ip_address(str(self.target[0]).partition("%")[0]).is_loopback


def resolve(host: str, port: int) -> list[Address]:
    """Every address to listen on. Raises CannotServe for a name that is unknown."""
    if not host.strip():
        raise CannotServe("The host is empty; 0.0.0.0 listens on all addresses")
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError):
        raise CannotServe(f"Cannot listen on {host}: no such host") from None
    return list(dict.fromkeys(Address(family, target) for family, _, _, _, target in found))


def listen(addresses: Sequence[Address]) -> list[socket.socket]:
    """A listening socket for each address, all on one port. Raises CannotServe when there is none.

    An address of a family that this machine does not have is left out if another can be had: `localhost` stands for
    an IPv6 address too, and many containers have no IPv6.
    """
    sockets: list[socket.socket] = []
    missing: OSError | None = None
    for address in addresses:
        host, port, *rest = address.target
        if port == 0 and sockets:
            port = sockets[0].getsockname()[1]
        try:
            sockets.append(_listen(address.family, (host, port, *rest)))
        except OSError as error:
            if error.errno in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT) and len(addresses) > 1:
                missing = error
                continue
            for opened in sockets:
                opened.close()
            raise CannotServe(_why_not(host, port, error)) from error
    if not sockets:
        host, port = addresses[0].target[:2]
        raise CannotServe(_why_not(host, port, missing or OSError())) from missing
    return sockets


def _listen(family: int, target: tuple[Any, ...]) -> socket.socket:
    # Listening at once, and not when the application is ready, makes a port in use show itself at once too.
    return socket.create_server(
        target, family=family, backlog=BACKLOG, dualstack_ipv6=target[0] == "::" and socket.has_dualstack_ipv6()
    )


def _why_not(host: str, port: int, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"Port {port} on {host} is in use: stop what listens there, or choose another with --port"
    if error.errno == errno.EACCES:
        return f"Not allowed to listen on port {port} of {host}: choose one above 1023 with --port"
    if error.errno == errno.EADDRNOTAVAIL:
        return f"Cannot listen on {host}: not an address of this machine"
    return f"Cannot listen on {host}, port {port}: {error.strerror}"


def run(
    app: Quart,
    sockets: Sequence[socket.socket],
    *,
    max_websocket_bytes: int,
    on_ready: Callable[[], Awaitable[None]],
    on_stop: Callable[[], Awaitable[None]],
) -> None:
    """Serve `app` on the sockets until SIGTERM or SIGINT; a second signal ends the process where it is.

    `on_ready` runs when connections are answered; `on_stop` when the signal has come, before the listening sockets are
    closed and what is still open gets GRACEFUL_SECONDS. Raises what they raise, and LifespanFailureError.
    """
    _refuse_compression()
    _read_more_at_once()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        try:
            runner.run(_serve(app, _config(sockets, max_websocket_bytes), on_ready, on_stop))
        except BaseExceptionGroup as group:
            # Hypercorn waits in a task group, which wraps the one error that there is.
            raise group.exceptions[0] from None


async def _serve(
    app: Quart,
    config: Config,
    on_ready: Callable[[], Awaitable[None]],
    on_stop: Callable[[], Awaitable[None]],
) -> None:
    loop = asyncio.get_running_loop()
    asked = asyncio.Event()
    signals = (signal.SIGTERM, signal.SIGINT)

    def ask() -> None:
        asked.set()
        for each in signals:
            loop.remove_signal_handler(each)

    for each in signals:
        loop.add_signal_handler(each, ask)

    async def until_stopped() -> None:
        # Hypercorn waits for this once it accepts connections.
        await on_ready()
        # What the start has left behind stays; the collector need not walk through it ever again.
        gc.collect()
        gc.freeze()
        gc.set_threshold(*GC_THRESHOLDS)
        await asked.wait()
        await on_stop()

    await hypercorn_serve(app, config, shutdown_trigger=until_stopped)


def _refuse_compression() -> None:
    """Agree to no WebSocket extension. Hypercorn 0.18 offers permessage-deflate, has no setting for it, and looks at a
    message's size when it is unfolded: 200 KB from a client were 200 MB here, and tokens are too short to gain."""
    vars(ws_stream)["server_extensions_handshake"] = lambda requested, supported: None


def _read_more_at_once() -> None:
    """Take what the system has, up to READ_BYTES. Hypercorn 0.18 takes 64 KB at a time, and has no setting for it: each
    piece of an upload costs it an event, a message in a queue and two turns of the loop."""
    vars(tcp_server)["MAX_RECV"] = READ_BYTES


def _config(sockets: Sequence[socket.socket], max_websocket_bytes: int) -> Config:
    config = Config()
    # Hypercorn makes sockets of its own from the descriptors, which must then have no other owner.
    config.bind = [f"fd://{each.detach()}" for each in sockets]
    config.backlog = BACKLOG
    config.keep_alive_timeout = KEEP_ALIVE_SECONDS
    config.keep_alive_max_requests = KEEP_ALIVE_REQUESTS
    config.graceful_timeout = GRACEFUL_SECONDS
    config.h11_max_incomplete_size = MAX_HEADER_BYTES
    config.websocket_max_message_size = max_websocket_bytes
    config.include_server_header = False
    # Palaver logs requests itself, without query strings; what goes wrong in the server goes where all lines go.
    config.accesslog = None
    config.errorlog = logging.getLogger("hypercorn.error")
    config.errorlog.setLevel(logging.WARNING)
    return config
