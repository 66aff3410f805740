"""A process that sends what is in a database's outbox, and kills itself at a point of the second message.

The points: `before_sending`, `after_sending` (its commit), `after_answer`, `before_sent`, `after_sent`, and `none`. At
`after_bytes` the process that started it kills it.
"""

import asyncio
import os
import signal
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import Connection

from app.bots.adapters.base import Adapter, AdapterFactory, Call, Receipt
from app.bots.adapters.http import Network
from app.bots.inbox.contexts import ReplyContexts
from app.bots.inbox.listeners import Listeners
from app.bots.inbox.service import InboxService
from app.bots.outbox.policy import RetryPolicy
from app.bots.outbox.store import list_deliveries
from app.bots.outbox.worker import Outbox
from app.bots.platforms import platform_factories
from app.bots.service import BotService
from app.core import open_core
from app.database.engine import Database
from app.files.quota import StorageQuota
from app.files.service import FileService
from app.files.storage import open_storage
from app.idempotency import Idempotency
from tests.support.server import make_settings

T = TypeVar("T")
OWNER = "crashing"


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


class CrashingDatabase:
    """The database, with a crash before or after a commit: `take` marks a fragment as being sent, `record` ends it.

    Those of the second delivery are meant.
    """

    def __init__(self, database: Database, point: str) -> None:
        self.url = database.url
        self._database = database
        self._point = point
        self._seen = {"take": 0, "record": 0}

    async def read(self, act: Callable[[Connection], T]) -> T:
        return await self._database.read(act)

    async def write(self, act: Callable[[Connection], T]) -> T:
        name = _name_of(act)
        if name is not None:
            self._seen[name] += 1
        is_second = name is not None and self._seen[name] == 2
        if is_second and (name, self._point) in (("take", "before_sending"), ("record", "before_sent")):
            die()
        result = await self._database.write(act)
        if is_second and (name, self._point) in (("take", "after_sending"), ("record", "after_sent")):
            die()
        return result

    async def close(self) -> None:
        await self._database.close()


def _name_of(act: Any) -> str | None:
    if isinstance(act, partial):
        return act.func.__name__ if act.func.__name__ == "record" else None
    return "take" if "_send_head" in getattr(act, "__qualname__", "") else None


class CrashingAdapter:
    """An adapter that dies when the answer to its second call has come."""

    def __init__(self, adapter: Adapter) -> None:
        self._adapter = adapter
        self._calls = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._adapter, name)

    async def deliver(self, call: Call) -> Receipt:
        receipt = await self._adapter.deliver(call)
        self._calls += 1
        if self._calls == 2:
            die()
        return receipt


def _crashing(factory: AdapterFactory[Any]) -> AdapterFactory[Any]:
    def build(bot_id: str, config: Any) -> Any:
        return CrashingAdapter(factory.build(bot_id, config))

    return AdapterFactory(factory.name, factory.config_type, build, factory.secret_fields, factory.generate)


async def main(data_dir: Path, point: str) -> None:
    core = open_core(make_settings(data_dir))
    factories = list(platform_factories(Network(allow_private=True)))
    if point == "after_answer":
        factories = [_crashing(factory) for factory in factories]
    database = CrashingDatabase(core.database, point)
    idempotency = Idempotency(core.database)
    files = FileService(
        core.database, open_storage(data_dir / "attachments"), idempotency, StorageQuota(0), max_upload_bytes=1024
    )
    bots = BotService(core.database, core.secrets, factories=factories, builtin={})
    policy = RetryPolicy(tries=4, wait_initial=0.02, wait_max=0.1, look_after=timedelta(seconds=0.1))
    contexts = ReplyContexts(core.database, core.secrets)
    outbox = Outbox(database, bots, files, OWNER, sole_owner=True, policy=policy, contexts=contexts)
    await outbox.open()
    inbox = InboxService(core.database, core.secrets, OWNER, lambda _chat: None)
    listeners = Listeners(core.database, bots, inbox, OWNER, first_backoff_seconds=0.05)
    listening = asyncio.create_task(listeners.run())
    last = partial(list_deliveries, bot_id=None, target=None, state=None, before=None, limit=100)
    while any(delivery.is_open for delivery in await core.database.read(last)):
        await asyncio.sleep(0.02)
    await listeners.close()
    await listening
    await outbox.close()
    await bots.close()
    await core.database.close()


def run(data_dir: Path, point: str) -> None:
    """Send, as the whole of a process."""
    asyncio.run(main(data_dir, point))
