"""A request without a body, between the server and the view."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any, cast

import pytest
from hypercorn.typing import ASGIReceiveEvent, ASGISendEvent, HTTPScope
from quart import Quart, Response, request

from app.edge.application import Application

END: Any = {"type": "http.request", "body": b"", "more_body": False}
LEFT: Any = {"type": "http.disconnect"}


class Connection:
    """What a server keeps of one request; `take` is what it does with a part of the answer."""

    def __init__(self, app: Quart, path: str, *headers: tuple[bytes, bytes], http_version: str = "1.1") -> None:
        self.received: asyncio.Queue[ASGIReceiveEvent] = asyncio.Queue()
        self.sent: list[Any] = []
        self._app = app
        self._scope = cast(
            HTTPScope,
            {
                "type": "http",
                "asgi": {"spec_version": "2.1", "version": "3.0"},
                "http_version": http_version,
                "method": "POST" if path == "/body" else "GET",
                "scheme": "http",
                "path": path,
                "raw_path": path.encode(),
                "query_string": b"",
                "root_path": "",
                "headers": [(b"host", b"x"), *headers],
                "client": ("127.0.0.1", 1),
                "server": ("127.0.0.1", 2),
                "extensions": {},
                "state": {},
            },
        )

    def handle(self, *messages: ASGIReceiveEvent) -> asyncio.Task[None]:
        for message in messages:
            self.received.put_nowait(message)
        return asyncio.create_task(self._app(self._scope, self.received.get, self._send))

    async def _send(self, event: ASGISendEvent) -> None:
        self.sent.append(event)


class Views:
    """An application, and what its views have come to."""

    def __init__(self) -> None:
        self.began = asyncio.Event()
        self.ended: list[str] = []
        self.app = Application("tests")
        self.app.get("/quick")(self.quick)
        self.app.get("/waiting")(self.waiting)
        self.app.get("/stream")(self.stream)
        self.app.post("/body")(self.body)

    async def quick(self) -> str:
        self.ended.append("quick")
        return "quick"

    async def waiting(self) -> str:
        self.began.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.ended.append("waiting")
        return ""

    async def stream(self) -> Response:
        async def pieces() -> AsyncIterator[bytes]:
            try:
                while True:
                    yield b"piece"
                    await asyncio.sleep(0)
            finally:
                self.ended.append("stream")

        return Response(pieces())

    async def body(self) -> bytes:
        self.began.set()
        return cast(bytes, await request.get_data())


@pytest.fixture
async def views() -> Views:
    return Views()


@pytest.mark.parametrize("http_version", ["1.0", "1.1", "2"])
async def test_a_view_ends_when_the_sender_leaves(views: Views, http_version: str) -> None:
    connection = Connection(views.app, "/waiting", http_version=http_version)
    handling = connection.handle(END)
    await views.began.wait()
    connection.received.put_nowait(LEFT)

    await asyncio.wait_for(handling, 5)
    assert (views.ended, connection.sent) == (["waiting"], [])


async def test_a_stream_ends_when_the_reader_leaves(views: Views) -> None:
    connection = Connection(views.app, "/stream")
    handling = connection.handle(END)
    while len(connection.sent) < 5:
        await asyncio.sleep(0)
    connection.received.put_nowait(LEFT)

    await asyncio.wait_for(handling, 5)
    assert views.ended == ["stream"]


@pytest.mark.parametrize(
    ("http_version", "header"),
    [("1.1", (b"content-length", b"6")), ("1.1", (b"transfer-encoding", b"chunked")), ("2", (b"x-none", b""))],
)
async def test_a_view_begins_before_its_body_has_come(
    views: Views, http_version: str, header: tuple[bytes, bytes]
) -> None:
    connection = Connection(views.app, "/body", header, http_version=http_version)
    handling = connection.handle()
    await asyncio.wait_for(views.began.wait(), 5)
    for piece in (b"abc", b"def"):
        connection.received.put_nowait({"type": "http.request", "body": piece, "more_body": True})
    connection.received.put_nowait(END)

    await asyncio.wait_for(handling, 5)
    assert b"".join(each.get("body", b"") for each in connection.sent) == b"abcdef"
