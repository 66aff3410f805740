"""What goes on at once: limits for each caller and in all, and a mark that one waits for."""

from dataclasses import dataclass

from app.errors import TooManyRequests


@dataclass(frozen=True, slots=True)
class Bounds:
    """The most at once; `each` is for one caller."""

    each: int
    total: int


class ConcurrencyLimit:
    """Places that are taken while something goes on. What is kept for a caller goes with its last place."""

    def __init__(self, what: str, code: str, bounds: Bounds) -> None:
        self._what = what
        self._code = code
        self._bounds = bounds
        self._taken: dict[str, int] = {}
        self._total = 0

    def __len__(self) -> int:
        return self._total

    def take(self, caller: str) -> "Slot":
        """A place, until it is released. Raises TooManyRequests, at once, when there is none."""
        if self._total >= self._bounds.total or self._taken.get(caller, 0) >= self._bounds.each:
            raise TooManyRequests(f"Too many {self._what} at once", retry_after=2, code=self._code)
        self._taken[caller] = self._taken.get(caller, 0) + 1
        self._total += 1
        return Slot(self, caller)

    def _free(self, caller: str) -> None:
        self._total -= 1
        left = self._taken.pop(caller) - 1
        if left:
            self._taken[caller] = left


class RunLimit(ConcurrencyLimit):
    """Runs that wait or go on."""


class StreamLimit(ConcurrencyLimit):
    """Streams that are open."""


class Slot:
    """One place; released once, however often it is said, and at the latest when nobody holds it any more.

    A stream whose reader leaves before the first byte is never begun, and could not release anything itself.
    """

    __slots__ = ("_caller", "_places")

    def __init__(self, places: ConcurrencyLimit, caller: str) -> None:
        self._places: ConcurrencyLimit | None = places
        self._caller = caller

    def release(self) -> None:
        if (places := self._places) is not None:
            self._places = None
            places._free(self._caller)

    __del__ = release
