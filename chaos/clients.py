"""Clients that come and go: each brings one message after another home, however often it is cut off on the way."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from random import Random
from typing import Any

import aiohttp
import msgspec

from chaos.plan import Door, Errand, Session, errand
from chaos.script import message
from chaos.seen import Exchange, Piece, from_websocket

SILENCE_SECONDS = 30.0
LOST = (aiohttp.ClientError, ConnectionError, TimeoutError, asyncio.IncompleteReadError)


class TryAgain(Exception):
    """The server could not take the request now."""


class Refused(Exception):
    """The server will not take the request."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(f"{status} {text}")
        self.status = status


@dataclass(slots=True)
class Tally:
    """The messages and the counts of all clients together."""

    exchanges: list[Exchange] = field(default_factory=list)
    posted: dict[str, tuple[Session, str, set[int]]] = field(default_factory=dict)
    uploaded: dict[str, set[str]] = field(default_factory=dict)
    cuts: int = 0
    resumes: int = 0
    repeats: int = 0
    refusals: int = 0
    early_ends: int = 0


class Client:
    """One client. `rush` is set when there is no time for further messages or cuts."""

    def __init__(self, name: str, base_url: str, key: str, random: Random, tally: Tally, rush: asyncio.Event) -> None:
        self._name = name
        self._base_url = base_url
        self._headers = {"X-API-Key": key}
        self._random = random
        self._tally = tally
        self._rush = rush
        self._http: aiohttp.ClientSession

    async def run(self, sessions: list[Session]) -> None:
        timeout = aiohttp.ClientTimeout(total=None, sock_read=SILENCE_SECONDS)
        connector = aiohttp.TCPConnector(limit=0)
        async with aiohttp.ClientSession(headers=self._headers, timeout=timeout, connector=connector) as self._http:
            number = 0
            while not self._rush.is_set():
                number += 1
                session = self._random.choice(sessions)
                name = f"{self._name}-{number}"
                roll = self._random.random()
                if roll < 0.08:
                    await self._post_news(name, session)
                elif roll < 0.14:
                    await self._upload(name)
                else:
                    await self._bring_home(errand(self._random, name, session))

    # Messages

    async def _bring_home(self, task: Errand) -> None:
        exchange = Exchange(task)
        self._tally.exchanges.append(exchange)
        copies = [asyncio.create_task(self._send_copy(task)) for _ in range(task.copies - 1)]
        while not exchange.ended and exchange.refused is None:
            await self._attempt(exchange)
        for run_id in await asyncio.gather(*copies):
            if run_id is not None:
                exchange.run_ids.add(run_id)

    async def _attempt(self, exchange: Exchange) -> None:
        limit = self._cut_after(exchange)
        try:
            async with self._connection(exchange) as (piece, events):
                self._tally.resumes += bool(exchange.events)
                count = 0
                while count != limit:
                    number, payload = await anext(events)
                    if piece.take(number, payload):
                        return
                    count += 1
                exchange.cuts += 1
                self._tally.cuts += 1
        except StopAsyncIteration:
            self._tally.early_ends += 1
            await self._pause(0.2)
        except Refused as refused:
            self._on_refusal(exchange, refused)
        except TryAgain:
            self._tally.refusals += 1
            await self._pause(0.3)
        except LOST:
            await self._pause(0.2)

    def _on_refusal(self, exchange: Exchange, refused: Refused) -> None:
        if refused.status == 409 and exchange.errand.on_busy == "reject" and not exchange.run_ids:
            exchange.refused = refused.status
        else:
            kind = "lost" if refused.status == 404 else "altered"
            exchange.note(kind, f"refused with {refused}")
            exchange.refused = refused.status

    def _cut_after(self, exchange: Exchange) -> int | None:
        """Choose the number of events after which this connection is cut; None for no cut."""
        if self._rush.is_set() or exchange.cuts >= 6 or self._random.random() < 0.3:
            return None
        return self._random.choice((0, 1, 1, 2, 3, 5, 8, 13, 21, 34))

    @asynccontextmanager
    async def _connection(self, exchange: Exchange) -> AsyncIterator[tuple[Piece, AsyncIterator[tuple[int, bytes]]]]:
        """Connect to the run's events: the first time by sending, later by one of the ways to resume.

        Sending again is one of them, and it is the only one as long as the run's id is not known.
        """
        task = exchange.errand
        roll = self._random.random()
        if not exchange.run_ids or roll < 0.15:
            if exchange.run_ids:
                self._tally.repeats += 1
            if task.door is Door.WEBSOCKET:
                async with self._websocket(_frame(task)) as events:
                    yield exchange.begin(0), events
            else:
                headers = {"Idempotency-Key": task.name}
                async with self._stream("POST", "/api/v1/chat", json=_body(task), headers=headers) as events:
                    yield exchange.begin(0), events
            return
        run_id, after = next(iter(exchange.run_ids)), exchange.last
        path = f"/api/v1/chat/runs/{run_id}/stream"
        if roll < 0.4:
            async with self._websocket({"t": "resume", "run_id": run_id, "after": after}) as events:
                yield exchange.begin(after), events
        elif roll < 0.7:
            async with self._stream("GET", path, params={"after": after}) as events:
                yield exchange.begin(after), events
        else:
            async with self._stream("GET", path, headers={"Last-Event-ID": str(after)}) as events:
                yield exchange.begin(after), events

    async def _send_copy(self, task: Errand) -> str | None:
        """Send the same message at the same time, and only look which run it is; None without one."""
        self._tally.repeats += 1
        exchange = Exchange(task)
        with suppress(TryAgain, Refused, *LOST):
            async with self._connection(exchange) as (piece, events):
                async for number, payload in events:
                    piece.take(number, payload)
                    break
        return next(iter(exchange.run_ids), None)

    # Connections

    @asynccontextmanager
    async def _stream(self, method: str, path: str, **options: Any) -> AsyncIterator[AsyncIterator[tuple[int, bytes]]]:
        async with self._http.request(method, self._base_url + path, **options) as response:
            await _check(response)
            try:
                yield sse_events(response)
            finally:
                # Leaves the connection in the middle of whatever is on it.
                response.close()

    @asynccontextmanager
    async def _websocket(self, frame: dict[str, Any]) -> AsyncIterator[AsyncIterator[tuple[int, bytes]]]:
        url = self._base_url + "/api/v1/chat/ws"
        try:
            socket = await self._http.ws_connect(url, timeout=aiohttp.ClientWSTimeout(ws_close=0.2))
        except aiohttp.WSServerHandshakeError as error:
            raise TryAgain from error
        try:
            await socket.send_str(msgspec.json.encode(frame).decode())
            yield _websocket_events(socket)
        finally:
            await socket.close()

    async def _pause(self, seconds: float) -> None:
        await asyncio.sleep(self._random.uniform(0.05, seconds))

    # What has no stream

    async def _post_news(self, name: str, session: Session) -> None:
        """Send a message of the bot's own until the server confirms it, and sometimes once more."""
        text = message(name, 3, {})
        ids: set[int] = set()
        self._tally.posted[name] = (session, text, ids)
        body = {"umo": session.umo, "message": text}
        for _ in range(self._random.choice((1, 1, 2))):
            data = await self._insist(name, "/api/v1/im/message", json=body)
            ids.add(int(data["message_id"]))

    async def _upload(self, name: str) -> None:
        ids: set[str] = set()
        self._tally.uploaded[name] = ids
        for _ in range(self._random.choice((1, 1, 2))):
            data = await self._insist(name, "/api/v1/file", upload=name)
            ids.add(data["attachment_id"])

    async def _insist(self, key: str, path: str, *, upload: str | None = None, **options: Any) -> Any:
        """Repeat a request until it is answered; returns the data of the answer."""
        while True:
            if upload is not None:
                form = aiohttp.FormData()
                form.add_field("file", f"the file {upload}\n" * 100, filename=f"{upload}.txt")
                options["data"] = form
            try:
                url = self._base_url + path
                async with self._http.post(url, headers={"Idempotency-Key": key}, **options) as response:
                    await _check(response)
                    return (await response.json())["data"]
            except (TryAgain, *LOST):
                self._tally.repeats += 1
                await self._pause(0.3)


