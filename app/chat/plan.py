"""The plan of a reply: all that its run needs, decided when its message was accepted."""

from collections.abc import Sequence
from dataclasses import dataclass

from app.chat.commands import ModelTurn, RetrievalOptions
from app.chat.parts import Part
from app.chat.runs.events import Event, ToolCall
from app.chat.values import Run
from app.knowledge.models import FoundPassage
from app.profiles.models import Profile
from app.providers.client import Provider
from app.providers.models import Usage
from app.roles.models import Role
from app.tools.models import ToolPolicy
from app.usage.counters import RateState


@dataclass(frozen=True, slots=True)
class Target:
    """A model at a model server."""

    provider: Provider
    model: str

    @property
    def key(self) -> tuple[str, str]:
        """What tells it from other models."""
        return self.provider.id, self.model


@dataclass(frozen=True, slots=True)
class ReplyPlan:
    """How a reply is made; `opening` are the first events of its log.

    `targets` are asked in their order until one begins to answer. `question` is what the knowledge base is searched
    for, `passages` what it found. `turn` is the caller's own messages, in OpenAI's form; `first_parts` is the message
    that began its session, and `first_title` the title that the session got of the message. `needs_context` says that a
    role or the knowledge base may have something to add. Without `tools` the model is offered none of the server's.
    `rates` is what is left of the limits of the key. `begin_dialogs` are texts of the user and the assistant
    in turn, which go before the conversation.
    """

    run: Run
    opening: Sequence[Event]
    profile: Profile
    targets: Sequence[Target]
    role: Role | None
    retrieval: RetrievalOptions | None
    turn: ModelTurn | None
    question: str
    needs_context: bool
    first_parts: tuple[Part, ...] | None = None
    passages: Sequence[FoundPassage] = ()
    tools: ToolPolicy | None = None
    resumed: "Resumed | None" = None
    first_title: str | None = None
    rates: RateState | None = None
    begin_dialogs: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Resumed:
    """How far a run had come that goes on after a pause; its log is the plan's `opening`.

    `client_calls` are the calls of the client's own tools in the step that paused it.
    """

    usage: Usage
    client_calls: Sequence[ToolCall]
    first_token: float
