"""One task for each MCP server: it connects, keeps the list of tools up to date, and connects again after a loss."""

import asyncio
import math
import random
import time
from collections.abc import Awaitable, Callable, Container, Mapping, Sequence
from contextlib import suppress
from contextvars import Context
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import anyio
import msgspec
import structlog

from app.files.service import FileService
from app.tools.mcp.models import ServerSpec, ServerState
from app.tools.mcp.naming import tool_names
from app.tools.models import CallContext, Tool, ToolError, ToolResult, ToolSpec, matches

if TYPE_CHECKING:
    from mcp_types import Tool as ListedTool

    from app.tools.mcp.connection import Connection

REFRESH_SECONDS: Final = 60.0
RELIST_SECONDS: Final = 0.2
"""Changes within this time are one: servers tell of each tool that they add."""
LISTEN_AGAIN_SECONDS: Final = 30.0
FIRST_PAUSE_SECONDS: Final = 0.5
MAX_PAUSE_SECONDS: Final = 60.0
STEADY_SECONDS: Final = 60.0
"""A connection that lasted so long ends a row of failures."""
IDLE_SECONDS: Final = 1.0
CLOSE_SECONDS: Final = 4.0
KILL_SECONDS: Final = 8.0
"""The SDK asks a process to end, then ends it, and waits a few seconds at each step."""

MAX_DESCRIPTION_CHARS: Final = 4_000
MAX_SCHEMA_BYTES: Final = 64 * 1024

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class McpTool:
    """A tool of a server; `own_name` is the server's name for it."""

    spec: ToolSpec
    own_name: str
    timeout_seconds: float
    supervisor: "Supervisor"

    async def call(self, arguments: Mapping[str, Any], context: CallContext) -> ToolResult:
        return await self.supervisor.call(self.own_name, arguments, context)


