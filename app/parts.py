"""The parts of the application, opened with the settings."""

import asyncio
from dataclasses import dataclass
from datetime import timedelta
from importlib.util import find_spec
from socket import gethostname

from sqlalchemy import Connection

from app import __version__
from app.auth.browser.service import BrowserSessions
from app.auth.store import rename_config as rename_config_of_keys
from app.bots.adapters.http import Network
from app.bots.adapters.webchat import PLATFORM_ID as WEBCHAT
from app.bots.adapters.webchat import WebchatAdapter
from app.bots.callbacks import Callbacks
from app.bots.gauges import BotGauges
from app.bots.inbox.contexts import ReplyContexts
from app.bots.inbox.listeners import Listeners
from app.bots.inbox.processor import Processor
from app.bots.inbox.service import InboxService
from app.bots.inbox.turns import TurnMaker
from app.bots.outbox.worker import Outbox
from app.bots.platforms import platform_factories
from app.bots.replies import Replies, store_reply
from app.bots.sending import MessageService
from app.bots.service import BotService
from app.bots.store import rename_config as rename_config_of_bots
from app.chat.accept import Planner
from app.chat.approvals import Approvals
from app.chat.media import MediaLoader
from app.chat.prompt import PromptBuilder
from app.chat.retrieval import Retrieval
from app.chat.runs.engine import RunEngine
from app.chat.runs.mirrors import Mirrors
from app.chat.runs.queue import SessionQueue
from app.chat.runs.recovery import Recovery
from app.chat.runs.remote import RemoteControl
from app.chat.runs.resuming import PausedRuns
from app.chat.runs.row_queue import RowQueue
from app.chat.runs.stopping import Stopper
from app.chat.runs.task import RunTools
from app.chat.runs.titles import TitleMaker
from app.chat.runs.upkeep import RunUpkeep
from app.chat.runs.watching import Watched
from app.chat.service import ChatService
from app.chat.sessions import rename_config as rename_config_of_sessions
from app.cluster.bus import Bus, NoBus
from app.cluster.configs import ConfigWatch, Digests
from app.cluster.live_bus import LiveBus
from app.cluster.models import ServerInfo
from app.cluster.postgres_bus import PostgresTransport
from app.cluster.redis_bus import RedisTransport
from app.cluster.servers import Servers
from app.completions.catalog import ModelCatalog
from app.completions.service import CompletionService
from app.core import Core, open_aside
from app.files.extracted_text import ExtractedTextService
from app.files.extraction.reader import CallerBounds, DocumentReader
from app.files.images import ImageReader
from app.files.quota import StorageQuota
from app.files.service import FileService
from app.files.storage import AttachmentStorage, open_storage
from app.files.sweeping import Sweeper
from app.idempotency import Idempotency
from app.knowledge.collections import CollectionService
from app.knowledge.documents import DocumentService
from app.knowledge.indexer import Indexer
from app.knowledge.preparing import PassageMaker
from app.knowledge.removal import Remover
from app.knowledge.search import Searcher
from app.knowledge.service import KnowledgeService
from app.knowledge.store import IndexStore
from app.knowledge.vectors import Embedder
from app.limits import Bounds, RunLimit, StreamLimit, WebSocketLimit
from app.options import (
    document_limits,
    image_limits,
    knowledge_limits,
    mcp_servers,
    name_policy,
    part_limits,
    price_table,
    prompt_limits,
    setting_digests,
)
from app.profiles.editor import ProfileEditor
from app.profiles.service import ProfileService
from app.providers.service import ProviderRegistry
from app.roles.service import RoleService
from app.settings import Settings
from app.telemetry.metrics import Metrics
from app.tools.builtin.clock import Clock
from app.tools.builtin.knowledge import KnowledgeSearch
from app.tools.builtin.pages import PageFetcher
from app.tools.caller import ToolCaller
from app.tools.catalog import ToolCatalog
from app.tools.mcp.service import McpServers
from app.tools.models import Tool
from app.usage.calls import CallLimits
from app.usage.embeddings import EmbeddingUsage


