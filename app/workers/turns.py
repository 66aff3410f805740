"""The order in which those who wait are served: the callers take turns, however much each of them has waiting."""

import asyncio
from collections.abc import AsyncIterator, Hashable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final


@dataclass(frozen=True, slots=True)
class Caller:
    """A user of a key, who takes turns with the key's other users; the keys take turns too."""

    key_id: str = ""
    username: str = ""


NOBODY: Final = Caller()
"""The caller of work that is for nobody in particular."""


class Turns:
    """The last turns of callers. The next one is the caller whose `rank` is the lowest."""

    def __init__(self) -> None:
        self._count = 0
        self._last: dict[Hashable, int] = {}

    def rank(self, caller: Caller) -> tuple[int, int]:
        """The last turn of the key, then that of its user; 0 for none."""
        return self._last.get(caller.key_id, 0), self._last.get(caller, 0)

    def take(self, caller: Caller) -> None:
        """Count a turn of the caller."""
        self._count += 1
        self._last[caller.key_id] = self._last[caller] = self._count

    def clear(self) -> None:
        """Forget all turns, once nobody waits."""
        self._last.clear()


@dataclass(frozen=True, slots=True, eq=False)
class _Place:
    caller: Caller
    turn: asyncio.Event = field(default_factory=asyncio.Event)


class FairSlots:
    """At most `size` jobs at once, for one event loop."""

    def __init__(self, size: int) -> None:
        self._free = size
        self._turns = Turns()
        self._places: list[_Place] = []

    @property
    def waiting(self) -> int:
        return len(self._places)

    @asynccontextmanager
    async def slot(self, caller: Caller) -> AsyncIterator[None]:
        """A slot for the block, once it is the caller's turn."""
        await self._acquire(caller)
        try:
            yield
        finally:
            self._release()

    async def _acquire(self, caller: Caller) -> None:
        if self._free:
            self._free -= 1
            self._turns.take(caller)
            return
        place = _Place(caller)
        self._places.append(place)
        try:
            await place.turn.wait()
        except asyncio.CancelledError:
            if place.turn.is_set():
                self._release()
            else:
                self._places.remove(place)
            raise

    def _release(self) -> None:
        if not self._places:
            self._free += 1
            self._turns.clear()
            return
        # Of equals, the first one: it has waited longest.
        place = min(self._places, key=lambda place: self._turns.rank(place.caller))
        self._places.remove(place)
        self._turns.take(place.caller)
        place.turn.set()
