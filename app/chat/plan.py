"""Which profile answers a message, and which models are asked in which order."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from app.chat.commands import ModelTurn, RetrievalOptions, SendMessage
from app.chat.parts import Part, plain_text
from app.chat.passages import question_of
from app.chat.values import Run, Session
from app.errors import BadRequest
from app.knowledge.models import Found
from app.profiles.models import Profile, ProfileKnowledge
from app.profiles.service import DEFAULT_ID, ProfileService
from app.providers.client import Provider
from app.providers.service import ProviderRegistry
from app.roles.models import Role


@dataclass(frozen=True, slots=True)
class Target:
    """A model at a model server."""

    provider: Provider
    model: str


@dataclass(frozen=True, slots=True)
class ReplyPlan:
    """How a reply is made, as it was decided when its message was accepted.

    `targets` are asked in their order until one begins to answer. `question` is what the knowledge base is searched
    for, `passages` what it found. `turn` is the caller's own messages, in OpenAI's form; `first_parts` is the message
    that began its session.
    """

    run: Run
    profile: Profile
    targets: Sequence[Target]
    role: Role | None
    retrieval: RetrievalOptions | None
    turn: ModelTurn | None
    question: str
    first_parts: tuple[Part, ...] | None = None
    passages: Sequence[Found] = ()


class Planner:
    """Chooses profiles and models."""

    def __init__(self, profiles: ProfileService, providers: ProviderRegistry) -> None:
        self._profiles = profiles
        self._providers = providers

    def requested_profile(self, command: SendMessage) -> Profile | None:
        """Return the profile that the request names. Raises BadRequest for one that does not exist."""
        if command.config_id is not None:
            return self._profiles.get(command.config_id)
        if command.config_name is not None:
            return self._profiles.get_by_name(command.config_name)
        return None

    def profile_for(self, role: Role | None, session: Session | None) -> Profile:
        """Return the role's profile, else the session's, else the default; one that was deleted is passed over."""
        for profile_id in (role and role.config_id, session and session.config_id):
            if profile_id and (profile := self._profiles.find(profile_id)) is not None:
                return profile
        return self._profiles.get(DEFAULT_ID)

    def targets(self, command: SendMessage, profile: Profile) -> list[Target]:
        """Return the model that answers, and those to fall back to. Raises BadRequest for unknown ones."""
        provider_id = command.provider_id or profile.provider
        provider = self._provider(provider_id, "selected_provider" if command.provider_id else "the profile's provider")
        model = command.model or (provider_id == profile.provider and profile.model) or provider.default_model
        if not provider.accepts(model):
            raise BadRequest(f"selected_model not found: {model}", code="model_not_found")
        fallbacks = [
            self._provider(each, "the profile's provider") for each in profile.fallbacks if each != provider.id
        ]
        return [Target(provider, model), *(Target(fallback, fallback.default_model) for fallback in fallbacks)]

    def _provider(self, provider_id: str | None, field: str) -> Provider:
        if provider_id is None:
            return self._providers.default
        try:
            return self._providers.get(provider_id)
        except KeyError:
            raise BadRequest(f"{field} not found: {provider_id}", code="provider_not_found") from None


def plan_reply(
    command: SendMessage,
    run: Run,
    profile: Profile,
    targets: Sequence[Target],
    role: Role | None,
    *,
    profile_requested: bool,
    begins_session: bool,
) -> ReplyPlan:
    """Make the plan of a run."""
    if command.stateless and not profile_requested and (role is None or role.config_id != profile.id):
        # A caller that brings the whole conversation along gets only what it asks for of a profile.
        profile = replace(profile, role=None, knowledge=ProfileKnowledge())
    stateless_turn = command.turn if command.stateless else None
    question = plain_text(command.parts) if stateless_turn is None else question_of(stateless_turn.messages)
    return ReplyPlan(
        run=run,
        profile=profile,
        targets=targets,
        role=role,
        retrieval=command.knowledge,
        turn=command.turn,
        question=question,
        first_parts=command.parts if begins_session else None,
    )