@dataclass(frozen=True, slots=True)
class Files:
    """Attachments, and the texts and images in them."""

    storage: AttachmentStorage
    sweeper: Sweeper
    service: FileService
    reader: DocumentReader
    documents: ExtractedTextService
    images: ImageReader


@dataclass(frozen=True, slots=True)
class Limits:
    """What may go on at once."""

    runs: RunLimit
    streams: StreamLimit
    sockets: WebSocketLimit


@dataclass(frozen=True, slots=True)
class Knowledge:
    """The knowledge base: the services, and the work in the background."""

    service: KnowledgeService
    collections: CollectionService
    documents: DocumentService
    indexer: Indexer
    remover: Remover


def open_browser_sessions(settings: Settings, core: Core) -> BrowserSessions:
    return BrowserSessions(
        core.database,
        core.secrets,
        core.keys,
        timedelta(hours=settings.browser_session_hours),
        open_to_all=settings.no_auth,
    )


def open_profile_editor(
    settings: Settings, core: Core, profiles: ProfileService, providers: ProviderRegistry
) -> ProfileEditor:
    async def follow(id: str, new_id: str) -> None:
        now = core.keys.now()

        def rename(connection: Connection) -> None:
            rename_config_of_sessions(connection, id, new_id)
            rename_config_of_keys(connection, id, new_id, now)
            rename_config_of_bots(connection, id, new_id)

        await core.database.write(rename)
        core.keys.drop_caches()

    return ProfileEditor(settings.data_dir / "configs", profiles, lambda: providers.ids, follow)


