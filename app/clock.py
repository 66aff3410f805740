"""Time as Palaver stores and shows it: UTC, ISO 8601, microseconds."""

import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import lru_cache, partial
from operator import methodcaller

utc_now: Callable[[], datetime] = partial(datetime.now, UTC)


def timestamp() -> str:
    """Now, as log lines have it: `2026-11-21T01:20:58.571438Z`."""
    now = time.time()
    return f"{_second(int(now))}.{int(now % 1 * 1_000_000):06d}Z"


@lru_cache(maxsize=2)  # many lines are of one second, and writing it out is most of the work
def _second(second: int) -> str:
    return datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S")


iso: Callable[[datetime], str] = methodcaller("isoformat", timespec="microseconds")
"""`2026-11-21T01:20:58.571438+00:00`, always with six digits, so that text order is time order."""


def iso_or_none(moment: datetime | None) -> str | None:
    return None if moment is None else iso(moment)
