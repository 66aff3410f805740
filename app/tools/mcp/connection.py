"""One connection to an MCP server through the SDK. This module imports it, and is imported when there is a server."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self, TextIO

import httpx2
from mcp import Client, MCPError, StdioServerParameters
from mcp.client import Transport
from mcp.client.stdio import stdio_client
from mcp.client.streamable_http import streamable_http_client
from mcp.client.subscriptions import SubscriptionLost
from mcp.shared.message import SessionMessage
from mcp_types import (
    METHOD_NOT_FOUND,
    CallToolRequest,
    CallToolRequestParams,
    CallToolResult,
    Implementation,
    InputRequiredResult,
    PaginatedRequestParams,
    Tool,
    ToolListChangedNotification,
)
from mcp_types.version import MODERN_PROTOCOL_VERSIONS
from pydantic import TypeAdapter, ValidationError

from app import __version__
from app.tools.mcp.http import MAX_ANSWER_BYTES, NOT_CARRIED_OUT, McpTransport
from app.tools.mcp.models import ServerSpec
from app.tools.models import ToolError

MAX_PAGES: Final = 100
MAX_LISTED: Final = 1_000
SLACK_SECONDS: Final = 10.0
"""Longer than a call may take, so that its own limit ends it and tells the server so."""

_RESULTS: Final = TypeAdapter[CallToolResult | InputRequiredResult](CallToolResult | InputRequiredResult)


class ConnectionFailed(Exception):
    """A connection that is of no use any more, with the reason for people."""


class NotCarriedOut(Exception):
    """A call that did not reach the server: it may be made again on another connection."""


class Connection:
    """An open session. Calls may be made from any task, many at a time."""

    def __init__(self, spec: ServerSpec, client: Client) -> None:
        self._spec = spec
        self._client = client
        self._calls = 0
        self._idle = asyncio.Event()
        self._idle.set()

    async def list_tools(self) -> Sequence[Tool]:
        """List the tools, page by page, the first MAX_LISTED. Raises ConnectionFailed."""
        tools: list[Tool] = []
        cursor: str | None = None
        for _ in range(MAX_PAGES):
            try:
                page = await self._client.session.list_tools(params=PaginatedRequestParams(cursor=cursor))
            except MCPError as error:
                if error.code == METHOD_NOT_FOUND:
                    return ()
                raise ConnectionFailed(error.message) from None
            except (ValidationError, ValueError, RuntimeError):
                raise ConnectionFailed("The list of tools does not follow the protocol") from None
            tools += page.tools
            cursor = page.next_cursor
            if not cursor or len(tools) >= MAX_LISTED:
                break
        return tools[:MAX_LISTED]

    async def call(self, name: str, arguments: Mapping[str, Any]) -> CallToolResult:
        """Call a tool by the server's name for it. A cancellation is told to the server.

        Raises ToolError, NotCarriedOut. The result is not held against the schema that the server gave for it: the
        SDK does that in this process, with patterns that may take for ever.
        """
        self._calls += 1
        self._idle.clear()
        try:
            return await self._call(name, arguments)
        finally:
            self._calls -= 1
            if self._calls == 0:
                self._idle.set()

    async def until_idle(self, seconds: float) -> None:
        """Wait until no call goes on, for so long at most."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._idle.wait()

    async def _call(self, name: str, arguments: Mapping[str, Any]) -> CallToolResult:
        request = CallToolRequest(params=CallToolRequestParams(name=name, arguments=dict(arguments)))
        seconds = self._spec.call_timeout_seconds + SLACK_SECONDS
        try:
            result = await self._client.session.send_request(request, _RESULTS, request_read_timeout_seconds=seconds)
        except MCPError as error:
            if error.code in NOT_CARRIED_OUT:
                raise NotCarriedOut(error.message) from None
            raise ToolError(self._spec.redacted(error.message) or "The MCP server refused the call") from None
        except (ValidationError, ValueError, RuntimeError):
            raise ToolError("The MCP server sent a result that does not follow the protocol") from None
        if isinstance(result, InputRequiredResult):
            raise ToolError("The tool asks for input of a person, which is not supported")
        return result

    @property
    def can_listen(self) -> bool:
        """Whether the server has a stream of changes; older servers notify without being asked."""
        tools = self._client.server_capabilities.tools
        is_modern = self._client.protocol_version in MODERN_PROTOCOL_VERSIONS
        return is_modern and tools is not None and bool(tools.list_changed)

    async def listen(self, on_change: Callable[[], None]) -> None:
        """Call `on_change` for each change of the list, until the stream of changes ends."""
        try:
            async with self._client.listen(tools_list_changed=True) as changes:
                async for _ in changes:
                    on_change()
        except (MCPError, SubscriptionLost, TimeoutError):
            return


