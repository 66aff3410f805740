"""The adapters of bots that are in use."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime

from app.bots.adapters.base import Adapter
from app.bots.models import Bot


@dataclass(slots=True)
class _Running:
    """An adapter in use, made from the bot as it was at `version`."""

    adapter: Adapter
    version: datetime
    senders: int = 0
    retired: bool = False


class RunningAdapters:
    """Adapters by bot: each is kept while its bot stays as it is, and closed once the messages under way have gone."""

    def __init__(self) -> None:
        self._running: dict[str, _Running] = {}

    @asynccontextmanager
    async def use(self, bot: Bot, build: Callable[[], Adapter]) -> AsyncIterator[Adapter]:
        """The adapter of a bot, made when it is first needed; it stays open for as long as the block lasts."""
        entry = self._running.get(bot.id)
        stale = None
        if entry is None or entry.version != bot.updated_at:
            # Changed by another process, or not used yet: swapped in one step, so that no second sender makes another.
            stale, entry = entry, _Running(build(), bot.updated_at)
            self._running[bot.id] = entry
        entry.senders += 1
        try:
            if stale is not None:
                await _retire(stale)
            yield entry.adapter
        finally:
            entry.senders -= 1
            if entry.retired and entry.senders == 0:
                await entry.adapter.close()

    async def drop(self, bot_id: str) -> None:
        """Let go of the adapter that was made for an earlier state of the bot."""
        if (entry := self._running.pop(bot_id, None)) is not None:
            await _retire(entry)

    async def close(self) -> None:
        """Close every adapter: nothing is sent any more."""
        running, self._running = self._running, {}
        for entry in running.values():
            await entry.adapter.close()


async def _retire(entry: _Running) -> None:
    entry.retired = True
    if entry.senders == 0:
        await entry.adapter.close()
