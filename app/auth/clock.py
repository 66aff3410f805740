"""The time by which keys end."""

import time
from datetime import UTC, datetime, timedelta


class KeyClock:
    """A clock that never goes back: what has expired stays so when the system's clock is set back.

    The latest time is stored now and then, and is where the clock of the next process begins.
    """

    def __init__(self) -> None:
        self._latest = datetime.min.replace(tzinfo=UTC)
        self._read_at = time.monotonic()

    def reach(self, moment: datetime) -> datetime:
        """Return the time, given the system's or a stored one."""
        read_at = time.monotonic()
        self._latest = max(moment, self._latest + timedelta(seconds=read_at - self._read_at))
        self._read_at = read_at
        return self._latest
