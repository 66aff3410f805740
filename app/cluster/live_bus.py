"""The bus over a transport: what is to be sent is packed, and a transport that has fallen silent is opened again.

What is sent while there is no connection is lost, as a bus may lose anything.
"""

import asyncio
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol

import msgspec
import structlog

from app.cluster.bus import Act

TICK_SECONDS = 0.01
"""How long what comes after a batch is gathered for the next one."""
BEAT_SECONDS = 1.0
SURE_SECONDS = 2.5
"""A bus that has not heard its own beat for so long is taken for broken."""
RETRY_SECONDS = 0.5
FRAME_OVERHEAD = 128

log = structlog.get_logger(__name__)

Receive = Callable[[bytes], None]
Frame = tuple[str, bytes]
"""A channel, and what is sent to it."""


class Send(Protocol):
    async def __call__(self, frames: Sequence[Frame]) -> None: ...


class Transport(Protocol):
    """A way to send frames to channels, and to hear those of some."""

    name: str
    max_frame_bytes: int

    def connect(self, channels: Sequence[str], receive: Receive) -> AbstractAsyncContextManager[Send]:
        """Listen to channels until the block ends. Raises what the transport raises."""


class LiveBus:
    """The bus of the server `server_id`."""

    is_shared = True

    def __init__(self, transport: Transport, server_id: str) -> None:
        self._transport = transport
        self._server_id = server_id
        self._acts: dict[str, list[Act]] = defaultdict(list)
        self._outbox: dict[str, list[bytes]] = {}
        self._filled = asyncio.Event()
        self._is_connected = False
        self._heard_at = 0.0
        self._prefix = ""
        self._task: asyncio.Task[None] | None = None
        self.sent = 0
        self.received = 0
        self.on("beat", self._hear_beat)

    @property
    def sure(self) -> bool:
        return self._is_connected and time.monotonic() - self._heard_at < SURE_SECONDS

    def on(self, kind: str, act: Act) -> None:
        self._acts[kind].append(act)

    def fits(self, size: int) -> bool:
        return size + FRAME_OVERHEAD <= self._transport.max_frame_bytes

    def tell(self, server_id: str, kind: str, *arguments: Any) -> None:
        self._put(f"{self._prefix}{server_id}", kind, arguments)

    def tell_all(self, kind: str, *arguments: Any) -> None:
        self._put(f"{self._prefix}all", kind, arguments)

    async def open(self, namespace: str) -> None:
        self._prefix = namespace
        self._task = asyncio.create_task(self._run())

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def _put(self, channel: str, kind: str, arguments: Sequence[Any]) -> None:
        if not self._is_connected:
            return
        message = msgspec.msgpack.encode([kind, *arguments])
        if len(message) > self._transport.max_frame_bytes:
            log.warning("bus_message_too_large", kind=kind, size=len(message))
            return
        self._outbox.setdefault(channel, []).append(message)
        self._filled.set()

    async def _run(self) -> None:
        channels = [f"{self._prefix}all", f"{self._prefix}{self._server_id}"]
        is_failing = False
        while True:
            try:
                async with self._transport.connect(channels, self._receive) as send:
                    self._outbox.clear()
                    self._heard_at = time.monotonic()
                    self._is_connected = True
                    if is_failing:
                        log.info("bus_is_back", transport=self._transport.name)
                    is_failing = False
                    self._dispatch("opened", ())
                    await self._serve(send)
            except Exception as error:  # noqa: BLE001 - whatever it is, all that the bus carries can be looked up
                if not is_failing:  # logged once, not twice a second for as long as it lasts
                    log.warning("bus_is_away", transport=self._transport.name, error=repr(error))
                is_failing = True
            finally:
                self._is_connected = False
            await asyncio.sleep(RETRY_SECONDS)

    async def _serve(self, send: Send) -> None:
        """Send what is told, and a beat each second. Raises TimeoutError when the beats do not come back."""
        beat_due = 0.0
        while True:
            now = time.monotonic()
            if now >= beat_due:
                beat_due = now + BEAT_SECONDS
                if now - self._heard_at > SURE_SECONDS:
                    raise TimeoutError("the bus does not hear itself")
                self.tell(self._server_id, "beat")
            outbox, self._outbox = self._outbox, {}
            self._filled.clear()
            if outbox:
                frames = list(pack(outbox, self._transport.max_frame_bytes))
                async with asyncio.timeout(SURE_SECONDS):
                    await send(frames)
                self.sent += len(frames)
                await asyncio.sleep(TICK_SECONDS)
                continue
            try:
                async with asyncio.timeout(max(0.0, beat_due - time.monotonic())):
                    await self._filled.wait()
            except TimeoutError:
                continue

    def _receive(self, frame: bytes) -> None:
        self.received += 1
        try:
            messages = unpack(frame)
        except msgspec.MsgspecError:
            log.warning("bus_frame_not_understood", size=len(frame))
            return
        for kind, *arguments in messages:
            self._dispatch(kind, arguments)

    def _dispatch(self, kind: str, arguments: Sequence[Any]) -> None:
        for act in self._acts.get(kind, ()):  # one of another version may be unknown
            try:
                act(*arguments)
            except Exception as error:
                log.error("bus_message_failed", kind=kind, exc_info=error)

    def _hear_beat(self) -> None:
        self._heard_at = time.monotonic()


def pack(outbox: Mapping[str, Sequence[bytes]], max_bytes: int) -> Iterator[Frame]:
    """Yield the frames that carry the messages, none larger than `max_bytes` unless one message is."""
    for channel, messages in outbox.items():
        batch: list[msgspec.Raw] = []
        size = 0
        for message in messages:
            if batch and size + len(message) > max_bytes:
                yield channel, msgspec.msgpack.encode(batch)
                batch, size = [], 0
            batch.append(msgspec.Raw(message))
            size += len(message)
        yield channel, msgspec.msgpack.encode(batch)


unpack: Callable[[bytes], list[list[Any]]] = msgspec.msgpack.Decoder(list[list[Any]]).decode
