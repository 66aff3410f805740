"""A streaming transport of httpx2 to an ASGI application in the same process.

httpx2's own `ASGITransport` collects the whole response first.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from typing import Any

import httpx2

Message = MutableMapping[str, Any]
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
AsgiApp = Callable[[Scope, Receive, Send], Awaitable[None]]

_END = "palaver.end"


class StreamingAsgiTransport(httpx2.AsyncBaseTransport):
    """One call of the application per request, in a task of its own.

    The application is at most one chunk ahead of its reader. The end of the response cancels it.
    """

    def __init__(self, app: AsgiApp) -> None:
        self._app = app

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        call = _Call(self._app, _scope(request), await request.aread())
        try:
            start = await call.start()
        except BaseException:
            await call.aclose()
            raise
        return httpx2.Response(start["status"], headers=start.get("headers", []), stream=call, request=request)


class _Call(httpx2.AsyncByteStream):
    """A call of the application, and its response."""

    def __init__(self, app: AsgiApp, scope: Scope, body: bytes) -> None:
        self._messages: asyncio.Queue[Message] = asyncio.Queue(maxsize=1)
        self._body: bytes | None = body
        self._task = asyncio.create_task(self._run(app, scope))

    async def start(self) -> Message:
        return await self._next("http.response.start")

    async def __aiter__(self) -> AsyncIterator[bytes]:
        more = True
        while more:
            message = await self._next("http.response.body")
            more = message.get("more_body", False)
            if body := message.get("body"):
                yield body

    async def aclose(self) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _next(self, kind: str) -> Message:
        message = await self._messages.get()
        if message["type"] != kind:
            raise httpx2.RemoteProtocolError(f"{message['type']} came in place of {kind}") from message.get("error")
        return message

    async def _run(self, app: AsgiApp, scope: Scope) -> None:
        error: Exception | None = None
        try:
            await app(scope, self._receive, self._messages.put)
        except Exception as exception:  # noqa: BLE001  # raised again where the response is read
            error = exception
        await self._messages.put({"type": _END, "error": error})

    async def _receive(self) -> Message:
        if self._body is None:
            await asyncio.Event().wait()  # for ever: a reader that leaves cancels the application
        body, self._body = self._body, None
        return {"type": "http.request", "body": body, "more_body": False}


def _scope(request: httpx2.Request) -> Scope:
    return {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": request.method,
        "scheme": request.url.scheme,
        "path": request.url.path,
        "raw_path": request.url.raw_path.split(b"?")[0],
        "query_string": request.url.query,
        "root_path": "",
        "headers": [(name.lower(), value) for name, value in request.headers.raw],
        "client": None,
        "server": (request.url.host, request.url.port),
    }
