"""A profile: the settings by which a bot answers."""

from typing import Annotated

import msgspec
from msgspec import Meta, structs

from app.written import cut


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
    """The `[history]` table: bounds of the part of the conversation that the model is shown; tokens approximately."""

    max_messages: Annotated[int, Meta(ge=0, le=1000)] = 50
    max_tokens: Annotated[int, Meta(ge=0)] = 16_000


class ProfileKnowledge(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The `[knowledge]` table: the search of the knowledge base for each message.

    `collections` are ids or names, none for all; `passages` bounds those that the model is shown. `embedding_model` is
    the provider's model for the vectors of collections that are made with this profile.
    """

    search: bool = False
    collections: tuple[str, ...] = ()
    passages: Annotated[int, Meta(ge=1, le=20)] = 5
    embedding_model: Annotated[str, Meta(min_length=1, max_length=255)] | None = None


class MessageTool(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The `[tools.message]` table: patterns of the umos that the model may write to."""

    targets: tuple[str, ...] = ()


class ProfileTools(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The `[tools]` table: patterns of the tools that the model may use, and of those whose calls want approval.

    After `max_steps` steps with calls the model is asked once more, without tools.
    """

    use: tuple[str, ...] = ()
    ask: tuple[str, ...] = ()
    max_steps: Annotated[int, Meta(ge=1, le=100)] = 16
    message: MessageTool = MessageTool()


class ProfileFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A profile's file.

    `timeout_seconds` is the silence after which a reply counts as lost; `max_retries` bounds the tries before its first
    token (None: the provider's own). `fallbacks` are the providers to try, in their order, when the first one fails
    before its first token. `role` is the id or the name of a role, whose system prompt takes over.
    """

    name: Annotated[str, Meta(min_length=1, max_length=100)]
    provider: str | None = None
    model: str | None = None
    system_prompt: str = ""
    timeout_seconds: Annotated[float, Meta(gt=0)] | None = None
    max_retries: Annotated[int, Meta(ge=0, le=10)] | None = None
    fallbacks: tuple[str, ...] = ()
    parameters: Sampling = Sampling()
    history: History = History()
    role: str | None = None
    knowledge: ProfileKnowledge = ProfileKnowledge()
    tools: ProfileTools = ProfileTools()

    def __post_init__(self) -> None:
        for field in ("provider", "model", "role"):
            structs.force_setattr(self, field, cut(getattr(self, field) or "") or None)


class Profile(ProfileFile, frozen=True):
    """One profile; `id` is its file's name without `.toml`."""

    id: str
