"""The composition root: builds engines, clients and services, and gives them to the routes."""

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass

from quart import Quart

from app.auth import routes as key_routes
from app.auth.guards import install_guard
from app.auth.service import KeyService
from app.bots import routes as im_routes
from app.bots.adapters.webchat import PLATFORM_ID as WEBCHAT
from app.bots.adapters.webchat import WebchatAdapter
from app.bots.adapters.webhook import webhook_factory
from app.bots.service import BotService
from app.chat.accept import Planner
from app.chat.prompt import PromptBuilder
from app.chat.retrieval import Retrieval
from app.chat.runs.engine import RunEngine
from app.chat.runs.queue import SessionQueue
from app.chat.runs.task import RunTools
from app.chat.runs.upkeep import RunUpkeep
from app.chat.service import ChatService
from app.chat.sessions import SessionService
from app.completions.catalog import ModelCatalog
from app.completions.errors import openai_error
from app.completions.service import CompletionService
from app.completions.values import CompletionLimits, SessionPolicy
from app.core import Core, ServerIdentity, open_core, prepare_data_dir
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
from app.files.extraction.reader import DocumentReader
from app.files.images import ImageReader
from app.files.service import FileService
from app.files.storage import AttachmentStorage, open_storage
from app.idempotency import Idempotency
from app.knowledge import collection_routes, document_routes
from app.knowledge.collections import CollectionService
from app.knowledge.documents import DocumentService
from app.knowledge.indexer import Indexer
from app.knowledge.preparing import PassageMaker
from app.knowledge.removal import Remover
from app.knowledge.search import Searcher
from app.knowledge.service import KnowledgeService
from app.knowledge.store import IndexStore
from app.knowledge.vectors import Embedder
from app.lifespan import lifespan
from app.limits import Bounds, RunLimit, StreamLimit
from app.ops import documentation, health
from app.ops.publishing import Publisher
from app.ops.readiness import ReadyChecks, database_check
from app.options import auth_policy, document_limits, image_limits, knowledge_limits, part_limits, provider_specs
from app.profiles import routes as config_routes
from app.profiles.service import ProfileService
from app.providers.service import ProviderRegistry
from app.roles.service import RoleService
from app.settings import Settings, load_settings
from app.telemetry.metrics import Metrics

EVENT_SCHEMAS = {"ChatEvent": CHAT_EVENT}


@dataclass(frozen=True, slots=True)
class Files:
    """Attachments, and the texts and images in them."""

    storage: AttachmentStorage
    service: FileService
    reader: DocumentReader
    documents: ExtractedTextService
    images: ImageReader


@dataclass(frozen=True, slots=True)
class Knowledge:
    """The knowledge base: the services, and the work in the background."""

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
    embedder = Embedder(providers)
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


@dataclass(frozen=True, slots=True)
class Chat:
    """Chats and completions, and the runs that answer them."""

    service: ChatService
    completions: CompletionService
    catalog: ModelCatalog
    engine: RunEngine
    upkeep: RunUpkeep


def open_files(settings: Settings, core: Core, idempotency: Idempotency) -> Files:
    storage = open_storage(settings.storage_url or settings.data_dir / "attachments")
    service = FileService(core.database, storage, idempotency, settings.max_upload_bytes)
    reader = DocumentReader(document_limits(settings), workers=settings.document_workers)
    return Files(
        storage,
        service,
        reader,
        ExtractedTextService(core.database, service, reader),
        ImageReader(image_limits(settings)),
    )


