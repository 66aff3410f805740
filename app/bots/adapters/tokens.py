"""Access tokens that a platform gives for a bot's secret, and that expire."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from app.bots.adapters.outcomes import NotSent, Unknown

USED_PART = 0.8
"""The part of a token's life after which it is replaced."""


@dataclass(frozen=True, slots=True)
class AccessToken:
    """A token and how long it lives."""

    text: str
    seconds: float

    def __repr__(self) -> str:
        return f"AccessToken(seconds={self.seconds!r})"


class TokenCache:
    """One bot's token, in memory; whoever needs a new one waits for the one who asks for it."""

    def __init__(
        self, fetch: Callable[[], Awaitable[AccessToken]], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._fetch = fetch
        self._clock = clock
        self._text = ""
        self._until = 0.0
        self._lock = asyncio.Lock()

    async def get(self) -> str:
        """Return a token that is good for now. Raises what `fetch` does; nothing is sent by it."""
        async with self._lock:
            if self._clock() >= self._until:
                try:
                    token = await self._fetch()
                except Unknown as error:
                    raise NotSent(error.message, platform_code=error.platform_code) from error
                self._text, self._until = token.text, self._clock() + token.seconds * USED_PART
            return self._text

    def discard(self, text: str) -> None:
        """Forget a token that was refused, unless it has been replaced already."""
        if text == self._text:
            self._until = 0.0
