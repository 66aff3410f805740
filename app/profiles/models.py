"""A profile: the settings by which a bot answers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any

import msgspec
from msgspec import Meta


class ProfileKnowledge(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The `[knowledge]` table: the search of the knowledge base for each message.

    `collections` are ids or names, none for all; `passages` bounds those that the model is shown. `embedding_model` is
    the provider's model for the vectors of collections that are made with this profile.
    """

    search: bool = False
    collections: tuple[str, ...] = ()
    passages: Annotated[int, Meta(ge=1, le=20)] = 5
    embedding_model: Annotated[str, Meta(min_length=1, max_length=255)] | None = None


@dataclass(frozen=True, slots=True)
class Profile:
    """One profile; `id` is the file's name without `.toml`, and `parameters` go to the model server as they are.

    `history_messages` and `history_tokens` (approximate) bound the part of the conversation that the model is shown.
    `timeout_seconds` is the silence after which a reply counts as lost; `max_retries` bounds the tries before its first
    token (None: the provider's own). `fallbacks` are the providers to try, in their order, when the first one fails
    before its first token. `role` is the id or the name of a role, whose system prompt takes over.
    """

    id: str
    name: str
    provider: str | None = None
    model: str | None = None
    system_prompt: str = ""
    parameters: Mapping[str, Any] = field(default_factory=dict)
    history_messages: int = 50
    history_tokens: int = 16_000
    timeout_seconds: float | None = None
    max_retries: int | None = None
    fallbacks: Sequence[str] = ()
    role: str | None = None
    knowledge: ProfileKnowledge = field(default_factory=ProfileKnowledge)


class Sampling(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """The `[parameters]` table: OpenAI's names."""

    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    top_p: Annotated[float, Meta(ge=0, le=1)] | None = None
    max_tokens: Annotated[int, Meta(ge=1)] | None = None
    max_completion_tokens: Annotated[int, Meta(ge=1)] | None = None
    presence_penalty: Annotated[float, Meta(ge=-2, le=2)] | None = None
    frequency_penalty: Annotated[float, Meta(ge=-2, le=2)] | None = None
    seed: int | None = None
    stop: str | list[str] | None = None
    reasoning_effort: str | None = None


class History(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The `[history]` table."""

    max_messages: Annotated[int, Meta(ge=0, le=1000)] = 50
    max_tokens: Annotated[int, Meta(ge=0)] = 16_000


class ProfileFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A profile's file."""

    name: Annotated[str, Meta(min_length=1, max_length=100)] | None = None
    provider: str | None = None
    model: str | None = None
    system_prompt: str = ""
    timeout_seconds: Annotated[float, Meta(gt=0)] | None = None
    max_retries: Annotated[int, Meta(ge=0, le=10)] | None = None
    fallbacks: list[str] = []
    parameters: Sampling = Sampling()
    history: History = History()
    role: str | None = None
    knowledge: ProfileKnowledge = ProfileKnowledge()

    def to_profile(self, profile_id: str) -> Profile:
        return Profile(
            id=profile_id,
            name=self.name or profile_id,
            provider=self.provider or None,
            model=self.model or None,
            system_prompt=self.system_prompt,
            parameters=msgspec.to_builtins(self.parameters),
            history_messages=self.history.max_messages,
            history_tokens=self.history.max_tokens,
            timeout_seconds=self.timeout_seconds,
            max_retries=self.max_retries,
            fallbacks=tuple(self.fallbacks),
            role=self.role or None,
            knowledge=self.knowledge,
        )