def open_chat(
    settings: Settings,
    core: Core,
    files: Files,
    knowledge: KnowledgeService,
    profiles: ProfileService,
    providers: ProviderRegistry,
    roles: RoleService,
    idempotency: Idempotency,
    metrics: Metrics,
    owner: str,
) -> Chat:
    prompts = PromptBuilder(core.database, files.service, files.documents)
    engine = RunEngine(
        RunTools(core.database, Retrieval(roles, knowledge), prompts, metrics),
        SessionQueue(settings.max_waiting_per_session, settings.max_waiting),
    )
    slots = RunLimit("replies", "too_many_runs", Bounds(settings.max_runs_per_key, settings.max_runs))
    service = ChatService(
        core.database,
        engine,
        Planner(profiles, providers),
        files.service,
        files.documents,
        idempotency,
        slots,
        roles,
        knowledge,
        owner,
    )
    catalog = ModelCatalog(profiles, providers, roles)
    completions = CompletionService(
        service,
        catalog,
        files.service,
        files.documents,
        files.reader,
        files.images,
        part_limits(settings),
        slots,
        roles,
    )
    upkeep = RunUpkeep(core.database, engine, owner, sole_owner=core.is_embedded)
    return Chat(service, completions, catalog, engine, upkeep)


def create_app(settings: Settings | None = None) -> Quart:
    """Compose the application; its background work begins when the server starts it.

    Raises OSError and ValueError for settings and folders that cannot be used.
    """
    settings = settings or load_settings()
    prepare_data_dir(settings)
    core, identity = open_core(settings), ServerIdentity(settings)
    metrics = Metrics()
    idempotency = Idempotency(core.database)
    profiles = ProfileService(settings.data_dir / "configs")
    providers = ProviderRegistry(
        provider_specs(settings), settings.default_provider, max_reply_bytes=settings.max_reply_bytes
    )
    roles = RoleService(core.database, profiles)
    files = open_files(settings, core, idempotency)
    knowledge = open_knowledge(settings, core, files.service, profiles, providers, metrics)
    chat = open_chat(
        settings, core, files, knowledge.service, profiles, providers, roles, idempotency, metrics, identity.id
    )
    bots = BotService(
        core.database,
        core.secrets,
        files.service,
        idempotency,
        factories=[webhook_factory(allow_private=settings.webhook_allow_private)],
        builtin={WEBCHAT: WebchatAdapter(chat.service)},
    )
    streams = StreamLimit("streams", "too_many_streams", Bounds(settings.max_streams_per_key, settings.max_streams))
    metrics.runs_active.set_function(lambda: len(chat.engine.runs))
    metrics.run_queue_length.set_function(lambda: chat.engine.queue.waiting)
    metrics.open_streams.set_function(lambda: len(streams))
    app = open_app(
        settings,
        metrics,
        core.keys,
        [
            metrics,
            core.keys,
            auth_policy(settings),
            BodyLimit(settings.max_body_bytes),
            streams,
            part_limits(settings),
            files.service,
            profiles,
            roles,
            providers,
            chat.engine,
            chat.service,
            chat.catalog,
            chat.completions,
            websocket.Sockets(),
            SessionService(core.database, profiles),
            SessionPolicy(settings.openai_default_session.strip(), settings.require_session_key),
            CompletionLimits(settings.openai_max_body_bytes),
            bots,
            knowledge.service,
            knowledge.collections,
            knowledge.documents,
            health.OpsPolicy(metrics_public=settings.metrics_public),
            ReadyChecks({"database": database_check(core.database), "storage": files.storage.check}),
        ],
    )

    @app.while_serving
    async def serving() -> AsyncGenerator[None]:
        async with lifespan(
            core,
            files.storage,
            chat.engine,
            chat.upkeep,
            providers,
            bots,
            files.documents,
            knowledge.indexer,
            knowledge.remover,
            idempotency,
            identity,
        ):
            yield

    return app


def open_app(settings: Settings, metrics: Metrics, keys: KeyService, services: Sequence[object]) -> Quart:
    """Make the Quart application: its services, hooks and routes."""
    app = Application("app")
    for each in services:
        provide(app, each)
    install_request_log(app, metrics)
    install_cors(app, settings.cors_origins)
    install_errors(app, [("/api/kernel2", kernel2_error), ("/v1", openai_error), ("/", open_api_error)])
    install_guard(app, auth_policy(settings), keys)
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
    provide(app, Publisher(app, EVENT_SCHEMAS))
    return app
