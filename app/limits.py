"""Limits of what goes on at once, for each caller and in all."""

from dataclasses import dataclass

from app.errors import TooManyRequests


@dataclass(frozen=True, slots=True)
class Bounds:
    """The most slots at once; `each` is for one caller."""

    each: int
    total: int


class ConcurrencyLimit:
    """Slots that are taken while something goes on. A caller without a slot is forgotten."""

    def __init__(self, name: str, code: str, bounds: Bounds) -> None:
        self._name = name
        self._code = code
        self._bounds = bounds
        self._taken: dict[str, int] = {}
        self._total = 0

    def __len__(self) -> int:
        return self._total

    def take(self, caller: str) -> "Slot":
        """Take a slot until it is released. Raises TooManyRequests, at once, when there is none."""
        if self._total >= self._bounds.total or self._taken.get(caller, 0) >= self._bounds.each:
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
