"""Calls over a WebSocket whose answers are told by an id, with events in between."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Any

import aiohttp
import msgspec

from app.bots.adapters.inbound import DoorSocket
from app.bots.adapters.outcomes import DeliveryError, NotSent, Unknown


class ClientSocket:
    """A WebSocket that we opened, in the form of one that was opened to us."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket

    async def receive(self) -> str | bytes:
        message = await self._socket.receive()
        if message.type not in (aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.BINARY):
            raise ConnectionError(f"the connection was closed ({self._socket.close_code})")
        data: str | bytes = message.data
        return data

    async def send(self, text: str) -> None:
        await self._socket.send_str(text)


class CallSocket:
    """A connection on which calls are made and events come; `failure` is why it ended, where that is known."""

    def __init__(self, socket: DoorSocket, platform: str) -> None:
        self._socket = socket
        self._platform = platform
        self._waiting: dict[str, asyncio.Future[dict[str, Any]]] = {}
        self._closed = asyncio.Event()
        self.failure: DeliveryError | None = None

    @property
    def is_closed(self) -> bool:
        return self._closed.is_set()

    async def ended(self, seconds: float) -> None:
        """Wait until the connection has ended, for so long."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._closed.wait()

    async def call(self, id: str, frame: Mapping[str, Any]) -> dict[str, Any]:
        """Send a frame, and return the answer to it. Of calls with one id, one is made at a time.

        Raises NotSent, Unknown, and the connection's failure.
        """
        while (other := self._waiting.get(id)) is not None:
            await asyncio.wait((other,))
        if self.is_closed:
            raise self.failure or NotSent(f"{self._platform}'s connection is closed")
        answer = self._waiting[id] = asyncio.get_running_loop().create_future()
        try:
            await self.tell(frame)
            value: dict[str, Any] = await answer
        except (aiohttp.ClientError, OSError) as error:
            raise Unknown(f"{self._platform} cut the connection before it answered") from error
        finally:
            answer.cancel()
            del self._waiting[id]
        return value

    async def tell(self, frame: Mapping[str, Any]) -> None:
        """Send a frame, and wait for no answer."""
        await self._socket.send(msgspec.json.encode(frame).decode())

    def answer(self, id: str, value: dict[str, Any]) -> None:
        """Give a call its answer."""
        answer = self._waiting.get(id)
        if answer is not None and not answer.done():
            answer.set_result(value)

    async def serve(self, take: Callable[[dict[str, Any]], Awaitable[None]]) -> None:
        """Hand what comes to `take`, which tells answers from events, until the connection ends."""
        try:
            while True:
                text = await self._socket.receive()
                try:
                    value = msgspec.json.decode(text)
                except (msgspec.DecodeError, RecursionError):
                    continue
                if isinstance(value, dict):
                    await take(value)
        except (ConnectionError, aiohttp.ClientError):
            return
        finally:
            self._closed.set()
            for answer in self._waiting.values():
                if not answer.done():
                    answer.set_exception(self.failure or ConnectionError())
