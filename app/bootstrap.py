"""The composition root: the one place that reads the settings and builds engines, clients and services."""

import asyncio
import os
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from uuid import uuid4

import msgspec
from quart import Quart

from app.auth import routes as key_routes
from app.auth.guards import AuthPolicy, install_guard
from app.auth.service import LAST_USED_EVERY
from app.bots import routes as im_routes
from app.bots.adapters.webchat import PLATFORM_ID as WEBCHAT
from app.bots.adapters.webchat import WebchatAdapter
from app.bots.adapters.webhook import webhook_factory
from app.bots.service import BotService
from app.chat.parts import PartLimits
from app.chat.prompt import PromptBuilder
from app.chat.runs.engine import PURGE_SECONDS, RunEngine
from app.chat.runs.queue import SessionQueue
from app.chat.service import ChatService
from app.chat.sessions import SessionService
from app.chat.store import RunStore
from app.completions.catalog import ModelCatalog
from app.completions.errors import openai_error
from app.completions.requests import SessionPolicy
from app.completions.respond import OpenAILimits
from app.completions.service import CompletionService
from app.core import Core, data_dir_lock, open_core, prepare_data_dir
from app.database import migrations
from app.database.engine import DatabaseUnavailable
from app.doors.open_api import chat_routes, session_routes, websocket
from app.doors.open_api.schemas import CHAT_EVENT
from app.doors.openai import routes as openai_routes
from app.doors.second_me import role_routes
from app.doors.second_me import routes as kernel2_routes
from app.doors.second_me.errors import kernel2_error
from app.edge.application import Application
from app.edge.bodies import BodyLimit
from app.edge.cors import install_cors
from app.edge.errors import install_errors, open_api_error
from app.edge.request_log import install_request_log
from app.edge.services import provide
from app.files import routes as file_routes
from app.files.extracted_text import ExtractedTextService
from app.files.extraction.models import DocumentLimits
from app.files.extraction.reader import DocumentReader
from app.files.images import ImageLimits, ImageReader
from app.files.service import FileService
from app.files.storage import AttachmentStorage, open_storage
from app.idempotency import Idempotency
from app.knowledge import collection_routes, document_routes
from app.knowledge.collections import CollectionService
from app.knowledge.documents import DocumentService
from app.knowledge.index import PassageIndex
from app.knowledge.indexer import Indexer
from app.knowledge.preparing import PassageMaker
from app.knowledge.removal import Remover
from app.knowledge.search import Searcher
from app.knowledge.service import KnowledgeService
from app.knowledge.store import IndexStore
from app.knowledge.vectors import Embedder
from app.limits import Bounds, RunLimit, StreamLimit
from app.ops import documentation, health
from app.profiles import routes as config_routes
from app.profiles.service import ProfileService
from app.providers.models import ProviderSpec
from app.providers.service import ProviderRegistry
from app.roles.service import RoleService
from app.settings import Settings, load_settings
from app.telemetry.metrics import Metrics

OPENAI_PROVIDER = "openai_chat_completion"
OPENAI_BASE_URL = "https://api.openai.com/v1"
EVENT_SCHEMAS = {"ChatEvent": CHAT_EVENT}


def provider_specs(settings: Settings) -> list[ProviderSpec]:
    """The configured model servers: that of the OPENAI_ variables first, if either is set."""
    specs = []
    if settings.openai_api_key is not None or settings.openai_base_url is not None:
        key = settings.openai_api_key
        specs.append(
            ProviderSpec(
                id=OPENAI_PROVIDER,
                base_url=settings.openai_base_url or OPENAI_BASE_URL,
                default_model=settings.openai_model,
                api_key=None if key is None else key.get_secret_value(),
            )
        )
    for given in settings.providers:
        key_text = given.api_key.get_secret_value() if given.api_key is not None else None
        if given.api_key_env is not None:
            key_text = os.environ.get(given.api_key_env)
            if key_text is None:
                raise ValueError(f"provider {given.id}: the environment has no variable {given.api_key_env}")
        specs.append(
            ProviderSpec(
                id=given.id,
                base_url=given.base_url,
                default_model=given.default_model,
                api_key=key_text,
                models=tuple(given.models),
                timeout_seconds=given.timeout_seconds,
                connect_timeout_seconds=given.connect_timeout_seconds,
                max_retries=given.max_retries,
                extra_headers=given.extra_headers,
            )
        )
    return specs


