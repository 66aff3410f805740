"""The gateway protocol of Discord and of QQ's official bots: a WebSocket with heartbeats, whose sessions are resumed.

See https://discord.com/developers/docs/events/gateway; QQ's speaks the same op codes.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import aiohttp
import msgspec

from app.bots.adapters.outcomes import Refused, Unauthorized

HELLO_SECONDS = 20.0
CLOSE_TO_RESUME = 4900
"""A code of our own: with 1000 or 1001 the session would be over, and what happens meanwhile lost."""


class Op(IntEnum):
    DISPATCH = 0
    HEARTBEAT = 1
    IDENTIFY = 2
    RESUME = 6
    RECONNECT = 7
    INVALID_SESSION = 9
    HELLO = 10
    HEARTBEAT_ACK = 11


Take = Callable[[str, Any, Mapping[str, Any]], Awaitable[None]]


@dataclass(slots=True)
class GatewaySession:
    """What is needed to go on with a session over another connection."""

    id: str = ""
    sequence: int | None = None
    url: str = ""

    @classmethod
    def of(cls, checkpoint: Mapping[str, Any]) -> "GatewaySession":
        sequence = checkpoint.get("sequence")
        return cls(
            str(checkpoint.get("session") or ""),
            sequence if isinstance(sequence, int) else None,
            str(checkpoint.get("url") or ""),
        )

    @property
    def is_resumable(self) -> bool:
        return bool(self.id) and self.sequence is not None

    def checkpoint(self) -> dict[str, Any]:
        return {"session": self.id, "sequence": self.sequence, "url": self.url}

    def forget(self) -> None:
        self.id, self.sequence, self.url = "", None, ""


@dataclass(frozen=True, slots=True)
class Closing:
    """What the platform's close codes mean: in vain until the bot is changed, or the session cannot be resumed."""

    platform: str
    unauthorized: frozenset[int]
    refused: Mapping[int, str]
    session_over: frozenset[int]


class Gateway:
    """One connection. `take` is given each event, with the checkpoint to store with it; `alive` is called for any word.

    `identify` is the data of the message that begins a session, `token` that of one which resumes it.
    """

    def __init__(
        self,
        socket: aiohttp.ClientWebSocketResponse,
        session: GatewaySession,
        *,
        identify: Mapping[str, Any],
        token: str,
        closing: Closing,
        take: Take,
        alive: Callable[[], None],
    ) -> None:
        self._socket = socket
        self._session = session
        self._identify = identify
        self._token = token
        self._closing = closing
        self._take = take
        self._alive = alive
        self._is_answered = True

    async def run(self) -> None:
        """Speak until the connection ends. Raises Unauthorized and Refused when another is in vain."""
        try:
            async with asyncio.timeout(HELLO_SECONDS):
                hello = await self._receive()
            if hello is None or hello.get("op") != Op.HELLO:
                self._judge()
                raise ConnectionError("the gateway did not say hello")
            await self._begin()
            beating = asyncio.create_task(self._beat(float(hello["d"]["heartbeat_interval"]) / 1000))
            try:
                while (message := await self._receive()) is not None:
                    if not await self._handle(message):
                        return
            finally:
                beating.cancel()
            self._judge()
        finally:
            await self._socket.close(code=CLOSE_TO_RESUME)

    async def _begin(self) -> None:
        if self._session.is_resumable:
            resume = {"token": self._token, "session_id": self._session.id, "seq": self._session.sequence}
            await self._send(Op.RESUME, resume)
        else:
            await self._send(Op.IDENTIFY, self._identify)

    async def _handle(self, message: Mapping[str, Any]) -> bool:
        """Deal with a message; whether the connection goes on."""
        self._alive()
        match message.get("op"):
            case Op.DISPATCH:
                await self._dispatch(message)
            case Op.HEARTBEAT:
                await self._send(Op.HEARTBEAT, self._session.sequence)
            case Op.RECONNECT:
                return False
            case Op.INVALID_SESSION:
                if message.get("d") is not True:
                    self._session.forget()
                return False
            case Op.HEARTBEAT_ACK:
                self._is_answered = True
        return True

    async def _dispatch(self, message: Mapping[str, Any]) -> None:
        kind, data = str(message.get("t")), message.get("d")
        if isinstance(message.get("s"), int):
            self._session.sequence = message["s"]
        if kind == "READY" and isinstance(data, dict):
            self._session.id = str(data.get("session_id", ""))
            self._session.url = str(data.get("resume_gateway_url") or "")
        await self._take(kind, data, self._session.checkpoint())

    async def _beat(self, seconds: float) -> None:
        """Send heartbeats; one that is not answered ends the connection."""
        await asyncio.sleep(seconds * random.random())  # noqa: S311 - not all bots at once
        with suppress(aiohttp.ClientError, ConnectionError):  # whose end the reader sees as well
            while self._is_answered:
                self._is_answered = False
                await self._send(Op.HEARTBEAT, self._session.sequence)
                await asyncio.sleep(seconds)
            await self._socket.close(code=CLOSE_TO_RESUME)

    async def _send(self, op: Op, data: Any) -> None:
        await self._socket.send_str(msgspec.json.encode({"op": op, "d": data}).decode())

    async def _receive(self) -> dict[str, Any] | None:
        """Receive a message; None when the connection has ended."""
        message = await self._socket.receive()
        if message.type not in (aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.BINARY):
            return None
        value = msgspec.json.decode(message.data)
        return value if isinstance(value, dict) else {}

    def _judge(self) -> None:
        """Say what the close code means. Raises Unauthorized, Refused."""
        code, closing = self._socket.close_code or 0, self._closing
        if code in closing.unauthorized:
            raise Unauthorized(f"{closing.platform} does not accept the bot's token", platform_code=str(code))
        if code in closing.refused:
            raise Refused(
                f"{closing.platform} refuses the connection: {closing.refused[code]}", platform_code=str(code)
            )
        if code in closing.session_over or code in (1000, 1001):
            self._session.forget()
