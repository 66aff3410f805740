"""Waiting for what comes by itself."""

import asyncio
from collections.abc import Awaitable, Callable


async def until(holds: Callable[[], bool | Awaitable[bool]], seconds: float = 10) -> None:
    """Ask again and again until it is so. Raises TimeoutError."""
    async with asyncio.timeout(seconds):
        while True:
            result = holds()
            if result is True or (not isinstance(result, bool) and await result):
                return
            await asyncio.sleep(0.01)
