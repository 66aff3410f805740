"""The meaning of model names: an alias, a profile, a provider's model, or `<provider>/<model>`.

What a model server lists is a help in finding out which of several servers has a model, and never a reason to refuse a
name: servers take more names than they list. Only the `models` of a provider's configuration are all there are.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from app.auth.models import Principal
from app.completions.errors import ModelNotFound
from app.completions.schemas import OpenAIModel
from app.completions.values import NamePolicy
from app.profiles.models import Profile
from app.profiles.service import ProfileService
from app.providers.client import Provider
from app.providers.service import ProviderRegistry
from app.roles.models import SHARED
from app.roles.service import RoleService

OWN = "palaver"
"""The owner of aliases, profiles and roles."""
ROLE_PREFIX = "role:"
"""The prefix of a role's name in `model`."""


@dataclass(frozen=True, slots=True)
class ModelChoice:
    """The meaning of a request's `model`; a profile has a provider and a model of its own."""

    profile: Profile | None = None
    provider: Provider | None = None
    model: str | None = None

    @property
    def config_id(self) -> str | None:
        return None if self.profile is None else self.profile.id

    @property
    def provider_id(self) -> str | None:
        return None if self.provider is None else self.provider.id


class ModelCatalog:
    """The current names: profiles can be edited, and model servers change their models."""

    def __init__(
        self, profiles: ProfileService, providers: ProviderRegistry, roles: RoleService, names: NamePolicy
    ) -> None:
        self._profiles = profiles
        self._providers = providers
        self._roles = roles
        self._names = names

    async def known_name(self, name: str | None) -> str | None:
        """The name, or None for an unknown one: the default, in some doors."""
        return name if name is not None and await self._find(name) is not None else None

    async def choose(self, name: str | None) -> ModelChoice:
        """Raises ModelNotFound. Without a name, nothing is chosen: the session's or the default profile decides."""
        if name is None:
            return ModelChoice()
        if (choice := await self._find(name)) is not None:
            return choice
        if self._names.unknown_is_default:
            return ModelChoice()
        name = self._names.aliases.get(name, name)
        for provider in self._in_order():
            if not provider.models:
                return ModelChoice(provider=provider, model=name)
        raise ModelNotFound(name)

    def profile(self, profile_id: str) -> ModelChoice:
        """The profile, or an empty choice once it is deleted."""
        return ModelChoice(profile=self._profiles.find(profile_id))

    async def entries(self, principal: Principal) -> list[OpenAIModel]:
        """Every known name once: aliases, profiles, the caller's roles, then models, the default provider's first."""
        names: dict[str, str] = dict.fromkeys(self._names.aliases, OWN)
        for entry in self._profiles.entries():
            if entry.profile is not None and (
                principal.limits is None or principal.limits.admits_config(entry.profile.id)
            ):
                names.setdefault(entry.profile.id, OWN)
        for role in await self._roles.list_roles(principal, is_active=True):
            if role.owner not in (SHARED, principal.creator):
                continue  # an unbound key sees it, but has no user to use it for
            names.setdefault(f"{ROLE_PREFIX}{role.name}", OWN)
        providers = self._in_order()
        for provider, models in zip(providers, await self._model_lists(providers), strict=True):
            for model in dict.fromkeys([provider.default_model, *(models or ())]):
                name = model if model not in names else f"{provider.id}/{model}"
                names.setdefault(name, provider.id)
        limits = principal.limits
        return [
            OpenAIModel(name, owner)
            for name, owner in names.items()
            if limits is None or owner == OWN or limits.admits_model(owner, name.removeprefix(f"{owner}/"))
        ]

    async def find(self, principal: Principal, name: str) -> OpenAIModel:
        """Raises ModelNotFound."""
        for entry in await self.entries(principal):
            if entry.id == name:
                return entry
        if name.startswith(ROLE_PREFIX):
            raise ModelNotFound(name)
        if (choice := await self._find(name)) is not None:
            return OpenAIModel(name, OWN if choice.provider is None else choice.provider.id)
        providers = self._in_order()
        for provider, models in zip(providers, await self._model_lists(providers), strict=True):
            if models is None:  # a server without a list may have the model
                return OpenAIModel(name, provider.id)
        raise ModelNotFound(name)

    def provider_of(self, choice: ModelChoice) -> Provider:
        """The provider of a choice, for calls other than chat."""
        if choice.provider is not None:
            return choice.provider
        provider_id = None if choice.profile is None else choice.profile.provider
        return self._providers.get(provider_id) if provider_id in self._providers.ids else self._providers.default

    async def _find(self, name: str) -> ModelChoice | None:
        name = self._names.aliases.get(name, name)
        if (profile := self._profile(name)) is not None:
            return ModelChoice(profile=profile)
        providers = self._in_order()
        for provider in providers:
            if name == provider.default_model or name in provider.models:
                return ModelChoice(provider=provider, model=name)
        for provider, models in zip(providers, await self._model_lists(providers), strict=True):
            if models is not None and name in models:
                return ModelChoice(provider=provider, model=name)
        for provider in providers:
            prefix = f"{provider.id}/"
            model = name.removeprefix(prefix)
            if name.startswith(prefix) and model and provider.accepts(model):
                return ModelChoice(provider=provider, model=model)
        return None

    def _profile(self, name: str) -> Profile | None:
        """The profile with that id, or else the only one with that name."""
        profiles = [entry.profile for entry in self._profiles.entries() if entry.profile is not None]
        namesakes = [profile for profile in profiles if profile.name == name]
        only = namesakes[0] if len(namesakes) == 1 else None
        return next((profile for profile in profiles if profile.id == name), only)

    def _in_order(self) -> list[Provider]:
        """The providers, the default one first."""
        default = self._providers.default
        providers = [self._providers.get(id) for id in self._providers.ids]
        return sorted(providers, key=lambda provider: provider is not default)

    async def _model_lists(self, providers: Sequence[Provider]) -> list[Sequence[str] | None]:
        """The models of each provider: those of its configuration, or else of its server's list."""
        return await asyncio.gather(*map(_models_of, providers))


async def _models_of(provider: Provider) -> Sequence[str] | None:
    models = provider.models or await provider.model_ids()
    return None if models is None else [provider.default_model, *models]
