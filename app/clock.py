"""Time as Palaver stores and shows it: UTC, ISO 8601, microseconds."""

from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from operator import methodcaller

utc_now: Callable[[], datetime] = partial(datetime.now, UTC)

iso: Callable[[datetime], str] = methodcaller("isoformat", timespec="microseconds")
"""`2026-11-21T01:20:58.571438+00:00`, always with six digits, so that text order is time order."""
