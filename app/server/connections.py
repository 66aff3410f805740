"""Hypercorn's handling of a connection, made for many that are open and silent.

Hypercorn 0.18 has no settings for any of this. What is replaced are its smallest parts; each has the methods of the one
in whose place it stands.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, cast

from hypercorn.asyncio.task_group import TaskGroup, _handle
from hypercorn.asyncio.tcp_server import TCPServer
from hypercorn.asyncio.worker_context import WorkerContext
from hypercorn.config import Config
from hypercorn.typing import AppWrapper, ASGIReceiveEvent, ASGISendEvent, LifespanState, Scope

from app.limits import LeanEvent
from app.server.coalescing import CoalescingTransport


class Flag:
    """Hypercorn's event."""

    __slots__ = ("_mark",)

    def __init__(self) -> None:
        self._mark = LeanEvent()

    async def set(self) -> None:
        self._mark.set()

    async def clear(self) -> None:
        self._mark.clear()

    async def wait(self) -> None:
        await self._mark.wait()

    def is_set(self) -> bool:
        return self._mark.is_set()


class Context(WorkerContext):
    """What the connections of a server share."""

    event_class = Flag

    def __init__(self, max_requests: int | None) -> None:
        super().__init__(max_requests)
        self.idle: set[IdleTime] = set()
        self.terminated = _End(self.idle)


class _End(Flag):
    """The server's end, which is that of all connections on which nothing goes on."""

    def __init__(self, idle: set["IdleTime"]) -> None:
        super().__init__()
        self._idle = idle

    async def set(self) -> None:
        await super().set()
        for each in tuple(self._idle):
            each.end()


class Connection(TCPServer):
    """One connection. Its writes are joined, and the time it may be idle is a timer."""

    context: Context

    def __init__(
        self,
        app: AppWrapper,
        loop: asyncio.AbstractEventLoop,
        config: Config,
        context: Context,
        state: LifespanState,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        transport = CoalescingTransport(loop, cast(asyncio.Transport, writer.transport))
        joined = asyncio.StreamWriter(transport, transport.get_protocol(), reader, loop)
        super().__init__(app, loop, config, context, state, reader, joined)
        self._writer_below = writer  # which would close the connection if nobody held it
        self.idle_task = IdleTime(self)  # type: ignore[assignment]

    def end(self) -> None:
        """Close the connection, in a task of its own."""
        self._task_group.spawn(self._initiate_server_close)

    async def _close(self) -> None:
        await self.idle_task.stop()  # what would end it from here on comes too late
        await super()._close()


class IdleTime:
    """Ends a connection that is idle for too long, or when the server ends.

    Hypercorn has a task for that, with another in it, which it makes and cancels anew for each request.
    """

    __slots__ = ("_connection", "_timer")

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._timer: asyncio.TimerHandle | None = None

    async def restart(self, _task_group: TaskGroup, _action: Callable[..., Any]) -> None:
        connection = self._connection
        self._cancel()
        if connection.context.terminated.is_set():
            connection.end()
            return
        self._timer = connection.loop.call_later(connection.config.keep_alive_timeout, self.end)
        connection.context.idle.add(self)

    async def stop(self) -> None:
        self._cancel()

    def end(self) -> None:
        self._cancel()
        self._connection.end()

    def _cancel(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
            self._connection.context.idle.discard(self)


class Tasks(TaskGroup):
    """The tasks of a connection."""

    async def spawn_app(
        self, app: AppWrapper, config: Config, scope: Scope, send: Callable[[ASGISendEvent | None], Awaitable[None]]
    ) -> Callable[[ASGIReceiveEvent], Awaitable[None]]:
        inbox = Inbox(config.max_app_queue_size)
        self.spawn(_handle, app, config, scope, inbox.get, send, _for_wsgi, _for_wsgi)
        return inbox.put


def _for_wsgi(*_: Any) -> None:
    raise NotImplementedError("Palaver is an ASGI application")


class Inbox:
    """What has come for an application, at most `most` events: asyncio's queue keeps four deques, of 3 KB."""

    __slots__ = ("_events", "_filled", "_most", "_room")

    def __init__(self, most: int) -> None:
        self._most = most
        self._events: list[ASGIReceiveEvent] = []
        self._filled = LeanEvent()
        self._room = LeanEvent()

    async def put(self, event: ASGIReceiveEvent) -> None:
        while len(self._events) >= self._most:
            self._room.clear()
            await self._room.wait()
        self._events.append(event)
        self._filled.set()

    async def get(self) -> ASGIReceiveEvent:
        while not self._events:
            self._filled.clear()
            await self._filled.wait()
        self._room.set()
        return self._events.pop(0)