def _body(task: Errand) -> dict[str, Any]:
    body: dict[str, Any] = {
        "username": task.session.username,
        "session_id": task.session.id,
        "message": task.text,
        "enable_streaming": task.streaming,
    }
    return body if task.on_busy is None else {**body, "on_busy": task.on_busy}


def _frame(task: Errand) -> dict[str, Any]:
    return {"t": "send", "message_id": task.name, **_body(task)}


async def _check(response: aiohttp.ClientResponse) -> None:
    if response.status in (429, 503, 504):  # the last of a bot message, whose delivery may go on
        raise TryAgain
    if response.status != 200:
        raise Refused(response.status, await response.text())


async def sse_events(response: aiohttp.ClientResponse) -> AsyncIterator[tuple[int, bytes]]:
    buffer = b""
    async for chunk in response.content.iter_any():
        *blocks, buffer = (buffer + chunk).split(b"\n\n")
        for block in blocks:
            if block.startswith(b"id: "):
                id_line, data_line = block.split(b"\n")
                yield int(id_line[4:]), data_line.removeprefix(b"data: ")


async def _websocket_events(socket: aiohttp.ClientWebSocketResponse) -> AsyncIterator[tuple[int, bytes]]:
    """Yield a run's events, until there is none for SILENCE_SECONDS; a socket that is only kept open does not count."""
    deadline = time.monotonic() + SILENCE_SECONDS
    while True:
        frame = await socket.receive(max(deadline - time.monotonic(), 0.01))
        if frame.type is not aiohttp.WSMsgType.TEXT:
            raise ConnectionError("the socket was closed")
        event = from_websocket(frame.data.encode())
        if event is not None:
            yield event
            deadline = time.monotonic() + SILENCE_SECONDS
        elif (value := msgspec.json.decode(frame.data))["type"] == "error":
            _raise_for(value)


def _raise_for(error: dict[str, Any]) -> None:
    # The contract's few error codes do not tell temporary errors from permanent ones: the message does.
    if any(word in error["data"] for word in ("Too many", "shutting down", "not available")):
        raise TryAgain
    status = 409 if "busy" in error["data"] or "answering" in error["data"] else 400
    raise Refused(status, str(error))
