"""What the run engine is given: an accepted run, the models that may answer it, and how they are asked."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from app.chat.runs.events import Event
from app.chat.runs.queue import Ticket
from app.chat.values import Run
from app.limits import Slot
from app.providers.client import Provider
from app.providers.models import ModelRequest


@dataclass(frozen=True, slots=True)
class Target:
    """A model at a model server."""

    provider: Provider
    model: str


@dataclass(frozen=True, slots=True)
class Prepared:
    """A request for a target; `told` is what the log says of it before the reply."""

    request: ModelRequest
    told: Sequence[Event] = ()


@dataclass(frozen=True, slots=True)
class Job:
    """An accepted run and what it needs.

    `targets` are asked in their order until one begins to answer; `prepare` makes the prompt when the turn has come;
    `opening` is what the log begins with; `place` is given back when the run is over.
    """

    run: Run
    ticket: Ticket
    place: Slot
    targets: Sequence[Target]
    prepare: Callable[[Target], Awaitable[Prepared]]
    opening: Sequence[Event]
