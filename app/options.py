"""The settings, as the options of the parts that they are for."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec
from pydantic import SecretStr

from app.auth.guards import AuthPolicy
from app.chat.media import PromptLimits
from app.chat.parts import PartLimits
from app.completions.values import DEFAULT_SESSION, CompletionLimits, NamePolicy, SessionPolicy
from app.edge.bodies import BodyLimit
from app.environment import read_environment
from app.files.extraction.models import DocumentLimits
from app.files.images import ImageLimits
from app.limits import Bounds
from app.ops.health import OpsPolicy
from app.providers.models import ProviderSpec
from app.settings import Settings
from app.tools.mcp.models import ServerSpec, Transport
from app.usage.prices import Price, PriceTable
from app.written import NO_HEADER_TEXT, is_header_text

PER_SERVER = frozenset(
    {"data_dir", "host", "port", "server", "cleartext_http2", "secret_key", "log_level", "log_format", "drain_seconds"}
)
"""Settings that servers of one database may have otherwise than each other, beside those of the connection to it.

A server with another `secret_key` does not start.
"""
OPENAI_PROVIDER = "openai_chat_completion"
OPENAI_BASE_URL = "https://api.openai.com/v1"


def provider_specs(settings: Settings) -> list[ProviderSpec]:
    """Return the configured model servers: that of the OPENAI_ variables first, if either is set.

    Raises ValueError for a key that the environment does not have.
    """
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
    environment = read_environment()
    for entry in settings.providers:
        key_text = entry.api_key.get_secret_value() if entry.api_key is not None else None
        if entry.api_key_env is not None:
            key_text = environment.get(entry.api_key_env)
            if key_text is None:
                raise ValueError(f"provider {entry.id}: the environment has no variable {entry.api_key_env}")
            if not is_header_text(key_text):
                raise ValueError(f"provider {entry.id}: {entry.api_key_env} {NO_HEADER_TEXT}")
        specs.append(
            ProviderSpec(
                **entry.model_dump(exclude={"api_key", "api_key_env", "models"}),
                api_key=key_text,
                models=tuple(entry.models),
            )
        )
    return specs


def mcp_servers(settings: Settings) -> list[ServerSpec]:
    return [
        ServerSpec(
            name=entry.name,
            transport=Transport.STDIO if entry.url is None else Transport.STREAMABLE_HTTP,
            command=entry.command or "",
            args=tuple(entry.args),
            env={name: value.get_secret_value() for name, value in entry.env.items()},
            cwd=entry.cwd,
            url=entry.url or "",
            headers={name: value.get_secret_value() for name, value in entry.headers.items()},
            connect_timeout_seconds=entry.connect_timeout_seconds,
            call_timeout_seconds=entry.call_timeout_seconds,
            tools=tuple(entry.tools),
            allow_private=entry.allow_private,
            enabled=entry.enabled,
        )
        for entry in settings.mcp_servers
    ]


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
        timeout_seconds=settings.image_timeout_seconds,
        memory_bytes=settings.image_memory_bytes,
    )


def prompt_limits(settings: Settings) -> PromptLimits:
    return PromptLimits(
        images=settings.max_prompt_images,
        bytes=settings.max_prompt_bytes,
        document_chars=settings.max_prompt_document_chars,
    )


def knowledge_limits(settings: Settings) -> DocumentLimits:
    """Documents of collections may be longer: no model is shown the whole of one."""
    return msgspec.structs.replace(document_limits(settings), max_text_chars=settings.max_knowledge_document_chars)


def price_table(settings: Settings) -> PriceTable:
    return PriceTable({name: Price(**price.model_dump()) for name, price in settings.prices.items()})


def part_limits(settings: Settings) -> PartLimits:
    return PartLimits(chars=settings.max_message_chars, parts=settings.max_parts)


def name_policy(settings: Settings) -> NamePolicy:
    return NamePolicy(settings.model_aliases, settings.openai_unknown_model == "default")


def auth_policy(settings: Settings) -> AuthPolicy:
    return AuthPolicy(
        open_to_all=settings.no_auth,
        allow_query_keys=settings.allow_query_keys,
        origins=frozenset(settings.cors_origins),
    )


def session_policy(settings: Settings) -> SessionPolicy:
    """Return the policy; without keys, one person is behind all requests."""
    name = settings.openai_default_session
    if name is None:
        return SessionPolicy(DEFAULT_SESSION if settings.no_auth else None, settings.require_session_key)
    return SessionPolicy(name.strip(), settings.require_session_key)


def body_bounds(settings: Settings) -> Bounds:
    """Of large bodies, each caller may hold as much as the largest one has, and all together twice that."""
    largest = max(settings.max_body_bytes, settings.openai_max_body_bytes)
    return Bounds(each=largest, total=2 * largest)


def policies(settings: Settings) -> list[object]:
    """The limits and policies that routes ask for."""
    return [
        auth_policy(settings),
        BodyLimit(settings.max_body_bytes),
        part_limits(settings),
        session_policy(settings),
        CompletionLimits(settings.openai_max_body_bytes),
        OpsPolicy(metrics_public=settings.metrics_public),
    ]


def setting_digests(settings: Settings, digest: Callable[[bytes], bytes]) -> Mapping[str, str]:
    """Return a digest of each setting that servers of one database should have alike."""
    return {
        f"setting {name}": digest(msgspec.json.encode(value, enc_hook=_plain, order="deterministic")).hex()[:12]
        for name, value in settings.model_dump().items()
        if name not in PER_SERVER and not name.startswith("database_")
    }


def _plain(value: Any) -> Any:
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    if isinstance(value, Path):
        return str(value)
    raise NotImplementedError
