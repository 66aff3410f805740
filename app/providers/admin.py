"""Managing model servers over HTTP: those of the settings are shown, others are added, changed, deleted and tried."""

import asyncio
import re
import time
from collections.abc import Mapping, Sequence
from contextlib import aclosing
from typing import Any, Final

import msgspec
import structlog
from msgspec import UNSET, UnsetType
from sqlalchemy import Connection

from app.clock import utc_now
from app.crypto import SecretBox
from app.database.engine import Database
from app.egress import parse_url
from app.errors import BadRequest, Conflict, NotFound, Unavailable
from app.providers import stored
from app.providers.client import Provider
from app.providers.models import ModelRequest, ProviderSpec, UpstreamError
from app.providers.service import ProviderRegistry
from app.written import NO_HEADER_TEXT, is_header_text

SYNC_SECONDS: Final = 5.0
TEST_SECONDS: Final = 30.0
ID_PATTERN: Final = r"^[A-Za-z0-9_.-]{1,64}\Z"
_HEADER_NAME: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}")
_COMPLETIONS: Final = "/chat/completions"

log = structlog.get_logger(__name__)


class ProviderConfig(msgspec.Struct, frozen=True, kw_only=True):
    """What of a provider may be shown."""

    base_url: str
    default_model: str
    models: tuple[str, ...] = ()
    timeout_seconds: float = 120.0
    connect_timeout_seconds: float = 10.0
    max_retries: int = 2


class ProviderSecrets(msgspec.Struct, frozen=True, kw_only=True):
    """What of a provider is never shown."""

    api_key: str | None = None
    extra_headers: Mapping[str, str] = {}


class ShownProvider(msgspec.Struct, frozen=True, kw_only=True):
    """A provider without its secrets; `source` is `settings` or `api`."""

    id: str
    source: str
    is_default: bool
    base_url: str
    default_model: str
    models: Sequence[str]
    timeout_seconds: float
    connect_timeout_seconds: float
    max_retries: int
    has_api_key: bool
    extra_headers: Sequence[str]


class ProviderTest(msgspec.Struct, frozen=True, kw_only=True):
    """What came of a request to a model server; `error` is safe to show."""

    ok: bool
    model: str
    milliseconds: int
    first_token_milliseconds: int | None
    error: str | None


