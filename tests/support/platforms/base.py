"""What all stand-ins for platforms have in common: a server on loopback, a script of faults, and what people see."""

import asyncio
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import aiohttp
from aiohttp import web

FaultKind = Literal[
    "rate_limited",  # the platform's own form of "come back in `after` seconds"
    "refused",  # this message, for good
    "gone",  # the bot was blocked or removed
    "unauthorized",  # the token is not accepted
    "bad_format",  # the formatting is refused, the text is not
    "server_error",  # 5xx, and the message was not taken
    "server_error_after",  # 5xx, and the message was taken all the same
    "hang_after",  # the message is taken, and no answer comes
    "close_after",  # the message is taken, and the connection cut
    "close_before",  # the connection is cut, and the message not taken
]
HANG_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Fault:
    """What happens to one visible call, instead of the ordinary."""

    kind: FaultKind
    after: float = 0.3


@dataclass(slots=True)
class Seen:
    """One message that people see in a chat; `kind` is text, image, record, video or file."""

    session: str
    id: str
    text: str = ""
    kind: str = "text"
    filename: str | None = None
    content: bytes = b""
    reply_to: str | None = None
    edits: int = 0
    extra: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Written:
    """A message that somebody writes; `at` is when, in seconds. See `FakePlatform.receive`."""

    text: str
    session: str
    sender: str
    group: bool
    addressed: bool
    is_bot: bool
    at: float
    quote: Seen | None
    file: tuple[str, bytes] | None
    times: int


class FakePlatform(ABC):
    """A platform on loopback.

    A kind sets the class variables, registers its routes, and calls `fault` once for each visible call. `session` is a
    chat that exists, `group` another one. `limit` is the longest text, and `unit` how it is counted.
    """

    adapter: ClassVar[str]
    session: ClassVar[str]
    group: ClassVar[str]
    limit: ClassVar[int]
    unit: ClassVar[Literal["chars", "utf16", "utf8"]] = "chars"
    bad_session: ClassVar[str | None] = None
    """A session id that the platform cannot have; None if there is none."""
    takes_media: ClassVar[bool] = True
    faults_missing: ClassVar[frozenset[FaultKind]] = frozenset({"bad_format"})
    """The faults that the platform does not have."""

    def __init__(self) -> None:
        self.messages: list[Seen] = []
        self.script: list[Fault | None] = []
        self.calls: list[tuple[str, Any]] = []
        self.arrived = asyncio.Event()
        self.typing = 0
        self.sockets: list[web.WebSocketResponse] = []
        self.port = 0
        self._number = 100

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def routes(self) -> list[web.RouteDef]:
        return []

    @asynccontextmanager
    async def serve(self) -> AsyncIterator[None]:
        """Serve the routes until the block ends."""
        app = web.Application(client_max_size=64 * 1024**2)
        app.add_routes(self.routes())
        runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", self.port)
        await site.start()
        self.port = runner.addresses[0][1]
        try:
            yield
        finally:
            await runner.cleanup()

    @abstractmethod
    def config(self) -> dict[str, Any]:
        """The settings of a bot that speaks with this stand-in."""

    async def receive(
        self,
        text: str,
        *,
        session: str | None = None,
        sender: str = "42",
        group: bool = False,
        addressed: bool = True,
        is_bot: bool = False,
        age_seconds: float = 0.0,
        quote: Seen | None = None,
        file: tuple[str, bytes] | None = None,
        times: int = 1,
    ) -> str:
        """Have somebody write a message, and report it to the bot `times` over; the message's id.

        `session` is the group or the private chat (None: `group` or `session`). `addressed` mentions the bot, `quote`
        replies to a message, `file` is a name and its bytes.
        """
        chat = session or (self.group if group else self.session)
        return await self.pass_on(
            Written(text, chat, sender, group, addressed, is_bot, time.time() - age_seconds, quote, file, times)
        )

    async def pass_on(self, written: Written) -> str:
        """Report a message to the bot; its id."""
        raise NotImplementedError

    @asynccontextmanager
    async def socket_of(self, request: web.Request) -> AsyncIterator[web.WebSocketResponse]:
        """Take a WebSocket, which is one of `sockets` until the block ends."""
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        self.sockets.append(socket)
        try:
            yield socket
        finally:
            if socket in self.sockets:
                self.sockets.remove(socket)

    @staticmethod
    async def post_to(url: str, body: bytes, **options: Any) -> tuple[int, bytes]:
        """Post JSON to a webhook; the answer's status and body."""
        headers = {"Content-Type": "application/json", **options.pop("headers", {})}
        async with (
            aiohttp.ClientSession() as client,
            client.post(url, data=body, headers=headers, **options) as response,
        ):
            return response.status, await response.read()

    async def until(self, is_so: Callable[[], bool], seconds: float = 15.0) -> None:
        """Wait until something is so."""
        async with asyncio.timeout(seconds):
            while not is_so():
                await asyncio.sleep(0.02)

    def seen(self, session: str | None = None) -> list[Seen]:
        """What people see in a chat, in its order."""
        return [message for message in self.messages if message.session == (session or self.session)]

    def texts(self, session: str | None = None) -> list[str]:
        return [message.text for message in self.seen(session)]

    def next_number(self) -> int:
        self._number += 1
        return self._number

    def next_fault(self, method: str, details: Any = None) -> Fault | None:
        """Note a visible call, and take the next fault of the script."""
        self.calls.append((method, details))
        self.arrived.set()
        return self.script.pop(0) if self.script else None

    async def failed_before(self, request: web.Request, fault: Fault | None) -> web.StreamResponse | None:
        """Fail before anything is taken, as any server can."""
        if fault is not None and fault.kind == "close_before":
            return await self.cut(request)
        if fault is not None and fault.kind == "server_error":
            return web.Response(status=502, text="<html>Bad Gateway</html>")
        return None

    async def lost(self, request: web.Request, fault: Fault | None) -> web.StreamResponse | None:
        """Lose the answer after the message was taken, as any server can."""
        if fault is not None and fault.kind == "hang_after":
            return await self.hang()
        if fault is not None and fault.kind == "close_after":
            return await self.cut(request)
        if fault is not None and fault.kind == "server_error_after":
            return web.Response(status=502, text="<html>Bad Gateway</html>")
        return None

    @staticmethod
    async def cut(request: web.Request) -> web.StreamResponse:
        """Cut the connection without an answer."""
        assert request.transport is not None
        request.transport.abort()
        return web.Response()

    @staticmethod
    async def hang() -> web.StreamResponse:
        await asyncio.sleep(HANG_SECONDS)
        return web.Response(status=504)


@asynccontextmanager
async def serving(fake: FakePlatform) -> AsyncIterator[FakePlatform]:
    """Serve a stand-in on a free port until the block ends."""
    async with fake.serve():
        yield fake
