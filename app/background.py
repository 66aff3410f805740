"""Work in the background, until the server stops."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import structlog

from app.errors import Unavailable

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Background:
    """Does `work` at the start, when it is woken, and every `interval_seconds` for what other servers or a crash left.

    Work that raises Unavailable is tried again after `retry_seconds`; `retry_event` is the log's event for that.
    """

    work: Callable[[], Awaitable[None]]
    retry_event: str
    interval_seconds: float
    retry_seconds: float
    _woken: asyncio.Event = field(default_factory=asyncio.Event)

    def wake(self) -> None:
        """Have the work done now."""
        self._woken.set()

    async def run(self) -> None:
        """Run until cancelled."""
        while True:
            self._woken.clear()
            try:
                await self.work()
            except Unavailable as error:
                log.warning(self.retry_event, code=error.code, exc_info=error.__cause__)
                await asyncio.sleep(self.retry_seconds)
                continue
            except Exception as error:  # the work that comes later must not go without
                log.error("background_work_crashed", work=self.retry_event, exc_info=error)
                await asyncio.sleep(self.retry_seconds)
                continue
            try:
                async with asyncio.timeout(self.interval_seconds):
                    await self._woken.wait()
            except TimeoutError:
                continue


async def every(seconds: float, act: Callable[[], Awaitable[None]], failure_event: str) -> None:
    """Do `act` every so many seconds until cancelled, whatever it raises; the next time will do."""
    while True:
        await asyncio.sleep(seconds)
        try:
            await act()
        except Unavailable as error:
            log.warning(failure_event, code=error.code, exc_info=error.__cause__)
        except Exception as error:
            log.error(failure_event, exc_info=error)


class Pulse:
    """Whether work that is repeated has succeeded of late."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._trying_since: float | None = None

    @contextmanager
    def attempt(self) -> Iterator[None]:
        """Count the block as an attempt, which succeeds unless it raises."""
        if self._trying_since is None:
            self._trying_since = time.monotonic()
        yield
        self._trying_since = None

    def rest(self) -> None:
        """Expect nothing until the next attempt."""
        self._trying_since = None

    def check(self) -> None:
        """Raises TimeoutError when attempts have gone on without a success for too long."""
        if self._trying_since is not None and time.monotonic() - self._trying_since > self._seconds:
            raise TimeoutError(f"no success for more than {self._seconds:g} seconds")
