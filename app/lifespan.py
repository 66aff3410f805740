"""What begins when the server starts, and ends when it stops."""

import asyncio
from collections.abc import AsyncIterator, Awaitable
from contextlib import AsyncExitStack, asynccontextmanager, suppress

from sqlalchemy import make_url

from app.auth.browser.service import BrowserSessions
from app.auth.service import LAST_USED_EVERY, STORE_REVOCATIONS_EVERY
from app.auth.watch import LOOK_SECONDS, KeyWatch
from app.background import every
from app.chat.runs.upkeep import PURGE_SECONDS
from app.chat.search.service import SearchService
from app.cluster.bus import Bus
from app.cluster.configs import CHECK_SECONDS, ConfigWatch
from app.cluster.servers import Servers
from app.core import Core, ServerIdentity, data_dir_lock
from app.database import migrations
from app.database.errors import DatabaseUnavailable
from app.idempotency import Idempotency
from app.parts import Bots, Chat, Files, Knowledge
from app.providers.admin import SYNC_SECONDS, ProviderAdmin
from app.providers.service import ProviderRegistry
from app.tools.mcp.service import McpServers
from app.usage.service import COUNTERS_PURGE_SECONDS, UsageService


@asynccontextmanager
async def lifespan(
    core: Core,
    identity: ServerIdentity,
    servers: Servers,
    configs: ConfigWatch,
    bus: Bus,
    files: Files,
    chat: Chat,
    knowledge: Knowledge,
    providers: ProviderRegistry,
    bots: Bots,
    mcp: McpServers,
    idempotency: Idempotency,
    browsers: BrowserSessions,
    usage: UsageService,
    provider_admin: ProviderAdmin,
    searches: SearchService,
) -> AsyncIterator[None]:
    """Run all that works in the background; what was opened last is closed first."""
    async with AsyncExitStack() as stack:
        if core.is_embedded:
            stack.enter_context(data_dir_lock(core.settings).acquire(timeout=0))
        stack.callback(identity.release)
        stack.push_async_callback(core.database.close)
        await asyncio.to_thread(migrations.upgrade, core.database_url)
        await core.keys.open()
        await provider_admin.sync()
        await files.sweeper.open()
        await servers.join()
        stack.push_async_callback(servers.leave)
        await bus.open(_namespace(core))
        stack.push_async_callback(bus.close)
        await chat.recovery.open()
        stack.push_async_callback(_write_last_used, core)
        for close in (
            providers.close,
            knowledge.indexer.close,
            files.documents.close,
            files.images.close,
            bots.close,
            mcp.close,
            searches.close,
        ):
            stack.push_async_callback(close)
        await bots.open()
        watch = KeyWatch(core.database, core.keys, bus)
        if bus.is_shared:
            await stack.enter_async_context(_background(every(LOOK_SECONDS, watch.look, "key_changes_not_looked_up")))
        await stack.enter_async_context(
            _background(
                every(LAST_USED_EVERY.total_seconds(), core.keys.write_last_used, "last_used_postponed"),
                every(STORE_REVOCATIONS_EVERY.total_seconds(), core.keys.store_revocations, "revocations_postponed"),
                every(PURGE_SECONDS, idempotency.purge, "claims_not_purged"),
                every(PURGE_SECONDS, browsers.purge, "browser_sessions_not_purged"),
                every(COUNTERS_PURGE_SECONDS, usage.purge, "counters_not_purged"),
                knowledge.indexer.background.run(),
                knowledge.remover.background.run(),
                files.sweeper.background.run(),
                mcp.background.run(),
                bots.run(),
            )
        )
        if not core.is_embedded:
            compare = every(CHECK_SECONDS, configs.compare, "servers_not_compared")
            sync = every(SYNC_SECONDS, provider_admin.sync, "providers_not_synced")
            await stack.enter_async_context(_background(compare, sync))
        chat.upkeep.start()
        stack.push_async_callback(chat.upkeep.close)
        stack.push_async_callback(chat.mirrors.close)
        stack.push_async_callback(chat.watched.close)
        stack.push_async_callback(chat.titles.close)
        stack.push_async_callback(chat.engine.close)
        yield


@asynccontextmanager
async def _background(*work: Awaitable[None]) -> AsyncIterator[None]:
    tasks = [asyncio.ensure_future(each) for each in work]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _namespace(core: Core) -> str:
    """Return what the names of the bus's channels begin with: servers on other databases may be on it as well."""
    database = make_url(core.database_url).database
    return f"palaver_{core.secrets.digest(f'bus of {database}'.encode()).hex()[:16]}_"


async def _write_last_used(core: Core) -> None:
    with suppress(DatabaseUnavailable):  # the server stops either way
        await core.keys.write_last_used()
        await core.keys.store_revocations()
