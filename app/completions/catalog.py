"""Which model a name means: a profile, a model of a provider, or `<provider>/<model>`."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from app.auth.models import Principal
from app.completions.errors import ModelNotFound
from app.profiles.models import Profile
from app.profiles.service import ProfileService
from app.providers.client import Provider
from app.providers.service import ProviderRegistry
from app.roles.service import RoleService

ROLE_PREFIX = "role:"
"""How a `model` begins that names a role."""


@dataclass(frozen=True, slots=True)
class ModelChoice:
    """What a request's `model` asks for; a profile brings its own provider and model."""

    profile: Profile | None = None
    provider: Provider | None = None
    model: str | None = None

    @property
    def config_id(self) -> str | None:
        return None if self.profile is None else self.profile.id

    @property
    def provider_id(self) -> str | None:
        return None if self.provider is None else self.provider.id


@dataclass(frozen=True, slots=True)
class ModelEntry:
    """A name that requests may give, and whose it is."""

    id: str
    owned_by: str


class ModelCatalog:
    """The names that there are now: profiles can be edited, and model servers change their models."""

    def __init__(self, profiles: ProfileService, providers: ProviderRegistry, roles: RoleService) -> None:
        self._profiles = profiles
        self._providers = providers
        self._roles = roles

    async def if_known(self, name: str | None) -> str | None:
        """The name, if it is known to mean something; for doors where any other means the default."""
        return name if name is not None and await self._find(name) is not None else None

    async def choose(self, name: str | None) -> ModelChoice:
        """Raises ModelNotFound. Without a name, nothing is chosen: the session's or the default profile decides."""
        if name is None:
            return ModelChoice()
        if (choice := await self._find(name)) is not None:
            return choice
        providers = self._in_order()
        for provider, models in zip(providers, await self._known(providers), strict=True):
            if models is None:  # a server that does not say what it has may have it
                return ModelChoice(provider=provider, model=name)
        raise ModelNotFound(name)

    def profile(self, profile_id: str) -> ModelChoice:
        """The profile, or nothing, where it is gone."""
        return ModelChoice(profile=self._profiles.find(profile_id))

    async def entries(self, principal: Principal) -> list[ModelEntry]:
        """Every name that is known, each once: profiles, the caller's roles, then models by provider, the default
        one's first."""
        names: dict[str, str] = {}
        for entry in self._profiles.entries():
            if entry.profile is not None:
                names.setdefault(entry.profile.id, "palaver")
        for role in await self._roles.list_roles(principal, is_active=True):
            names.setdefault(f"{ROLE_PREFIX}{role.name}", "palaver")
        providers = self._in_order()
        for provider, models in zip(providers, await self._known(providers), strict=True):
            for model in dict.fromkeys([provider.default_model, *(models or ())]):
                name = model if model not in names else f"{provider.id}/{model}"
                names.setdefault(name, provider.id)
        return [ModelEntry(name, owner) for name, owner in names.items()]

    async def find(self, principal: Principal, name: str) -> ModelEntry:
        """Raises ModelNotFound."""
        for entry in await self.entries(principal):
            if entry.id == name:
                return entry
        if name.startswith(ROLE_PREFIX):
            raise ModelNotFound(name)
        choice = await self.choose(name)
        return ModelEntry(name, "palaver" if choice.provider is None else choice.provider.id)

    def provider_of(self, choice: ModelChoice) -> Provider:
        """The provider that a choice leads to, for calls that are no chat."""
        if choice.provider is not None:
            return choice.provider
        named = choice.profile.provider if choice.profile is not None else None
        return self._providers.get(named) if named in self._providers.ids else self._providers.default

    async def _find(self, name: str) -> ModelChoice | None:
        if (profile := self._profile(name)) is not None:
            return ModelChoice(profile=profile)
        providers = self._in_order()
        for provider in providers:
            if name == provider.default_model or name in provider.models:
                return ModelChoice(provider=provider, model=name)
        known = await self._known(providers)
        for provider, models in zip(providers, known, strict=True):
            if models is not None and name in models:
                return ModelChoice(provider=provider, model=name)
        for provider, models in zip(providers, known, strict=True):
            prefix = f"{provider.id}/"
            model = name.removeprefix(prefix)
            if name.startswith(prefix) and model and (models is None or model in models):
                return ModelChoice(provider=provider, model=model)
        return None

    def _profile(self, name: str) -> Profile | None:
        there = [entry.profile for entry in self._profiles.entries() if entry.profile is not None]
        named = [profile for profile in there if profile.name == name]
        return next((profile for profile in there if profile.id == name), named[0] if len(named) == 1 else None)

    def _in_order(self) -> list[Provider]:
        default = self._providers.default
        others = (self._providers.get(id) for id in self._providers.ids)
        return [default, *(provider for provider in others if provider is not default)]

    async def _known(self, providers: Sequence[Provider]) -> list[Sequence[str] | None]:
        """The models of each provider: those it was configured with, else those its server says it has."""
        if unknown := [each for each in providers if not each.models and each.must_ask_for_models]:
            await asyncio.gather(*(provider.model_ids() for provider in unknown))
        return [await _models_of(provider) for provider in providers]


async def _models_of(provider: Provider) -> Sequence[str] | None:
    models = provider.models or await provider.model_ids()
    return None if models is None else [provider.default_model, *models]
