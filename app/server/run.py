"""The life of a server process, from its start to the signal that ends it."""

import asyncio
import gc
import importlib
import signal
import socket
from collections.abc import Awaitable, Callable, Sequence
from typing import cast

import uvloop
from quart import Quart

from app.server.descriptors import raise_descriptor_limit, watch_descriptors
from app.server.options import CannotServe, Serve, ServerName, ServerOptions

# New objects until the collector looks at them, and collections of the young until it looks at older ones too. Nearly
# all that a request allocates is freed by its last reference.
GC_THRESHOLDS = (20_000, 20, 20)


def run(
    app: Quart,
    sockets: Sequence[socket.socket],
    name: ServerName,
    options: ServerOptions,
    *,
    on_ready: Callable[[], Awaitable[None]],
    on_stop: Callable[[], Awaitable[None]],
) -> None:
    """Serve `app` on the sockets until SIGTERM or SIGINT; a second signal ends the process at once.

    `on_ready` runs when connections are answered. `on_stop` runs after the signal, before the listening sockets are
    closed and open connections get `options.graceful` seconds. Raises what they raise, CannotServe for a server that
    is not installed, and LifespanFailed.
    """
    serve = serve_of(name)
    raise_descriptor_limit()
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
    stop = asyncio.Event()
    signals = (signal.SIGTERM, signal.SIGINT)

    def request_stop() -> None:
        stop.set()
        for number in signals:
            loop.remove_signal_handler(number)

    for number in signals:
        loop.add_signal_handler(number, request_stop)

    async def until_stopped() -> None:
        await on_ready()
        # Objects of the start live as long as the process: no collection needs to look at them.
        gc.freeze()
        gc.set_threshold(*GC_THRESHOLDS)
        gc.enable()
        await stop.wait()
        await on_stop()

    watch = asyncio.create_task(watch_descriptors())
    try:
        await serve(app, sockets, options, until_stopped)
    finally:
        watch.cancel()
