"""The run log: one run appends events, any number of readers follow them, each at its own pace.

A reader holds a position and nothing else. It is woken for new events and takes all of them in one piece. Nobody waits
for a slow reader: what it has not read is in the log, which all share.
"""

import asyncio
from bisect import bisect_right
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass
from weakref import WeakValueDictionary

from app.chat.runs.events import Event, EventBatch

MAX_PIECE_EVENTS = 256
MAX_PIECE_CHARS = 64 * 1024
"""The text from which on a piece takes no further event."""

Encode = Callable[[Sequence[int], Sequence[Event]], bytes]
"""Encodes events, given with their numbers, for one kind of reader; nothing for events that it does not show."""


@dataclass(frozen=True, slots=True, weakref_slot=True)
class _Piece:
    """Encoded events from `start` to `end`."""

    start: int
    end: int
    data: bytes


class RunLog:
    """The events of one run, numbered from 1; a crash leaves a gap in the numbers.

    The log of a run that goes on is complete, so that no reader can fall behind it.
    """

    __slots__ = ("__weakref__", "_closed", "_events", "_gap", "_latest", "_numbers", "_pieces", "_readers")

    def __init__(self) -> None:
        self._events: list[Event] = []
        self._numbers: Sequence[int] = range(1, 1)
        self._closed = False
        self._gap: int | None = None
        self._readers: set[_Reader] = set()
        self._latest: dict[str, _Piece] = {}
        # Of a log that is over: pieces that readers have not done with.
        self._pieces: WeakValueDictionary[tuple[str, int, int], _Piece] = WeakValueDictionary()

    @classmethod
    def of(cls, numbered: Sequence[tuple[int, Event]]) -> "RunLog":
        """Make the closed log of a run that is over."""
        log = cls()
        log._numbers = [number for number, _ in numbered]
        log._events = [event for _, event in numbered]
        log._closed = True
        return log

    @property
    def events(self) -> Sequence[Event]:
        return self._events

    @property
    def last_number(self) -> int:
        """The number of the last event so far; 0 without one."""
        return self._numbers[-1] if self._numbers else 0

    @property
    def closed(self) -> bool:
        return self._closed

    def append(self, *events: Event) -> None:
        """Add events, and wake the readers."""
        if self._closed:
            raise RuntimeError("the run log is closed")
        self._events += events
        self._numbers = range(1, len(self._events) + 1)
        self._wake()

    def close_with(self, numbered: Sequence[tuple[int, Event]]) -> None:
        """Add the events that are stored of a run after a crash, with a gap before them, and end the log."""
        if numbered:
            self._gap = len(self._events)
            self._numbers = [*self._numbers, *(number for number, _ in numbered)]
            self._events += [event for _, event in numbered]
        self.close()

    def close(self) -> None:
        """End the log: readers end when they have read all of it."""
        self._closed = True
        self._wake()

    def since(self, position: int) -> EventBatch:
        """Return the events from a position (a count, not a number) on, of a log without gaps."""
        return EventBatch(position + 1, self._events[position:])

    async def first(self, kinds: tuple[type, ...], seconds: float | None = None) -> Event | None:
        """Wait for the first event of one of these kinds.

        None when it has not come within `seconds` (None: no limit), or when the run is over without it.
        """
        loop = asyncio.get_running_loop()
        deadline = None if seconds is None else loop.time() + seconds
        position = 0
        reader = self._new_reader(loop)
        try:
            while True:
                for event in self._events[position:]:
                    if isinstance(event, kinds):
                        return event
                position = len(self._events)
                if self._closed or (deadline is not None and loop.time() >= deadline):
                    return None
                await reader.more(deadline)
        finally:
            self._forget(reader)

    async def follow(
        self, kind: str, encode: Encode, *, after: int = 0, heartbeat: bytes = b"", heartbeat_seconds: float = 15.0
    ) -> AsyncGenerator[bytes]:
        """Yield the encoded events with a number above `after`, as they come, until the log is closed.

        A piece holds all events that were ready, up to MAX_PIECE_EVENTS. `encode` must be the same for a `kind`: events
        are encoded once for all readers that keep up. `heartbeat` is sent after a silence of `heartbeat_seconds`.
        """
        loop = asyncio.get_running_loop()
        # While a run goes on its numbers have no gap, and a reader may name one that has not come yet.
        position = bisect_right(self._numbers, after) if self._closed else after
        silent_since = loop.time()
        gap = self._gap
        reader = self._new_reader(loop)
        try:
            while True:
                if gap != self._gap:  # what a crash has lost may have been read elsewhere; what comes after is for all
                    position, gap = min(position, self._gap or 0), self._gap
                start, position = position, self._end_of_piece(position)
                piece = self._encoded(kind, encode, start, position)
                if piece is not None and piece.data:
                    yield piece.data
                    silent_since = loop.time()
                elif position >= len(self._events):
                    if self._closed:
                        return
                    if not await reader.more(silent_since + heartbeat_seconds):
                        silent_since = loop.time()
                        if heartbeat:
                            yield heartbeat
        finally:
            self._forget(reader)

    def _end_of_piece(self, position: int) -> int:
        end = min(len(self._events), position + MAX_PIECE_EVENTS)
        if not self._closed:  # what readers share while they keep up
            return max(position, end)
        chars = 0
        for index in range(position, end):
            chars += len(getattr(self._events[index], "text", "")) + len(getattr(self._events[index], "data", b""))
            if chars >= MAX_PIECE_CHARS:
                return index + 1
        return end

    def _encoded(self, kind: str, encode: Encode, start: int, end: int) -> _Piece | None:
        """Encode the events from `start` to `end`; readers that keep up ask for the same ones."""
        if start == end:
            return None
        latest = self._latest.get(kind)
        if latest is not None and (latest.start, latest.end) == (start, end):
            return latest
        piece = self._pieces.get((kind, start, end)) if self._closed else None
        if piece is None:
            piece = _Piece(start, end, encode(self._numbers[start:end], self._events[start:end]))
            if self._closed:
                self._pieces[kind, start, end] = piece
        self._latest[kind] = piece
        return piece

    def _new_reader(self, loop: asyncio.AbstractEventLoop) -> "_Reader":
        reader = _Reader(loop)
        self._readers.add(reader)
        return reader

    def _forget(self, reader: "_Reader") -> None:
        self._readers.discard(reader)
        reader.close()

    def _wake(self) -> None:
        for reader in self._readers:
            reader.wake()


class _Reader:
    """The waits of one reader. One timer serves all of them: a timer each would cost as much as a token.

    Deadlines are on the loop's clock, and do not go back from one wait to the next.
    """

    __slots__ = ("_deadline", "_loop", "_timer", "_waiter")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._waiter: asyncio.Future[bool] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._deadline: float | None = None

    async def more(self, deadline: float | None) -> bool:
        """Wait for more events; False when none have come by `deadline` (None: no limit)."""
        self._deadline = deadline
        if deadline is not None and self._timer is None:
            self._timer = self._loop.call_at(deadline, self._on_time)
        self._waiter = self._loop.create_future()
        try:
            return await self._waiter
        finally:
            self._waiter = None

    def wake(self) -> None:
        self._end_wait(more=True)

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _on_time(self) -> None:
        if self._deadline is not None and self._loop.time() < self._deadline:  # which has moved since
            self._timer = self._loop.call_at(self._deadline, self._on_time)
        else:
            self._timer = None
            self._end_wait(more=False)

    def _end_wait(self, *, more: bool) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(more)
