"""The plan of a reply: all that its run needs, decided when its message was accepted."""

from collections.abc import Sequence
from dataclasses import dataclass

from app.chat.commands import ModelTurn, RetrievalOptions
from app.chat.parts import Part
from app.chat.runs.events import Event
from app.chat.values import Run
from app.knowledge.models import FoundPassage
from app.profiles.models import Profile
from app.providers.client import Provider
from app.roles.models import Role


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
    that began its session. `needs_context` says that a role or the knowledge base may have something to add.
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
