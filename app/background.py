"""Work in the background, until the server stops."""

import asyncio
from collections.abc import Awaitable, Callable
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
            try:
                async with asyncio.timeout(self.interval_seconds):
                    await self._woken.wait()
            except TimeoutError:
                continue
