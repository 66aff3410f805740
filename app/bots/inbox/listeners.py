"""The connections of bots: one for each, on one server, for as long as the bot is enabled.

A connection that ends is made again, for ever, after a while that grows to a minute. One that is silent for too long is
given up, and made again. When the platform says that it is in vain, the bot rests until it is changed.
"""

import asyncio
import random
import time
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import structlog

from app.bots.adapters.inbound import Listener
from app.bots.adapters.outcomes import DeliveryError, Refused, Unauthorized
from app.bots.inbox import store
from app.bots.inbox.models import ConnectionState
from app.bots.inbox.service import InboxService
from app.bots.models import Bot
from app.bots.service import BotService
from app.clock import utc_now
from app.database.engine import Database
from app.errors import AppError

LOOK_SECONDS = 5.0
RENEWAL_SECONDS = 5.0
REST_SECONDS = 600.0
"""How long a connection rests that the platform has refused."""
MAX_BACKOFF_SECONDS = 60.0

log = structlog.get_logger(__name__)


@dataclass(slots=True, eq=False)
class _Connection:
    """The task that keeps a bot's connection, of the bot as it was at `version`."""

    bot_id: str
    version: datetime
    task: asyncio.Task[None] | None = None
    last_sign: float = field(default_factory=time.monotonic)

    def alive(self) -> None:
        self.last_sign = time.monotonic()


class Listeners:
    """Keeps the connections of this server; `owner` names it."""

    def __init__(
        self,
        database: Database,
        bots: BotService,
        inbox: InboxService,
        owner: str,
        *,
        first_backoff_seconds: float = 1.0,
    ) -> None:
        self._database = database
        self._bots = bots
        self._inbox = inbox
        self._owner = owner
        self._first_backoff = first_backoff_seconds
        self._connections: dict[str, _Connection] = {}
        self._deaf: dict[str, datetime] = {}
        self._woken = asyncio.Event()
        self._closing = False

    def wake(self) -> None:
        """Look at the bots now."""
        self._woken.set()

    async def run(self) -> None:
        """Begin and end connections as bots come, change and go, until closed or cancelled."""
        try:
            while not self._closing:
                self._woken.clear()
                try:
                    await self._look()
                except AppError as error:
                    log.warning("listeners_postponed", code=error.code, exc_info=error.__cause__)
                except Exception as error:  # the next look must not go without
                    log.error("listeners_crashed", exc_info=error)
                with suppress(TimeoutError):
                    async with asyncio.timeout(LOOK_SECONDS):
                        await self._woken.wait()
        finally:
            await self._end(list(self._connections.values()))

    async def close(self) -> None:
        """End the connections."""
        self._closing = True
        self._woken.set()
        await self._end(list(self._connections.values()))

    async def _look(self) -> None:
        bots = {bot.id: bot for bot in await self._bots.list_bots() if bot.enabled}
        stale = [
            each
            for each in self._connections.values()
            if each.bot_id not in bots or bots[each.bot_id].updated_at != each.version
        ]
        # An old connection has ended before a new one begins: two would answer each message twice.
        await self._end(stale)
        for bot in bots.values():
            if self._closing:
                return
            if bot.id not in self._connections and self._deaf.get(bot.id) != bot.updated_at:
                await self._begin(bot)

    async def _begin(self, bot: Bot) -> None:
        try:
            async with self._bots.use(bot.id) as in_use:
                if not isinstance(in_use.adapter, Listener):
                    self._deaf[bot.id] = bot.updated_at
                    return
        except AppError as error:
            log.warning("bot_not_usable", bot_id=bot.id, code=error.code)
            self._deaf[bot.id] = bot.updated_at
            return
        connection = self._connections[bot.id] = _Connection(bot.id, bot.updated_at)
        connection.task = asyncio.create_task(self._keep(connection))

    async def _end(self, connections: list[_Connection]) -> None:
        tasks = [each.task for each in connections if each.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for each in connections:
            self._connections.pop(each.bot_id, None)
            with suppress(AppError):
                await self._database.write(
                    lambda connection, bot_id=each.bot_id: store.release_listener(  # type: ignore[misc]
                        connection, bot_id, self._owner
                    )
                )

    async def _keep(self, connection: _Connection) -> None:
        """Hold the bot's connection whenever no other server does."""
        failures = 0
        while True:
            seconds = LOOK_SECONDS
            try:
                if await self._lease(connection):
                    failures, seconds = await self._listen(connection, failures)
            except AppError as error:  # the database is away
                log.warning("listener_postponed", bot_id=connection.bot_id, code=error.code)
            except Exception as error:  # the bot must not stay without a connection
                log.error("listener_crashed", bot_id=connection.bot_id, exc_info=error)
            if connection.task is not None and connection.task.cancelling():
                return  # a group of tasks that fails while it is cancelled raises its failure only
            await asyncio.sleep(seconds)

    async def _listen(self, connection: _Connection, failures: int) -> tuple[int, float]:
        """Receive events until the connection ends; the failures in a row, and the seconds to wait."""
        began = time.monotonic()
        try:
            async with self._bots.use(connection.bot_id) as bot, asyncio.TaskGroup() as group:
                assert isinstance(bot.adapter, Listener)
                connection.alive()
                watch = group.create_task(self._watch(connection, bot.adapter.silence_seconds))
                await bot.adapter.listen(self._inbox.of_bot(connection.bot_id, connection.alive))
                watch.cancel()
            error: Exception = ConnectionError("the connection ended")
        except ExceptionGroup as group_of_errors:
            error = group_of_errors.exceptions[0]
        except AppError as app_error:
            error = app_error
        is_fatal = isinstance(error, (Unauthorized, Refused))
        message = error.message if isinstance(error, AppError) else str(error) or type(error).__name__
        if not isinstance(error, (DeliveryError, ConnectionError, TimeoutError)):
            log.error("listener_crashed", bot_id=connection.bot_id, exc_info=error)
            message = "The adapter failed"
        log.warning("listener_ended", bot_id=connection.bot_id, reason=message, fatal=is_fatal)
        state = ConnectionState.FAILED if is_fatal else ConnectionState.CONNECTING
        await self._save(connection, state=state.value, last_error=message[:500])
        if is_fatal:
            return failures, REST_SECONDS
        failures = 0 if time.monotonic() - began > MAX_BACKOFF_SECONDS else failures + 1
        longest = min(self._first_backoff * 2 ** min(failures, 10), MAX_BACKOFF_SECONDS)
        return failures, longest * random.random()  # noqa: S311 - so that servers do not come back all at once

    async def _watch(self, connection: _Connection, silence_seconds: float) -> None:
        """Renew the lease; end the connection when it is lost, or when nothing is heard for long."""
        while True:
            await asyncio.sleep(min(RENEWAL_SECONDS, silence_seconds / 2))
            if not await self._lease(connection):
                raise ConnectionError("another server holds the connection")
            if time.monotonic() - connection.last_sign > silence_seconds:
                raise TimeoutError(f"nothing was heard for {silence_seconds:g} seconds")

    async def _lease(self, connection: _Connection) -> bool:
        return await self._database.write(
            lambda each: store.lease_listener(each, connection.bot_id, self._owner, utc_now())
        )

    async def _save(self, connection: _Connection, **values: Any) -> None:
        await self._database.write(
            lambda each: store.save_connection(each, connection.bot_id, self._owner, utc_now(), **values)
        )