class ProviderAdmin:
    """The providers in the database, brought to the registry. Other servers see a change within SYNC_SECONDS."""

    def __init__(
        self, database: Database, secrets: SecretBox, registry: ProviderRegistry, *, allow_private: bool
    ) -> None:
        self._database = database
        self._secrets = secrets
        self._registry = registry
        self._allow_private = allow_private
        self._syncing = asyncio.Lock()

    async def list_providers(self) -> list[ShownProvider]:
        """List all providers, those of the settings first."""
        await self.sync()
        return [self._shown(self._registry.get(id)) for id in self._registry.ids]

    async def get(self, id: str) -> ShownProvider:
        """Raises NotFound."""
        return self._shown(await self._find(id))

    async def put(
        self, id: str, config: ProviderConfig, secrets: Mapping[str, Any], *, must_be_new: bool = False
    ) -> ShownProvider:
        """Add a provider, or replace all of it; of `secrets` those left out stay, if the address stays as well.

        Raises BadRequest, Conflict for one of the settings and one that there is.
        """
        self._check(id, config, secrets)

        def put(connection: Connection) -> None:
            row = stored.find_provider(connection, id)
            if row is not None and must_be_new:
                raise Conflict(f"There is a provider with this id: {id}", code="provider_exists")
            merged = dict(secrets)
            if row is not None and row[0]["base_url"] == config.base_url:
                merged = {**self._unseal(row[1]), **secrets}
            sealed = self._secrets.encrypt(msgspec.json.encode(merged))
            stored.put_provider(connection, id, msgspec.to_builtins(config), sealed, utc_now())

        await self._database.write(put)
        return await self.get(id)

    async def delete(self, id: str) -> None:
        """Raises NotFound, Conflict for a provider of the settings."""
        self._check_not_configured(id)
        await self._database.write(lambda connection: stored.delete_provider(connection, id))
        await self.sync()

    async def models(self, id: str) -> Sequence[str]:
        """List the models that requests may name, or that the model server lists. Raises NotFound."""
        provider = await self._find(id)
        names = provider.models or await provider.model_ids() or ()
        return list(dict.fromkeys([provider.default_model, *names]))

    async def test(self, id: str, model: str | None) -> ProviderTest:
        """Ask for one short reply, and take the time. Raises NotFound."""
        provider = await self._find(id)
        name = model or provider.default_model
        request = ModelRequest(name, [{"role": "user", "content": "Say ok."}], {"max_tokens": 16}, max_retries=0)
        begun, first, error = time.monotonic(), None, None
        try:
            async with asyncio.timeout(TEST_SECONDS), aclosing(provider.stream(request)) as answer:
                async for deltas in answer:
                    if first is None and any(delta.says_something for delta in deltas):
                        first = time.monotonic()
        except UpstreamError as failure:
            error = failure.message
        except TimeoutError:
            error = f"The model server took longer than {TEST_SECONDS:g} seconds"
        return ProviderTest(
            ok=error is None,
            model=name,
            milliseconds=round((time.monotonic() - begun) * 1000),
            first_token_milliseconds=None if first is None else round((first - begun) * 1000),
            error=error,
        )

    async def sync(self) -> None:
        """Bring the registry in line with the database. Raises Unavailable."""
        async with self._syncing:
            specs = []
            for id, config, secrets in await self._database.read(stored.list_providers):
                try:
                    specs.append(self._spec(id, config, self._unseal(secrets)))
                except (Unavailable, msgspec.ValidationError) as error:  # of another master key, or version
                    log.error("provider_unusable", provider=id, problem=str(error))
            self._registry.set_added(specs)

    async def _find(self, id: str) -> Provider:
        await self.sync()
        if id not in self._registry.ids:
            raise NotFound("Provider not found", code="provider_not_found")
        return self._registry.get(id)

    def _spec(self, id: str, config: Mapping[str, Any], secrets: Mapping[str, Any]) -> ProviderSpec:
        shown = msgspec.convert(config, ProviderConfig)
        hidden = msgspec.convert(secrets, ProviderSecrets)
        return ProviderSpec(
            id=id,
            **msgspec.structs.asdict(shown),
            api_key=hidden.api_key,
            extra_headers=hidden.extra_headers,
            public_only=not self._allow_private,
        )

    def _unseal(self, secrets: bytes) -> dict[str, Any]:
        return msgspec.json.decode(self._secrets.decrypt(secrets), type=dict[str, Any])

    def _check_not_configured(self, id: str) -> None:
        if id in self._registry.configured_ids:
            raise Conflict("The provider is one of the settings", code="provider_configured")

    def _check(self, id: str, config: ProviderConfig, secrets: Mapping[str, Any]) -> None:
        """Raises BadRequest, Conflict."""
        if not re.fullmatch(ID_PATTERN, id):
            raise BadRequest("id must be 1 to 64 letters, digits, _, - or .", code="invalid_provider")
        self._check_not_configured(id)
        try:
            url = parse_url(config.base_url, allow_private=self._allow_private)
        except ValueError as error:
            raise BadRequest(f"base_url {error}", code="invalid_provider") from None
        if url.fragment or url.path.rstrip("/").endswith(_COMPLETIONS):
            raise BadRequest(f"base_url ends before {_COMPLETIONS}, and has no #", code="invalid_provider")
        hidden = msgspec.convert(secrets, ProviderSecrets)
        if hidden.api_key is not None and not is_header_text(hidden.api_key):
            raise BadRequest(f"api_key {NO_HEADER_TEXT}", code="invalid_provider")
        for name, value in hidden.extra_headers.items():
            if not _HEADER_NAME.fullmatch(name) or not is_header_text(value):
                raise BadRequest("extra_headers has a header that cannot be sent", code="invalid_provider")

    def _shown(self, provider: Provider) -> ShownProvider:
        spec = provider.spec
        return ShownProvider(
            id=spec.id,
            source="settings" if spec.id in self._registry.configured_ids else "api",
            is_default=provider is self._registry.default,
            base_url=spec.base_url.partition("?")[0],
            default_model=spec.default_model,
            models=list(spec.models),
            timeout_seconds=spec.timeout_seconds,
            connect_timeout_seconds=spec.connect_timeout_seconds,
            max_retries=spec.max_retries,
            has_api_key=spec.api_key is not None,
            extra_headers=sorted(spec.extra_headers),
        )


def given(**secrets: Any | UnsetType) -> dict[str, Any]:
    """Return the secrets that a request names."""
    return {name: value for name, value in secrets.items() if value is not UNSET}
