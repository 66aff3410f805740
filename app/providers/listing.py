"""A model server's list of models, cached."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import structlog
from openai import OpenAIError

from app.providers import lenient_json
from app.providers.errors import TRANSPORT_ERRORS
from app.providers.models import UpstreamError

TTL_SECONDS = 300.0
FAILURE_TTL_SECONDS = 15.0

log = structlog.get_logger(__name__)

MAX_NAME_CHARS = 500


def parse_model_list(body: bytes) -> Sequence[str] | None:
    """The names in a list of models of any form; None if there is none. Raises ValueError, RecursionError."""
    value = lenient_json.decode(body.removeprefix(b"\xef\xbb\xbf"))
    if isinstance(value, dict):
        value = next((list_ for key in ("data", "models") if isinstance(list_ := value.get(key), list)), None)
    if not isinstance(value, list):
        return None
    names = filter(None, map(_name_of, value))
    return list(dict.fromkeys(names)) or None


def _name_of(entry: Any) -> str | None:
    names = [entry.get(key) for key in ("id", "name", "model")] if isinstance(entry, dict) else [entry]
    return next((name for name in names if isinstance(name, str) and 0 < len(name) <= MAX_NAME_CHARS), None)


class CachedModelList:
    """The result of `fetch`, refreshed when it is stale, once for all waiting callers."""

    def __init__(self, fetch: Callable[[], Awaitable[Sequence[str] | None]]) -> None:
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
        except (OpenAIError, UpstreamError, ValueError, RecursionError, *TRANSPORT_ERRORS) as error:
            ttl = FAILURE_TTL_SECONDS
            log.info("models_not_listed", error=type(error).__name__)
        self._expires_at = time.monotonic() + ttl
