"""Bounds of what a WebSocket sends: how much is handled in one turn of the event loop, and how many frames a second."""

from collections.abc import Callable, Iterator
from typing import Any, Final

from wsproto import WSConnection
from wsproto.connection import Connection
from wsproto.events import BytesMessage, Event, Ping, Pong, TextMessage

SLICE_BYTES: Final = 4096
"""Handled in one turn: up to 700 of the smallest frames, which take some milliseconds."""
FRAMES_PER_SECOND: Final = 100
BURST_FRAMES: Final = 1000
SMALL_BYTES: Final = 512
POLICY_VIOLATION: Final = 1008
PROTOCOL_ERROR: Final = 1002
TOO_MANY_FRAMES: Final = "Too many frames"


class FrameRate:
    """The frames that a client may still send now: BURST_FRAMES, and FRAMES_PER_SECOND more each second.

    Large fragments do not count. What they cost is what their bytes cost.
    """

    def __init__(self, now: float) -> None:
        self._remaining = float(BURST_FRAMES)
        self._updated = now

    def admits(self, event: Event, now: float) -> bool:
        """Count an event; False if it is one too many."""
        if not isinstance(event, Ping | Pong | TextMessage | BytesMessage):
            return True
        if isinstance(event, TextMessage | BytesMessage) and not event.message_finished:
            is_small_fragment = event.frame_finished and len(event.data) < SMALL_BYTES
            if not is_small_fragment:
                return True
        self._remaining = min(BURST_FRAMES, self._remaining + (now - self._updated) * FRAMES_PER_SECOND) - 1
        self._updated = now
        return self._remaining >= 0


class TooManyFrames(Exception):
    """More frames than a client may send."""


class CountedConnection:
    """A WebSocket connection of wsproto's whose frames are counted; all else is the wrapped one's."""

    def __init__(self, connection: Connection | WSConnection, now: Callable[[], float]) -> None:
        self._connection = connection
        self._now = now
        self._rate = FrameRate(now())

    def events(self) -> Iterator[Event]:
        """Yield the events that have come. Raises TooManyFrames."""
        for event in self._connection.events():
            if not self._rate.admits(event, self._now()):
                raise TooManyFrames
            yield event

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)
