"""A model server's list of models, cached."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence

import structlog
from openai import OpenAIError

from app.providers.errors import TRANSPORT_ERRORS

TTL_SECONDS = 300.0
FAILURE_TTL_SECONDS = 15.0

log = structlog.get_logger(__name__)


class CachedModelList:
    """The result of `fetch`, refreshed when it is stale, once for all waiting callers."""

    def __init__(self, fetch: Callable[[], Awaitable[Sequence[str]]]) -> None:
        self._fetch = fetch
        self._ids: Sequence[str] | None = None
        self._expires_at = 0.0
        self._lock = asyncio.Lock()

    @property
    def is_stale(self) -> bool:
        """Whether the next `get` fetches the list."""
        return time.monotonic() >= self._expires_at

    async def get(self) -> Sequence[str] | None:
        """The list. After a failure it is the last one, or None."""
        if self.is_stale:
            async with self._lock:
                if self.is_stale:
                    await self._refresh()
        return self._ids

    async def _refresh(self) -> None:
        ttl = TTL_SECONDS
        try:
            self._ids = await self._fetch()
        except (OpenAIError, ValueError, *TRANSPORT_ERRORS) as error:
            ttl = FAILURE_TTL_SECONDS
            log.info("models_not_listed", error=type(error).__name__)
        self._expires_at = time.monotonic() + ttl
