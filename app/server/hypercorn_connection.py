"""The one class of Hypercorn's that is replaced: its connection, whose writes are coalesced here.

Hypercorn 0.18 has no setting for the class; the range of its versions in pyproject.toml ends before the next minor one.
"""

import asyncio
from typing import cast

from hypercorn.asyncio import run
from hypercorn.asyncio.tcp_server import TCPServer
from hypercorn.asyncio.worker_context import WorkerContext
from hypercorn.config import Config
from hypercorn.typing import AppWrapper, LifespanState

from app.server.coalescing import CoalescingTransport


class Connection(TCPServer):
    """A connection that writes once in a turn of the event loop, and ends when its client closes it."""

    def __init__(
        self,
        app: AppWrapper,
        loop: asyncio.AbstractEventLoop,
        config: Config,
        context: WorkerContext,
        state: LifespanState,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        transport = cast(asyncio.Transport, CoalescingTransport(loop, writer.transport))
        coalescing_writer = asyncio.StreamWriter(transport, transport.get_protocol(), reader, loop)
        super().__init__(app, loop, config, context, state, reader, coalescing_writer)
        self._original_writer = writer  # closes the connection when it is collected

    async def _read_data(self) -> None:
        await super()._read_data()
        # Hypercorn would keep a connection that the client has closed, and its descriptor, until its idle time is over.
        await self.idle_task.stop()


def coalesce_writes() -> None:
    """Have Hypercorn handle connections by the class above."""
    vars(run)["TCPServer"] = Connection
