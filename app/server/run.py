"""One server process: the addresses it listens on, and its life between the start and the signal that ends it."""

import asyncio
import errno
import gc
import importlib
import ipaddress
import signal
import socket
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, cast

import uvloop
from quart import Quart

from app.server.options import BACKLOG, Serve, ServerName, ServerOptions

# How many new objects the collector waits for before it looks at them, and how many such looks before it looks at older
# ones too. Nearly all that a request makes is freed by its last reference.
GC_THRESHOLDS = (20_000, 20, 20)


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
    name: ServerName,
    options: ServerOptions,
    *,
    on_ready: Callable[[], Awaitable[None]],
    on_stop: Callable[[], Awaitable[None]],
) -> None:
    """Serve `app` on the sockets until SIGTERM or SIGINT; a second signal ends the process where it is.

    `on_ready` runs when connections are answered; `on_stop` when the signal has come, before the listening sockets are
    closed and what is still open gets `options.graceful` seconds. Raises what they raise, CannotServe for a server
    that is not installed, and LifespanFailed.
    """
    serve = serve_of(name)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_run(serve, app, sockets, options, on_ready, on_stop))


def serve_of(name: ServerName) -> Serve:
    """The server of that name. Raises CannotServe where it is not installed."""
    try:
        return cast(Serve, importlib.import_module(f"app.server.{name}").serve)
    except ModuleNotFoundError as error:
        raise CannotServe(f"{error.name} is not installed: pip install 'palaver[{name}]'") from None


async def _run(
    serve: Serve,
    app: Quart,
    sockets: Sequence[socket.socket],
    options: ServerOptions,
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
        await on_ready()
        # What the start has left behind stays; the collector need not walk through it, not even once.
        gc.freeze()
        gc.set_threshold(*GC_THRESHOLDS)
        gc.enable()
        await asked.wait()
        await on_stop()

    await serve(app, sockets, options, until_stopped)
