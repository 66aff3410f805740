"""The events that clients saw, in their order: the evidence for the audit."""

import time
from dataclasses import dataclass, field

import msgspec

from chaos.plan import Errand

CRASH_GAP = 1_000_000
"""Added to the numbers of a run's last events when a crash swallowed some before them."""


@dataclass(frozen=True, slots=True)
class Event:
    """An event as it came: its number, its JSON text, and its time (seconds, monotonic)."""

    number: int
    payload: bytes
    at: float

    @property
    def type(self) -> str:
        return str(msgspec.json.decode(self.payload)["type"])


@dataclass(slots=True)
class Faults:
    """When servers were ended (`deaths`) and the database was out of reach (`absences`): seconds, monotonic."""

    deaths: list[float] = field(default_factory=list)
    absences: list[tuple[float, float]] = field(default_factory=list)

    def age_at_death(self, moment: float) -> float:
        """How long the next server to be ended could have stored what came at that moment."""
        death = min((death for death in self.deaths if death >= moment), default=moment)
        away = sum(max(0.0, min(end, death) - max(start, moment)) for start, end in self.absences)
        return death - moment - away


class WrongOrder(Exception):
    """A stream that repeats events, or goes back."""


@dataclass(slots=True)
class Exchange:
    """A message and its events, put together from all the connections that its client had."""

    errand: Errand
    run_ids: set[str] = field(default_factory=set)
    events: list[Event] = field(default_factory=list)
    cuts: int = 0
    refused: int | None = None
    ended: bool = False
    problems: list[tuple[str, str]] = field(default_factory=list)

    @property
    def last(self) -> int:
        return self.events[-1].number if self.events else 0

    def note(self, kind: str, text: str) -> None:
        """Note a problem that needs no look at the database."""
        self.problems.append((kind, f"{self.errand.name}: {text}"))

    def begin(self, after: int) -> "Piece":
        """Begin a new connection, which was asked for the events after number `after`."""
        return Piece(self, after)


class Piece:
    """One connection's events; those that an earlier one brought must come again as they were."""

    def __init__(self, exchange: Exchange, after: int) -> None:
        self._exchange = exchange
        self._last = after
        self._payloads = {event.number: event.payload for event in exchange.events}

    def take(self, number: int, payload: bytes) -> bool:
        """Keep an event; returns True for the run's last."""
        exchange = self._exchange
        if number <= self._last:
            exchange.note("doubled", f"event {number} came behind {self._last} on one connection")
            return False
        self._last = number
        value = msgspec.json.decode(payload)
        if value["type"] == "session_id":
            exchange.run_ids.add(value["run_id"])
        if number in self._payloads:
            if self._payloads[number] != payload:
                exchange.note("altered", f"event {number} was {self._payloads[number]!r} and is now {payload!r}")
        elif number < exchange.last:
            exchange.note("out of order", f"event {number} is new, but {exchange.last} was there before")
        else:
            exchange.events.append(Event(number, payload, time.monotonic()))
        if value["type"] == "end":
            exchange.ended = True
        return exchange.ended


def from_websocket(frame: bytes) -> tuple[int, bytes] | None:
    """Take the number and the payload, as on SSE, from a WebSocket's frame; None for one that is no run's event."""
    value = msgspec.json.decode(frame)
    if "seq" not in value:
        return None
    number = value.pop("seq")
    if value["type"] != "session_id":
        del value["session_id"], value["run_id"]
    return number, msgspec.json.encode(value)
