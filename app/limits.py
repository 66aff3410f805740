"""Limits of what goes on at once, for each caller and in all."""

import asyncio
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass

from app.errors import TooManyRequests


@dataclass(frozen=True, slots=True)
class Bounds:
    """The most slots at once; `each` is for one caller."""

    each: int
    total: int


class ConcurrencyLimit:
    """Slots that are taken while something goes on. A caller without a slot is forgotten.

    `elsewhere` is what the callers have taken at other servers, as far as that is known here.
    """

    def __init__(self, name: str, code: str, bounds: Bounds) -> None:
        self._name = name
        self._code = code
        self._bounds = bounds
        self._taken: dict[str, int] = {}
        self._total = 0
        self.elsewhere: Mapping[str, int] = {}

    @property
    def taken(self) -> Mapping[str, int]:
        """The number of slots that each caller has here."""
        return self._taken

    def __len__(self) -> int:
        return self._total

    def take(self, caller: str) -> "Slot":
        """Take a slot until it is released. Raises TooManyRequests, at once, when there is none."""
        taken = self._taken.get(caller, 0) + self.elsewhere.get(caller, 0)
        if self._total >= self._bounds.total or taken >= self._bounds.each:
            raise TooManyRequests(f"Too many {self._name} at once", retry_after=2, code=self._code)
        self._taken[caller] = self._taken.get(caller, 0) + 1
        self._total += 1
        return Slot(self, caller)

    def _free(self, caller: str) -> None:
        self._total -= 1
        remaining = self._taken.pop(caller) - 1
        if remaining:
            self._taken[caller] = remaining


class RunLimit(ConcurrencyLimit):
    """Runs that wait or go on."""


class StreamLimit(ConcurrencyLimit):
    """Streams that are open."""


class WebSocketLimit(ConcurrencyLimit):
    """WebSockets that are open."""


class Slot:
    """One slot; released once, and at the latest when it is collected.

    A stream whose reader leaves before the first byte is never begun, and could not release anything itself.
    """

    __slots__ = ("_caller", "_limit")

    def __init__(self, limit: ConcurrencyLimit, caller: str) -> None:
        self._limit: ConcurrencyLimit | None = limit
        self._caller = caller

    def release(self) -> None:
        """Give the slot back; a second time is no error."""
        if (limit := self._limit) is not None:
            self._limit = None
            limit._free(self._caller)

    __del__ = release


class Pace:
    """Bytes a second of each caller, beyond a burst: who sends more waits."""

    def __init__(self, rate: int, burst: int) -> None:
        self._rate = rate
        self._burst_seconds = burst / rate
        self._paid_until: dict[str, float] = {}

    async def keep(self, caller: str, size: int) -> None:
        """Wait until the caller may send another `size` bytes."""
        now = asyncio.get_running_loop().time()
        start = max(self._paid_until.get(caller, 0.0), now - self._burst_seconds)
        self._paid_until = {name: moment for name, moment in self._paid_until.items() if moment > now}
        self._paid_until[caller] = start + size / self._rate
        await asyncio.sleep(max(0.0, self._paid_until[caller] - now))


class ByteLimit:
    """Bytes that callers hold at once. What is too much waits, in its order, for what the others give back."""

    def __init__(self, bounds: Bounds) -> None:
        self._bounds = bounds
        self._taken: dict[str, int] = {}
        self._total = 0
        self._waiters: deque[tuple[str, int, asyncio.Future[Share]]] = deque()

    async def take(self, caller: str, size: int) -> "Share":
        """Wait for `size` bytes. More than the bounds admit at all count as all of them."""
        size = min(size, self._bounds.each, self._bounds.total)
        if self._has_room(caller, size) and not any(waiter[0] == caller for waiter in self._waiters):
            return self._new_share(caller, size)
        waiter: asyncio.Future[Share] = asyncio.get_running_loop().create_future()
        self._waiters.append((caller, size, waiter))
        return await waiter

    def _has_room(self, caller: str, size: int) -> bool:
        own = self._taken.get(caller, 0)
        return own + size <= self._bounds.each and self._total + size <= self._bounds.total

    def _new_share(self, caller: str, size: int) -> "Share":
        self._taken[caller] = self._taken.get(caller, 0) + size
        self._total += size
        return Share(self, caller, size)

    def _free(self, caller: str, size: int) -> None:
        self._total -= size
        remaining = self._taken.pop(caller) - size
        if remaining:
            self._taken[caller] = remaining
        waiters, self._waiters = self._waiters, deque()
        for next_caller, next_size, waiter in waiters:
            if waiter.done():
                continue
            if self._has_room(next_caller, next_size):
                waiter.set_result(self._new_share(next_caller, next_size))
            else:
                self._waiters.append((next_caller, next_size, waiter))


class Share:
    """Bytes that a caller holds; released once, and at the latest when it is collected."""

    __slots__ = ("_caller", "_limit", "_size")

    def __init__(self, limit: ByteLimit, caller: str, size: int) -> None:
        self._limit: ByteLimit | None = limit
        self._caller = caller
        self._size = size

    def release(self) -> None:
        """Give the bytes back; a second time is no error."""
        if (limit := self._limit) is not None:
            self._limit = None
            limit._free(self._caller, self._size)

    __del__ = release
