"""The runs of this server, as other servers' mirrors are told of them."""

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import aclosing

import msgspec

from app.chat.runs.engine import RunEngine
from app.chat.runs.events import Event
from app.chat.runs.log import RunLog
from app.cluster.bus import Bus

WATCH_SECONDS = 3.0
"""How long a mirror is told of a run without asking again."""
PAUSE_SECONDS = 0.01
"""How long what comes after a stretch is gathered for the next one."""

_decode_stretches = msgspec.msgpack.Decoder(list[bytes]).decode


class Watched:
    """Sends the events of watched runs; nothing is sent for the others.

    Each time that a mirror asks, the sending begins anew where the mirror is: so it needs no account of what was lost.
    """

    def __init__(self, engine: RunEngine, bus: Bus) -> None:
        self._engine = engine
        self._bus = bus
        self._watches: dict[tuple[str, str], asyncio.Task[None]] = {}
        bus.on("watch", self._watch)

    async def close(self) -> None:
        tasks = list(self._watches.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _watch(self, run_id: str, position: int, asker: str) -> None:
        key = run_id, asker
        if (task := self._watches.pop(key, None)) is not None:
            task.cancel()
        log = self._engine.log_of(run_id)
        if log is None or position > len(log.events):
            self._bus.tell(asker, "over", run_id)
            return
        self._bus.tell(asker, "here", run_id, position)
        task = self._watches[key] = asyncio.create_task(self._send(run_id, log, position, asker))
        task.add_done_callback(lambda done: self._forget(key, done))

    def _forget(self, key: tuple[str, str], task: asyncio.Task[None]) -> None:
        if self._watches.get(key) is task:
            del self._watches[key]

    async def _send(self, run_id: str, log: RunLog, position: int, asker: str) -> None:
        try:
            async with (
                asyncio.timeout(WATCH_SECONDS),
                aclosing(log.follow("bus", self._encode, after=position)) as pieces,
            ):
                async for piece in pieces:
                    for stretch in _decode_stretches(piece):
                        if self._bus.fits(len(stretch)):
                            self._bus.tell(asker, "events", run_id, stretch)
                        else:
                            self._bus.tell(asker, "here", run_id, len(log.events))
                    await asyncio.sleep(PAUSE_SECONDS)
        except TimeoutError:  # the mirror has not asked again
            return
        self._bus.tell(asker, "over", run_id)

    def _encode(self, numbers: Sequence[int], events: Sequence[Event]) -> bytes:
        return msgspec.msgpack.encode(list(self._stretches(numbers[0], events)))

    def _stretches(self, first: int, events: Sequence[Event]) -> Iterator[bytes]:
        """Encode events in as few messages as the bus takes; one event may be too large for it."""
        stretch = msgspec.msgpack.encode((first, events))
        if len(events) == 1 or self._bus.fits(len(stretch)):
            yield stretch
            return
        half = len(events) // 2
        yield from self._stretches(first, events[:half])
        yield from self._stretches(first + half, events[half:])
