"""Work that is done in the background whenever there is some, until the server stops."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import structlog

from app.errors import Unavailable

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Background:
    """Does `work` at the start, whenever it is woken, and every `look_seconds`, for what others or a crash left.

    What raises Unavailable is put off for `retry_seconds`; the log calls that `put_off`.
    """

    work: Callable[[], Awaitable[None]]
    put_off: str
    look_seconds: float
    retry_seconds: float
    _woken: asyncio.Event = field(default_factory=asyncio.Event)

    def wake(self) -> None:
        """There is something to do."""
        self._woken.set()

    async def run(self) -> None:
        """Work until cancelled."""
        while True:
            self._woken.clear()
            try:
                await self.work()
            except Unavailable as error:
                log.warning(self.put_off, code=error.code, exc_info=error.__cause__)
                await asyncio.sleep(self.retry_seconds)
                continue
            try:
                async with asyncio.timeout(self.look_seconds):
                    await self._woken.wait()
            except TimeoutError:
                continue
