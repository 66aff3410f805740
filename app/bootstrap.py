"""The composition root: builds engines, clients and services, and gives them to the routes."""

from collections.abc import AsyncGenerator, Sequence

from quart import Quart

from app.auth import audit_routes, me_routes
from app.auth import routes as key_routes
from app.auth.browser import routes as browser_routes
from app.auth.guards import install_guard
from app.auth.service import KeyService
from app.auth.trail import AuditTrail
from app.bots import door_routes, message_routes
from app.bots import routes as bot_routes
from app.bots.tool import MessageTool
from app.chat.exporting import SessionExporter
from app.chat.feedback import FeedbackService
from app.chat.importing import SessionImporter
from app.chat.search.service import SearchService
from app.chat.sessions import SessionService
from app.chat.turns import TurnService
from app.completions.errors import openai_error
from app.core import ServerIdentity, open_core, prepare_data_dir
from app.doors.open_api import (
    approval_routes,
    chat_routes,
    feedback_routes,
    new_session_routes,
    search_routes,
    session_routes,
    transfer_routes,
    turn_routes,
    websocket,
)
from app.doors.open_api.schemas import CHAT_EVENT
from app.doors.openai import routes as openai_routes
from app.doors.second_me import role_routes
from app.doors.second_me import routes as kernel2_routes
from app.doors.second_me.errors import kernel2_error
from app.edge.application import Application
from app.edge.bodies import JsonParser, LargeBodies
from app.edge.cors import install_cors
from app.edge.errors import install_errors, open_api_error
from app.edge.request_log import install_request_log
from app.edge.services import provide
from app.files import routes as file_routes
from app.idempotency import Idempotency
from app.knowledge import collection_routes, document_routes
from app.lifespan import lifespan
from app.ops import dashboard, doctor_routes, documentation, health
from app.ops import servers as server_routes
from app.ops.doctor import Doctor
from app.ops.publishing import Publisher
from app.ops.readiness import PacedCheck, ReadyChecks, all_of, database_check
from app.options import auth_policy, body_bounds, policies, price_table, provider_specs
from app.parts import (
    open_bots,
    open_browser_sessions,
    open_bus,
    open_chat,
    open_configs,
    open_files,
    open_knowledge,
    open_limits,
    open_profile_editor,
    open_servers,
    open_tools,
)
from app.profiles import edit_routes as profile_edit_routes
from app.profiles import routes as profile_routes
from app.profiles.service import ProfileService
from app.providers import routes as provider_routes
from app.providers.admin import ProviderAdmin
from app.providers.service import ProviderRegistry
from app.roles.service import RoleService
from app.settings import Settings, load_settings
from app.telemetry.metrics import Metrics
from app.tools import routes as tool_routes
from app.tools.mcp import routes as mcp_routes
from app.usage import routes as usage_routes
from app.usage.service import UsageService

EVENT_SCHEMAS = {"ChatEvent": CHAT_EVENT}


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
    tools = open_tools(settings, core, files, knowledge.service)
    limits = open_limits(settings)
    servers = open_servers(settings, core, limits, identity.id)
    bus = open_bus(settings, core, servers)
    chat = open_chat(
        settings,
        core,
        files,
        knowledge.service,
        profiles,
        providers,
        roles,
        tools.catalog,
        idempotency,
        metrics,
        limits.runs,
        servers,
        bus,
    )
    bots = open_bots(settings, core, files.service, chat.service, idempotency, metrics, identity.id)
    tools.catalog.add(MessageTool(bots.messages))
    metrics.open_websockets.set_function(lambda: len(limits.sockets))
    metrics.runs_active.set_function(lambda: len(chat.engine.runs))
    metrics.run_queue_length.set_function(lambda: chat.engine.turns.waiting)
    metrics.open_streams.set_function(lambda: len(limits.streams))
    metrics.servers.set_function(lambda: servers.live)
    configs = open_configs(settings, core, profiles, identity.id)
    metrics.config_differences.set_function(lambda: len(configs.differences))
    metrics.mirrors.set_function(lambda: len(chat.mirrors))
    metrics.bus_up.set_function(lambda: bus.sure)
    browsers = open_browser_sessions(settings, core)
    provider_admin = ProviderAdmin(
        core.database, core.secrets, providers, allow_private=settings.providers_allow_private
    )
    usage = UsageService(core.database, price_table(settings))
    ready = ReadyChecks(
        {
            "database": all_of(database_check(core.database), chat.upkeep.check, servers.check),
            "storage": all_of(files.storage.check, PacedCheck(files.storage.check_writing)),
        }
    )
    searches = SearchService(core.database)
    services = [
        metrics,
        core.keys,
        browsers,
        provider_admin,
        open_profile_editor(settings, core, profiles, providers),
        AuditTrail(core.database),
        usage,
        *policies(settings),
        limits.streams,
        limits.sockets,
        servers,
        dashboard.Dashboard(),
        JsonParser(),
        LargeBodies(body_bounds(settings)),
        files.service,
        profiles,
        configs,
        roles,
        providers,
        chat.engine,
        chat.service,
        chat.catalog,
        chat.completions,
        chat.approvals,
        tools.catalog,
        tools.mcp,
        websocket.Sockets(settings.websocket_idle_seconds),
        SessionService(core.database, profiles, idempotency),
        bots.service,
        bots.outbox,
        bots.callbacks,
        bots.messages,
        bots.inbox,
        bots.processor,
        bots.listeners,
        FeedbackService(core.database),
        searches,
        SessionExporter(core.database),
        SessionImporter(core.database, files.service, profiles, idempotency, settings.max_upload_bytes),
        TurnService(core.database, chat.service, idempotency),
        knowledge.service,
        knowledge.collections,
        knowledge.documents,
        ready,
        Doctor(core.database, ready, providers, settings.data_dir),
    ]
    app = open_app(settings, metrics, core.keys, services)

    @app.while_serving
    async def serving() -> AsyncGenerator[None]:
        async with lifespan(
            core,
            identity,
            servers,
            configs,
            bus,
            files,
            chat,
            knowledge,
            providers,
            bots,
            tools.mcp,
            idempotency,
            browsers,
            usage,
            provider_admin,
            searches,
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
        audit_routes,
        browser_routes,
        me_routes,
        usage_routes,
        chat_routes,
        session_routes,
        new_session_routes,
        transfer_routes,
        search_routes,
        turn_routes,
        approval_routes,
        feedback_routes,
        websocket,
        profile_routes,
        profile_edit_routes,
        provider_routes,
        file_routes,
        bot_routes,
        message_routes,
        door_routes,
        collection_routes,
        document_routes,
        openai_routes,
        kernel2_routes,
        role_routes,
        tool_routes,
        mcp_routes,
        server_routes,
        health,
        doctor_routes,
        documentation,
        dashboard,
    ):
        app.register_blueprint(routes.blueprint)
    provide(app, Publisher(app, EVENT_SCHEMAS))
    return app