def open_knowledge(
    settings: Settings,
    core: Core,
    files: FileService,
    profiles: ProfileService,
    providers: ProviderRegistry,
    metrics: Metrics,
) -> Knowledge:
    reader = DocumentReader(knowledge_limits(settings), workers=1)
    embedder = Embedder(providers, EmbeddingUsage(core.database, price_table(settings)))
    size = settings.knowledge_passage_chars
    indexer = Indexer(
        IndexStore(core.database, sole_owner=core.is_embedded),
        files,
        reader,
        PassageMaker(size=size, overlap=min(settings.knowledge_passage_overlap, size // 2)),
        embedder,
        metrics,
    )
    remover = Remover(core.database, files)

    def wake() -> None:
        indexer.background.wake()
        remover.background.wake()

    collections = CollectionService(core.database, profiles, providers)
    return Knowledge(
        KnowledgeService(core.database, Searcher(core.database, embedder)),
        collections,
        DocumentService(core.database, files, reader, wake),
        indexer,
        remover,
    )


def open_limits(settings: Settings) -> Limits:
    return Limits(
        RunLimit("replies", "too_many_runs", Bounds(settings.max_runs_per_key, settings.max_runs)),
        StreamLimit("streams", "too_many_streams", Bounds(settings.max_streams_per_key, settings.max_streams)),
        WebSocketLimit(
            "WebSockets", "too_many_websockets", Bounds(settings.max_websockets_per_key, settings.max_websockets)
        ),
    )


def open_servers(settings: Settings, core: Core, limits: Limits, server_id: str) -> Servers:
    """The servers that share the database; on the embedded one, this one alone."""
    info = ServerInfo(server_id, gethostname(), f"{settings.host}:{settings.port}", __version__)
    shared = {"runs": limits.runs, "streams": limits.streams, "websockets": limits.sockets}
    return Servers(None if core.is_embedded else open_aside(core), info, shared)


def open_configs(settings: Settings, core: Core, profiles: ProfileService, server_id: str) -> ConfigWatch:
    """What this server is set to, compared with the others."""
    of_settings = setting_digests(settings, core.secrets.digest)

    def digests() -> Digests:
        return {**of_settings, **profiles.digests(core.secrets.digest)}

    return ConfigWatch(None if core.is_embedded else core.database, server_id, digests)


def open_bus(settings: Settings, core: Core, servers: Servers) -> Bus:
    """What tells the servers on one database of each other's news.

    Raises ValueError for one that is not installed, and for one beside a database that one server has to itself.
    """
    if core.is_embedded and settings.bus_url not in (None, "none"):
        raise ValueError(
            "PALAVER_BUS_URL is for servers that share a PostgreSQL database: set PALAVER_DATABASE_URL too"
        )
    if core.is_embedded or settings.bus_url == "none" or (settings.bus_url is None and settings.database_pooler):
        return NoBus(is_shared=not core.is_embedded)
    url = settings.bus_url or core.database_url
    if url.startswith("postgresql"):
        return LiveBus(PostgresTransport(url, servers.id, servers.set_lock), servers.id)
    if find_spec("redis") is None:
        raise ValueError("PALAVER_BUS_URL names Redis, whose client is not installed: pip install 'palaver[redis]'")
    return LiveBus(RedisTransport(url), servers.id)


@dataclass(frozen=True, slots=True)
class Chat:
    """Chats and completions, and the runs that answer them."""

    service: ChatService
    completions: CompletionService
    catalog: ModelCatalog
    engine: RunEngine
    recovery: Recovery
    upkeep: RunUpkeep
    approvals: Approvals
    mirrors: Mirrors
    watched: Watched
    titles: TitleMaker


def open_files(settings: Settings, core: Core, idempotency: Idempotency) -> Files:
    folder = settings.data_dir / "attachments"
    storage = open_storage(settings.storage_url or folder)
    is_own = settings.storage_url is None
    sweeper = Sweeper(
        core.database,
        storage,
        register=folder.with_suffix(".databases") if is_own else None,
        sole_user=is_own and core.is_embedded,
    )
    quota = StorageQuota(settings.max_storage_per_key)
    service = FileService(core.database, storage, idempotency, quota, settings.max_upload_bytes, tracked=not is_own)
    bounds = CallerBounds(settings.max_documents_per_key, settings.max_documents_per_user)
    reader = DocumentReader(document_limits(settings), workers=settings.document_workers, bounds=bounds)
    return Files(
        storage,
        sweeper,
        service,
        reader,
        ExtractedTextService(core.database, service, reader),
        ImageReader(image_limits(settings), workers=settings.image_workers),
    )


def open_chat(
    settings: Settings,
    core: Core,
    files: Files,
    knowledge: KnowledgeService,
    profiles: ProfileService,
    providers: ProviderRegistry,
    roles: RoleService,
    tools: ToolCatalog,
    idempotency: Idempotency,
    metrics: Metrics,
    slots: RunLimit,
    servers: Servers,
    bus: Bus,
) -> Chat:
    prices = price_table(settings)
    media = MediaLoader(files.service, files.documents, files.images, prompt_limits(settings))
    prompts = PromptBuilder(core.database, media)
    approvals = Approvals(core.database, bus)
    bounds = settings.max_waiting_per_session, settings.max_waiting
    turns = (
        RowQueue(bus, servers.id, *bounds, store_reply) if bus.is_shared else SessionQueue(*bounds, on_end=store_reply)
    )
    titles = TitleMaker(core.database)
    engine = RunEngine(
        RunTools(
            core.database,
            Retrieval(roles, knowledge),
            prompts,
            metrics,
            tools,
            ToolCaller(metrics),
            approvals,
            turns,
            prices,
            titles,
        ),
        turns,
    )
    mirrors = Mirrors(core.database, bus, servers.id)
    service = ChatService(
        core.database,
        engine,
        Planner(profiles, providers, prices),
        files.service,
        files.documents,
        files.images,
        idempotency,
        slots,
        roles,
        knowledge,
        mirrors,
        Stopper(core.database, engine, bus, servers.id),
        servers.id,
    )
    catalog = ModelCatalog(profiles, providers, roles, name_policy(settings))
    completions = CompletionService(
        service,
        catalog,
        files.service,
        files.documents,
        files.reader,
        files.images,
        part_limits(settings),
        settings.max_prompt_document_chars,
        slots,
        roles,
        CallLimits(core.database, prices, EmbeddingUsage(core.database, prices)),
    )
    is_shared = not core.is_embedded
    paused = PausedRuns(core.database, engine, providers, slots, servers.id)
    remote = RemoteControl(core.database, engine, bus, servers.id)
    recovery = Recovery(core.database, engine, paused, servers, prices, is_shared=is_shared)
    upkeep = RunUpkeep(
        core.database, engine, recovery, remote, is_shared=is_shared, max_seconds=settings.max_reply_seconds
    )
    return Chat(
        service, completions, catalog, engine, recovery, upkeep, approvals, mirrors, Watched(engine, bus), titles
    )


@dataclass(frozen=True, slots=True)
class Tools:
    """The tools there are, and the MCP servers that some of them come from."""

    catalog: ToolCatalog
    mcp: McpServers


def open_tools(settings: Settings, core: Core, files: Files, knowledge: KnowledgeService) -> Tools:
    """Palaver's own tools, and MCP servers; `message` is added when there are bots."""
    own: list[Tool] = [
        Clock(),
        KnowledgeSearch(knowledge),
        PageFetcher(files.reader, allow_private=settings.fetch_allow_private),
    ]
    mcp = McpServers(
        core.database,
        core.secrets,
        files.service,
        mcp_servers(settings),
        allow_private=settings.mcp_allow_private,
        reserved=frozenset(tool.spec.name for tool in own),
    )
    return Tools(ToolCatalog(own, [mcp]), mcp)


@dataclass(frozen=True, slots=True)
class Bots:
    """Bots, what they send, and what comes to them."""

    service: BotService
    outbox: Outbox
    callbacks: Callbacks
    messages: MessageService
    inbox: InboxService
    processor: Processor
    listeners: Listeners
    replies: Replies
    gauges: BotGauges

    async def open(self) -> None:
        """Go on with what an earlier process has left."""
        await self.outbox.open()
        await self.processor.open()

    async def run(self) -> None:
        """Work until cancelled."""
        async with asyncio.TaskGroup() as group:
            for each in (self.outbox, self.callbacks, self.processor, self.listeners, self.gauges):
                group.create_task(each.run())

    async def close(self) -> None:
        """Take nothing more in, and end what goes on."""
        for each in (self.listeners, self.processor, self.replies, self.outbox, self.callbacks, self.service):
            await each.close()


def open_bots(
    settings: Settings,
    core: Core,
    files: FileService,
    chat: ChatService,
    idempotency: Idempotency,
    metrics: Metrics,
    owner: str,
) -> Bots:
    network = Network(allow_private=settings.webhook_allow_private)
    service = BotService(
        core.database,
        core.secrets,
        factories=platform_factories(network, count_webhook=lambda outcome: metrics.deliveries.labels(outcome).inc()),
        builtin={WEBCHAT: WebchatAdapter(chat)},
    )
    sole_owner = core.is_embedded
    contexts = ReplyContexts(core.database, core.secrets)
    callbacks = Callbacks(
        core.database,
        core.secrets,
        network,
        count=lambda outcome: metrics.im_callbacks.labels(outcome).inc(),
    )
    outbox = Outbox(
        core.database,
        service,
        files,
        owner,
        sole_owner=sole_owner,
        contexts=contexts,
        count=lambda kind, outcome: metrics.im_tries.labels(kind, outcome).inc(),
        on_end=callbacks.wake,
    )
    messages = MessageService(core.database, service, outbox, files, idempotency)
    replies = Replies(core.database, service, outbox, contexts)

    def count_event(outcome: str) -> None:
        metrics.im_events.labels(outcome).inc()

    processor = Processor(
        core.database,
        service,
        chat,
        TurnMaker(core.database, files),
        messages,
        replies,
        owner,
        sole_owner=sole_owner,
        count=count_event,
    )
    inbox = InboxService(core.database, core.secrets, owner, processor.wake, count=count_event)
    listeners = Listeners(core.database, service, inbox, owner)
    service.on_change(listeners.wake)
    return Bots(
        service, outbox, callbacks, messages, inbox, processor, listeners, replies, BotGauges(core.database, metrics)
    )
