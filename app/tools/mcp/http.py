"""The network below the SDK's Streamable HTTP: public addresses, bounded answers, and failures as answers.

An exception from the network would end the whole session, with the calls of others. A failure is therefore an HTTP
answer whose body is a JSON-RPC error: the SDK hands it to the one request that failed.
"""

from collections.abc import AsyncIterator, Callable
from typing import Any, Final

import aiohttp
import httpx2
import msgspec

from app.egress import AddressRefusedError, connector

MAX_ANSWER_BYTES: Final = 32 * 1024**2
MAX_ERROR_BYTES: Final = 64 * 1024
MAX_CONNECTIONS: Final = 200
END_SESSION_SECONDS: Final = 2.0

# Codes of JSON-RPC's range for servers, which no server is known to use.
SESSION_LOST: Final = -32090
UNREACHABLE: Final = -32091
BROKEN: Final = -32092
NOT_CARRIED_OUT: Final = frozenset((SESSION_LOST, UNREACHABLE))
"""The codes of requests that no server has begun to carry out."""

SESSION_HEADER: Final = "mcp-session-id"
_UNBOUNDED_METHOD: Final = "subscriptions/listen"


class McpTransport(httpx2.AsyncBaseTransport):
    """Requests to one server; an answer comes whole within `answer_seconds`, but for streams of notifications.

    `on_disturbance` is called when such a stream ends, which may be the end of the server.
    """

    def __init__(
        self,
        *,
        allow_private: bool,
        connect_seconds: float,
        answer_seconds: float,
        on_disturbance: Callable[[], None],
    ) -> None:
        self._allow_private = allow_private
        self._connect_seconds = connect_seconds
        self._answer_seconds = answer_seconds
        self._on_disturbance = on_disturbance
        self._session: aiohttp.ClientSession | None = None

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        try:
            response = await self._open_session().request(
                request.method,
                str(request.url),
                headers=request.headers.multi_items(),
                data=await request.aread() or None,
                allow_redirects=False,
                timeout=aiohttp.ClientTimeout(total=self._seconds(request), sock_connect=self._connect_seconds),
            )
        except aiohttp.ClientConnectorError as error:
            if request.method == "GET":
                self._on_disturbance()
            if isinstance(error.os_error, AddressRefusedError):
                return _failure(request, UNREACHABLE, "The server is at a private address, which is not allowed")
            return _failure(request, UNREACHABLE, "The server could not be reached")
        except aiohttp.ConnectionTimeoutError:
            return _failure(request, UNREACHABLE, "The server could not be reached in time")
        except TimeoutError:
            return _failure(request, BROKEN, "The server did not answer in time", status=504)
        except (aiohttp.ClientError, ValueError, OSError):
            return _failure(request, BROKEN, "The connection to the server broke off")
        return await self._answer(request, response)

    async def aclose(self) -> None:
        if self._session is not None:
            await self._session.close()

    async def _answer(self, request: httpx2.Request, response: aiohttp.ClientResponse) -> httpx2.Response:
        if response.status < 300 and response.content_type == "text/event-stream":
            is_open_end = request.method == "GET"
            stream = _Stream(response, self._on_disturbance if is_open_end else None)
            return httpx2.Response(response.status, headers=_headers(response), stream=stream)
        try:
            body, is_whole = await _read(response, MAX_ANSWER_BYTES if response.status < 300 else MAX_ERROR_BYTES)
        except (aiohttp.ClientError, TimeoutError, OSError):
            return _failure(request, BROKEN, "The connection to the server broke off")
        if response.status < 400:
            if not is_whole:
                return _failure(request, BROKEN, f"The answer has more than {MAX_ANSWER_BYTES // 1024**2} MB")
            return httpx2.Response(response.status, headers=_headers(response), content=body)
        if _is_of_forgotten_session(request, response.status, body):
            return _failure(request, SESSION_LOST, "Session terminated", status=404)
        if isinstance(_member(body, "error"), dict):
            return httpx2.Response(response.status, headers=_headers(response), content=body)
        return _failure(request, BROKEN, f"The server answered with status {response.status}", status=response.status)

    def _seconds(self, request: httpx2.Request) -> float | None:
        if request.method == "DELETE":
            return END_SESSION_SECONDS
        is_stream = request.method == "GET" and "last-event-id" not in request.headers
        if is_stream or request.headers.get("mcp-method") == _UNBOUNDED_METHOD:
            return None
        return self._answer_seconds

    def _open_session(self) -> aiohttp.ClientSession:
        if self._session is None:  # a session needs the running loop
            self._session = aiohttp.ClientSession(
                connector=connector(allow_private=self._allow_private, limit=MAX_CONNECTIONS),
                cookie_jar=aiohttp.DummyCookieJar(),
                trust_env=False,  # a proxy would make the connection whose address is checked here
            )
        return self._session


class _Stream(httpx2.AsyncByteStream):
    """The body of an event stream, as it comes."""

    def __init__(self, response: aiohttp.ClientResponse, on_end: Callable[[], None] | None) -> None:
        self._response = response
        self._on_end = on_end

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            async for block in self._response.content.iter_any():
                yield block
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise httpx2.ReadError(str(error)) from error
        finally:
            if self._on_end is not None:
                self._on_end()

    async def aclose(self) -> None:
        self._response.release()


async def _read(response: aiohttp.ClientResponse, limit: int) -> tuple[bytes, bool]:
    """Read a body up to the limit; returns whether that is all of it."""
    blocks: list[bytes] = []
    size = 0
    try:
        async for block in response.content.iter_any():
            blocks.append(block)
            size += len(block)
            if size > limit:
                return b"".join(blocks)[:limit], False
    finally:
        response.release()
    return b"".join(blocks), True


def _headers(response: aiohttp.ClientResponse) -> list[tuple[bytes, bytes]]:
    """The headers, without those of the form in which the body came: aiohttp has unpacked it."""
    dropped = (b"content-encoding", b"content-length", b"transfer-encoding")
    return [(name, value) for name, value in response.raw_headers if name.lower() not in dropped]


def _is_of_forgotten_session(request: httpx2.Request, status: int, body: bytes) -> bool:
    """Whether the server does not know the session: the protocol wants 404 for that, and older servers send 400."""
    if SESSION_HEADER not in request.headers:
        return False
    return status == 404 or (status == 400 and b"session" in body.lower())


def _failure(request: httpx2.Request, code: int, message: str, *, status: int = 502) -> httpx2.Response:
    error = {"jsonrpc": "2.0", "id": _member(request.content, "id"), "error": {"code": code, "message": message}}
    return httpx2.Response(
        status, headers={"content-type": "application/json"}, content=msgspec.json.encode(error), request=request
    )


def _member(body: bytes, name: str) -> Any:
    try:
        values = msgspec.json.decode(body)
    except (msgspec.DecodeError, RecursionError):
        return None
    return values.get(name) if isinstance(values, dict) else None
