"""A profile: the settings by which a bot answers."""

from typing import Annotated

import msgspec
from msgspec import Meta, structs

from app.written import cut


class Sampling(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """The `[parameters]` table: OpenAI's names."""

    temperature: Annotated[float, Meta(ge=0, le=2, description="How freely the model chooses its words.")] | None = None
    top_p: Annotated[float, Meta(ge=0, le=1, description="Of which part of the likely words it chooses.")] | None = None
    max_tokens: Annotated[int, Meta(ge=1, description="The most tokens of a reply.")] | None = None
    max_completion_tokens: (
        Annotated[int, Meta(ge=1, description="The most tokens of a reply, reasoning included.")] | None
    ) = None
    presence_penalty: Annotated[float, Meta(ge=-2, le=2, description="Above 0: speaks of new things.")] | None = None
    frequency_penalty: Annotated[float, Meta(ge=-2, le=2, description="Above 0: repeats itself less.")] | None = None
    seed: Annotated[int | None, Meta(description="The same seed tries for the same reply.")] = None
    stop: Annotated[str | list[str] | None, Meta(description="Where the reply ends: a text, or some.")] = None
    reasoning_effort: Annotated[str | None, Meta(description="How long a reasoning model thinks.")] = None


class History(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The `[history]` table: bounds of the part of the conversation that the model is shown; tokens approximately."""

    max_messages: Annotated[int, Meta(ge=0, le=1000, description="The most messages that the model is shown.")] = 50
    max_tokens: Annotated[int, Meta(ge=0, description="The most tokens of them, approximately.")] = 16_000


class ProfileKnowledge(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The `[knowledge]` table: the search of the knowledge base for each message.

    `collections` are ids or names, none for all; `passages` bounds those that the model is shown. `embedding_model` is
    the provider's model for the vectors of collections that are made with this profile.
    """

    search: Annotated[bool, Meta(description="Searches the knowledge base for each message.")] = False
    collections: tuple[str, ...] = ()
    passages: Annotated[int, Meta(ge=1, le=20, description="The most passages that the model is shown.")] = 5
    embedding_model: Annotated[str, Meta(min_length=1, max_length=255)] | None = None


class MessageTool(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The `[tools.message]` table: patterns of the umos that the model may write to."""

    targets: Annotated[tuple[str, ...], Meta(description="Patterns of umos that it may write to.")] = ()


class ProfileTools(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The `[tools]` table: patterns of the tools that the model may use, and of those whose calls want approval.

    After `max_steps` steps with calls the model is asked once more, without tools.
    """

    use: Annotated[tuple[str, ...], Meta(description="Patterns of the tools that the model may use.")] = ()
    ask: Annotated[tuple[str, ...], Meta(description="Patterns of those that wait for a person's yes.")] = ()
    max_steps: Annotated[int, Meta(ge=1, le=100, description="Steps with calls, before it answers without.")] = 16
    message: Annotated[MessageTool, Meta(description="The tool `message`.")] = MessageTool()


class ProfileFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A profile's file.

    `timeout_seconds` is the silence after which a reply counts as lost; `max_retries` bounds the tries before its first
    token (None: the provider's own). `fallbacks` are the providers to try, in their order, when the first one fails
    before its first token. `role` is the id or the name of a role, whose system prompt takes over. With `auto_title`
    the model that answered writes the titles of new sessions.
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
    auto_title: bool = False
    knowledge: ProfileKnowledge = ProfileKnowledge()
    tools: ProfileTools = ProfileTools()

    def __post_init__(self) -> None:
        for field in ("provider", "model", "role"):
            structs.force_setattr(self, field, cut(getattr(self, field) or "") or None)


class Profile(ProfileFile, frozen=True):
    """One profile; `id` is its file's name without `.toml`."""

    id: str