def document_limits(settings: Settings) -> DocumentLimits:
    return DocumentLimits(
        max_file_bytes=settings.max_document_bytes,
        max_text_chars=settings.max_document_chars,
        max_pages=settings.max_document_pages,
        max_unpacked_bytes=settings.max_document_unpacked_bytes,
        timeout_seconds=settings.document_timeout_seconds,
        memory_bytes=settings.document_memory_bytes,
    )


def image_limits(settings: Settings) -> ImageLimits:
    return ImageLimits(
        max_pixels=settings.max_image_pixels,
        max_side=settings.max_image_side,
        oversized=settings.image_oversized,
        animated=settings.image_animated,
    )


def knowledge_limits(settings: Settings) -> DocumentLimits:
    """Documents of collections may be longer: no model is shown the whole of one."""
    return msgspec.structs.replace(document_limits(settings), max_text_chars=settings.max_knowledge_document_chars)


@dataclass(frozen=True, slots=True)
class Knowledge:
    """The knowledge base: what routes and chats ask, and what works in the background."""

    service: KnowledgeService
    collections: CollectionService
    documents: DocumentService
    indexer: Indexer
    remover: Remover


def open_knowledge(
    settings: Settings,
    core: Core,
    files: FileService,
    profiles: ProfileService,
    providers: ProviderRegistry,
    metrics: Metrics,
) -> Knowledge:
    reader = DocumentReader(knowledge_limits(settings), workers=1)
    passages = PassageIndex()
    embedder = Embedder(providers)
    size = settings.knowledge_passage_chars
    indexer = Indexer(
        IndexStore(core.database, passages, sole_owner=core.database_url.startswith("sqlite")),
        files,
        reader,
        PassageMaker(passages, size=size, overlap=min(settings.knowledge_passage_overlap, size // 2)),
        embedder,
        metrics,
    )
    remover = Remover(core.database, files)

    def wake() -> None:
        indexer.background.wake()
        remover.background.wake()

    collections = CollectionService(core.database, profiles, providers)
    return Knowledge(
        KnowledgeService(collections, Searcher(core.database, embedder)),
        collections,
        DocumentService(core.database, files, reader, wake),
        indexer,
        remover,
    )


def create_app(settings: Settings | None = None) -> Quart:
    """The application; its background work begins when the server starts it. Raises OSError and ValueError for
    settings and folders that cannot be used."""
    settings = settings or load_settings()
    prepare_data_dir(settings)
    core = open_core(settings)
    app = Application("app")

    metrics = Metrics()
    storage = open_storage(settings.storage_url or settings.data_dir / "attachments")
    idempotency = Idempotency(core.database)
    files = FileService(core.database, storage, idempotency, settings.max_upload_bytes)
    reader = DocumentReader(document_limits(settings), workers=settings.document_workers)
    documents = ExtractedTextService(core.database, files, reader)
    profiles = ProfileService(settings.data_dir / "configs")
    providers = ProviderRegistry(
        provider_specs(settings), settings.default_provider, max_reply_bytes=settings.max_reply_bytes
    )
    knowledge = open_knowledge(settings, core, files, profiles, providers, metrics)
    store = RunStore(core.database, owner=str(uuid4()))
    embedded = core.database_url.startswith("sqlite")
    engine = RunEngine(
        store, SessionQueue(settings.max_waiting_per_session, settings.max_waiting), metrics, sole_owner=embedded
    )
    runs = RunLimit("replies", "too_many_runs", Bounds(settings.max_runs_per_key, settings.max_runs))
    parts = PartLimits(chars=settings.max_message_chars, parts=settings.max_parts)
    roles = RoleService(core.database, profiles)
    catalog = ModelCatalog(profiles, providers, roles)
    chat = ChatService(
        core.database,
        store,
        engine,
        profiles,
        providers,
        files,
        PromptBuilder(core.database, files, documents),
        documents,
        idempotency,
        runs,
        roles,
        knowledge.service,
    )
    bots = BotService(
        core.database,
        core.secrets,
        files,
        idempotency,
        factories=[webhook_factory(allow_private=settings.webhook_allow_private)],
        builtin={WEBCHAT: WebchatAdapter(chat)},
    )
    services: Sequence[object] = (
        metrics,
        core.keys,
        AuthPolicy(
            open_to_all=settings.no_auth,
            allow_query_keys=settings.allow_query_keys,
            origins=frozenset(settings.cors_origins),
        ),
        BodyLimit(settings.max_body_bytes),
        StreamLimit("streams", "too_many_streams", Bounds(settings.max_streams_per_key, settings.max_streams)),
        parts,
        files,
        profiles,
        roles,
        providers,
        engine,
        chat,
        websocket.Sockets(),
        SessionService(core.database, profiles),
        catalog,
        CompletionService(
            chat, catalog, files, documents, reader, ImageReader(image_limits(settings)), parts, runs, roles
        ),
        SessionPolicy(settings.openai_default_session.strip(), settings.require_session_key),
        OpenAILimits(settings.openai_max_body_bytes),
        bots,
        knowledge.service,
        knowledge.collections,
        knowledge.documents,
        health.OpsPolicy(metrics_public=settings.metrics_public),
        health.ReadyChecks({"database": health.database_check(core.database), "storage": storage.check}),
    )
    for each in services:
        provide(app, each)
    install_request_log(app, metrics)
    install_cors(app, settings.cors_origins)
    install_errors(app, [("/api/kernel2", kernel2_error), ("/v1", openai_error), ("/", open_api_error)])
    install_guard(app)
    for routes in (
        key_routes,
        chat_routes,
        session_routes,
        websocket,
        config_routes,
        file_routes,
        im_routes,
        collection_routes,
        document_routes,
        openai_routes,
        kernel2_routes,
        role_routes,
        health,
        documentation,
    ):
        app.register_blueprint(routes.blueprint)
    provide(app, documentation.Publisher(app, EVENT_SCHEMAS))
    _install_lifespan(app, core, storage, engine, providers, bots, documents, knowledge, alone=embedded)
    return app


def _install_lifespan(
    app: Quart,
    core: Core,
    storage: AttachmentStorage,
    engine: RunEngine,
    providers: ProviderRegistry,
    bots: BotService,
    documents: ExtractedTextService,
    knowledge: Knowledge,
    *,
    alone: bool,
) -> None:
    tasks: list[asyncio.Task[None]] = []
    lock = data_dir_lock(core.settings)

    @app.before_serving
    async def start() -> None:
        if alone:
            lock.acquire(timeout=0)
        await asyncio.to_thread(migrations.upgrade, core.database_url)
        await storage.sweep()
        await engine.recover()
        engine.start_keeping()
        tasks.append(asyncio.create_task(_every(LAST_USED_EVERY.total_seconds(), core.keys.write_last_used)))
        tasks.append(asyncio.create_task(_every(PURGE_SECONDS, Idempotency(core.database).purge)))
        tasks.append(asyncio.create_task(knowledge.indexer.background.run()))
        tasks.append(asyncio.create_task(knowledge.remover.background.run()))

    @app.after_serving
    async def stop() -> None:
        await engine.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await bots.close()
        await documents.close()
        await knowledge.indexer.close()
        await providers.close()
        with suppress(DatabaseUnavailable):  # the server goes down either way
            await core.keys.write_last_used()
        await core.database.close()
        if alone:
            lock.release()


async def _every(seconds: float, act: Callable[[], Awaitable[None]]) -> None:
    while True:
        await asyncio.sleep(seconds)
        with suppress(DatabaseUnavailable):  # next time, then
            await act()
