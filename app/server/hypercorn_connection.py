"""The one class of Hypercorn's that is replaced: its connection, whose writes are coalesced here.

Hypercorn 0.18 has no setting for the class; the range of its versions in pyproject.toml ends before the next minor one.
"""

import asyncio
from typing import cast

import structlog
from hypercorn.asyncio import run
from hypercorn.asyncio.tcp_server import TCPServer
from hypercorn.asyncio.worker_context import WorkerContext
from hypercorn.typing import AppWrapper, LifespanState

from app.server.coalescing import CoalescingTransport
from app.server.hypercorn_protocols import BoundedConfig

log = structlog.get_logger(__name__)


class Connection(TCPServer):
    """A connection that writes once in a turn of the event loop, and ends when its client closes it."""

    config: BoundedConfig

    def __init__(
        self,
        app: AppWrapper,
        loop: asyncio.AbstractEventLoop,
        config: BoundedConfig,
        context: WorkerContext,
        state: LifespanState,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        transport = cast(asyncio.Transport, CoalescingTransport(loop, writer.transport))
        coalescing_writer = asyncio.StreamWriter(transport, transport.get_protocol(), reader, loop)
        super().__init__(app, loop, config, context, state, reader, coalescing_writer)
        self._original_writer = writer  # closes the connection when it is collected

    async def run(self) -> None:
        try:
            if self.config.connections.admit():
                await super().run()
            else:
                self.writer.transport.abort()
        except Exception as error:  # noqa: BLE001  # clients can bring about errors in the protocols' libraries
            log.warning("connection_dropped", error=_text_of(error))
        finally:
            self.config.connections.leave()

    async def _read_data(self) -> None:
        await super()._read_data()
        # Hypercorn would keep a connection that the client has closed, and its descriptor, until its idle time is over.
        await self.idle_task.stop()


def _text_of(error: BaseException) -> str:
    """The errors in a group, without their tracebacks."""
    if isinstance(error, BaseExceptionGroup):
        return "; ".join(map(_text_of, error.exceptions))
    return f"{type(error).__name__}: {error}"


def coalesce_writes() -> None:
    """Have Hypercorn handle connections by the class above."""
    vars(run)["TCPServer"] = Connection