@asynccontextmanager
async def connect(
    spec: ServerSpec, *, is_legacy: bool, on_change: Callable[[], None], on_loss: Callable[[], None]
) -> AsyncIterator[Connection]:
    """Open a session; `is_legacy` does without the question that a few older servers never answer.

    The context must be left in the task that entered it; what it raises is for `reason_of`. `on_change` is called
    when the list of tools may have changed, `on_loss` when the connection may be lost.
    """

    async def on_message(message: object) -> None:
        if isinstance(message, ToolListChangedNotification):
            on_change()

    async with AsyncExitStack() as stack:
        transport = await _open_http(spec, stack, on_loss) if spec.url else _open_stdio(spec, on_loss)
        client = Client(
            transport,
            mode="legacy" if is_legacy else "auto",
            cache=None,
            client_info=Implementation(name="palaver", version=__version__),
            message_handler=on_message,
            read_timeout_seconds=spec.connect_timeout_seconds,
        )
        await stack.enter_async_context(client)
        yield Connection(spec, client)


def reason_of(error: Exception) -> str:
    """Return what to tell people of an error that ended a connection; the SDK's task groups wrap them."""
    if isinstance(error, ExceptionGroup):
        return reason_of(error.exceptions[0])
    if isinstance(error, TimeoutError):
        return "The server did not answer in time"
    if isinstance(error, MCPError):
        return error.message
    if isinstance(error, ConnectionFailed):
        return str(error)
    if isinstance(error, OSError):
        return f"The command could not be started: {error.strerror or error}"
    return "The server does not follow the protocol"


async def _open_http(spec: ServerSpec, stack: AsyncExitStack, on_loss: Callable[[], None]) -> Transport:
    transport = McpTransport(
        allow_private=spec.allow_private,
        connect_seconds=spec.connect_timeout_seconds,
        answer_seconds=spec.call_timeout_seconds + SLACK_SECONDS,
        on_disturbance=on_loss,
    )
    client = httpx2.AsyncClient(
        transport=transport,
        headers={"User-Agent": f"Palaver/{__version__}", "Accept-Encoding": "identity", **spec.headers},
        timeout=None,  # the transport has its own
        trust_env=False,
    )
    await stack.enter_async_context(client)
    return streamable_http_client(spec.url, http_client=client, max_sse_event_size=MAX_ANSWER_BYTES)


@asynccontextmanager
async def _open_stdio(spec: ServerSpec, on_end: Callable[[], None]) -> AsyncIterator[Any]:
    """Start the command; its end is noticed when it comes, and not with the next request as the SDK does."""
    parameters = StdioServerParameters(
        command=spec.command,
        args=list(spec.args),
        env=dict(spec.env),
        cwd=spec.cwd,
        encoding_error_handler="replace",
    )
    # What a server writes to standard error may repeat its secrets.
    with _nowhere() as nowhere:
        async with stdio_client(parameters, errlog=nowhere) as (incoming, outgoing):
            yield _WatchedStream(incoming, on_end), outgoing


def _nowhere() -> TextIO:
    return Path(os.devnull).open("w", encoding="utf-8")


class _WatchedStream:
    """A stream of messages that calls `on_end` at its end."""

    def __init__(self, stream: Any, on_end: Callable[[], None]) -> None:
        self._stream = stream
        self._on_end = on_end

    async def receive(self) -> SessionMessage | Exception:
        return await self.__anext__()

    async def aclose(self) -> None:
        await self._stream.aclose()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> SessionMessage | Exception:
        try:
            message: SessionMessage | Exception = await self._stream.__anext__()
        except StopAsyncIteration:
            self._on_end()
            raise
        return message

    async def __aenter__(self) -> Self:
        await self._stream.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        result: bool | None = await self._stream.__aexit__(kind, error, trace)
        return result
