"""What a model server says of its models, remembered for a while."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence

import aiohttp
import httpx2
import structlog
from openai import OpenAIError

KEPT_SECONDS = 300.0
FAILURE_KEPT_SECONDS = 15.0

log = structlog.get_logger(__name__)


class CachedModelList:
    """The list that `ask` brings: asked for once, however many want it, and again when it has become old."""

    def __init__(self, ask: Callable[[], Awaitable[Sequence[str]]]) -> None:
        self._ask = ask
        self._ids: Sequence[str] | None = None
        self._good_until = 0.0
        self._asking = asyncio.Lock()

    @property
    def is_old(self) -> bool:
        """Whether the next who wants the list makes the server be asked."""
        return time.monotonic() >= self._good_until

    async def get(self) -> Sequence[str] | None:
        """None when the server does not say. What is old is better than nothing."""
        if self.is_old:
            async with self._asking:
                if self.is_old:
                    await self._renew()
        return self._ids

    async def _renew(self) -> None:
        kept = KEPT_SECONDS
        try:
            self._ids = await self._ask()
        except (OpenAIError, httpx2.HTTPError, aiohttp.ClientError, OSError, ValueError) as error:
            kept = FAILURE_KEPT_SECONDS
            log.info("models_not_listed", error=type(error).__name__)
        self._good_until = time.monotonic() + kept