class Supervisor:
    """A server's connection, from its start to `close`. Everything of the SDK is entered and left in its one task."""

    def __init__(
        self,
        spec: ServerSpec,
        files: FileService,
        load_sdk: Callable[[], Awaitable[None]],
        reserved: Container[str] = (),
        problem: str | None = None,
    ) -> None:
        """Begin to connect, unless the server is disabled or has a `problem` that only its owner can solve."""
        self.spec = spec
        self.error = problem
        self._logged_error: str | None = None
        self.state = ServerState.CONNECTING if spec.enabled else ServerState.DISABLED
        if problem is not None:
            self.state = ServerState.FAILED
        self._files = files
        self._load_sdk = load_sdk
        self._reserved = reserved
        self._tools: Sequence[McpTool] = ()
        self._connection: Connection | None = None
        self._scope = anyio.CancelScope()
        self._closing = asyncio.Event()
        self._is_legacy = False
        self._hurry = asyncio.Event()  # somebody waits for a connection
        self._stale = asyncio.Event()  # the list, or the connection itself, may be no longer what it was
        self._connected = asyncio.Event()
        self._settled = asyncio.Event()
        self._relisting: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[None] | None = None
        if self.state is ServerState.CONNECTING:
            # In a context of its own: this one may be of the request that adds the server.
            self._task = asyncio.create_task(self._run(), context=Context())

    @property
    def tools(self) -> Sequence[Tool]:
        """The tools that can be called now."""
        return () if self._connection is None else self._tools

    async def call(self, own_name: str, arguments: Mapping[str, Any], context: CallContext) -> ToolResult:
        """Call a tool; once more, on a new connection, where the server has not begun to carry the call out."""
        from app.tools.mcp.connection import NotCarriedOut
        from app.tools.mcp.results import tool_result

        reason = ""
        for _ in range(2):
            connection = await self._until_connected()
            try:
                result = await connection.call(own_name, arguments)
            except NotCarriedOut as error:
                reason = str(error)
                self._drop(connection, reason)
            else:
                return await tool_result(result, self._files, context)
        raise ToolError(f"The MCP server {self.spec.name} cannot be used now: {self.spec.redacted(reason)}")

    async def check(self) -> None:
        """Ask the server for its tools now, and connect first if need be."""
        if self._task is None:
            return
        await self._load_sdk()
        from app.tools.mcp.connection import reason_of

        connection = self._connection
        if connection is not None:
            try:
                async with asyncio.timeout(self.spec.connect_timeout_seconds):
                    self._publish(await connection.list_tools())
            except Exception as error:  # noqa: BLE001 - whatever it is, it is the server's
                self._drop(connection, reason_of(error))
            return
        self._settled.clear()
        self._hurry.set()
        with suppress(TimeoutError):
            async with asyncio.timeout(self.spec.connect_timeout_seconds + 1):
                await self._settled.wait()

    async def close(self) -> None:
        """End the connection, and the server's process; takes CLOSE_SECONDS and KILL_SECONDS at most."""
        self._closing.set()
        if self._task is None:
            return
        if self._connection is None:
            self._scope.cancel()
        self._hurry.set()
        self._stale.set()
        _, unfinished = await asyncio.wait([self._task], timeout=CLOSE_SECONDS)
        if unfinished:
            self._scope.cancel()
            await asyncio.wait(unfinished, timeout=KILL_SECONDS)

    async def _run(self) -> None:
        pause = FIRST_PAUSE_SECONDS
        await self._load_sdk()
        if self._closing.is_set():
            return
        while True:
            start = time.monotonic()
            reason = await self._serve()
            if self._closing.is_set():
                return
            if time.monotonic() - start > STEADY_SECONDS:
                pause = FIRST_PAUSE_SECONDS
            self._fail(reason)
            self._hurry.clear()
            await _until(self._hurry, pause * random.uniform(0.5, 1.5))  # noqa: S311
            if self._closing.is_set():
                return
            pause = min(2 * pause, MAX_PAUSE_SECONDS)

    async def _serve(self) -> str:
        """Connect, and stay connected for as long as it lasts; returns why it ended."""
        from app.tools.mcp.connection import connect, reason_of

        reason, has_connected = "", False
        seconds = self.spec.connect_timeout_seconds
        with anyio.CancelScope(deadline=anyio.current_time() + seconds) as self._scope:
            try:
                async with connect(
                    self.spec, is_legacy=self._is_legacy, on_change=self._relist_soon, on_loss=self._stale.set
                ) as connection:
                    self._connect(connection, await connection.list_tools())
                    self._scope.deadline, has_connected = math.inf, True
                    try:
                        reason = await self._keep(connection)
                    except Exception as error:  # noqa: BLE001 - as below
                        reason = reason_of(error)
                    self._disconnect()
                    # Other calls learn for themselves that the session is lost, and are then made again.
                    await connection.until_idle(IDLE_SECONDS)
            except Exception as error:  # noqa: BLE001 - whatever it is, it is the server's, and must not end the task
                reason = reason or reason_of(error)
            finally:
                self._disconnect()
        is_late = self._scope.cancelled_caught and not self._closing.is_set()
        if not has_connected:
            self._is_legacy = is_late and not self._is_legacy
        return f"The server did not answer within {seconds:g} seconds" if is_late else reason

    async def _keep(self, connection: "Connection") -> str:
        """Keep the list of tools up to date; asking for it is how a loss is noticed."""
        async with anyio.create_task_group() as group:
            group.start_soon(self._listen, connection)
            while True:
                await _until(self._stale, REFRESH_SECONDS * random.uniform(0.8, 1.2))  # noqa: S311
                self._stale.clear()
                if self._closing.is_set() or self._connection is not connection:
                    break
                async with asyncio.timeout(self.spec.connect_timeout_seconds):
                    listed = await connection.list_tools()
                self._publish(listed)
            group.cancel_scope.cancel()
        return self.error or "The connection was lost"

    async def _listen(self, connection: "Connection") -> None:
        while connection.can_listen:
            await connection.listen(self._relist_soon)
            await asyncio.sleep(LISTEN_AGAIN_SECONDS)
            self._relist_soon()

    def _relist_soon(self) -> None:
        """Have the list read again, once for all changes of the next moment."""
        if self._relisting is None:
            self._relisting = asyncio.get_running_loop().call_later(RELIST_SECONDS, self._relist)

    def _relist(self) -> None:
        self._relisting = None
        self._stale.set()

    async def _until_connected(self) -> "Connection":
        """Return the connection; waits for it as long as connecting may take. Raises ToolError."""
        if self._connection is None:
            self._hurry.set()
            with suppress(TimeoutError):
                async with asyncio.timeout(self.spec.connect_timeout_seconds):
                    await self._connected.wait()
        if self._connection is None:
            raise ToolError(f"The MCP server {self.spec.name} is not connected: {self.error or 'it is starting'}")
        return self._connection

    def _connect(self, connection: "Connection", listed: "Sequence[ListedTool]") -> None:
        self._connection = connection
        self.state = ServerState.CONNECTED
        self.error = self._logged_error = None
        self._stale.clear()
        self._publish(listed)
        log.info("mcp_server_connected", server=self.spec.name, tools=len(self._tools))
        self._connected.set()
        self._settled.set()

    def _drop(self, connection: "Connection", reason: str) -> None:
        """Give up a connection that has proved dead; the task notices, and makes another."""
        if self._connection is connection:
            self.error = self.spec.redacted(reason)
            self._disconnect()
            self._stale.set()

    def _disconnect(self) -> None:
        self._connection = None
        self._connected.clear()
        if self.state is ServerState.CONNECTED:
            self.state = ServerState.CONNECTING

    def _fail(self, reason: str) -> None:
        error = self.spec.redacted(reason)
        if error != self._logged_error:
            log.warning("mcp_server_failed", server=self.spec.name, error=error)
        self.state = ServerState.FAILED
        self.error = self._logged_error = error
        self._settled.set()

    def _publish(self, listed: "Sequence[ListedTool]") -> None:
        """Make what the server lists the tools of this server; what has not changed stays the same object."""
        previous = {tool.own_name: tool for tool in self._tools}
        by_name = {tool.name: tool for tool in listed if not _needs_task(tool)}
        names = tool_names(self.spec.name, list(by_name), self._reserved)
        tools = []
        for name, tool in zip(names, by_name.values(), strict=True):
            if not (matches(tool.name, self.spec.tools) or matches(name, self.spec.tools)):
                continue
            parameters = {"type": "object", "properties": {}, **tool.input_schema}
            if len(msgspec.json.encode(parameters)) > MAX_SCHEMA_BYTES:
                log.warning("mcp_tool_left_out", server=self.spec.name, tool=name, reason="its schema is too large")
                continue
            description = (tool.description or tool.title or tool.name)[:MAX_DESCRIPTION_CHARS]
            spec = ToolSpec(name, description, parameters, self.spec.name)
            known = previous.get(tool.name)
            if known is None or known.spec != spec:
                known = McpTool(spec, tool.name, self.spec.call_timeout_seconds, self)
            tools.append(known)
        self._tools = tools


async def _until(event: asyncio.Event, seconds: float) -> None:
    """Wait for the event, for so long at most."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()


def _needs_task(tool: "ListedTool") -> bool:
    """Whether a tool can be called by the protocol's experimental tasks only."""
    return tool.execution is not None and tool.execution.task_support == "required"
