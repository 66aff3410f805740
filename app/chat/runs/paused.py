"""The plan of a paused run as bytes, so that the run can go on after a restart, or on another server."""

from collections.abc import Sequence

import msgspec

from app.chat.commands import ModelTurn
from app.chat.plan import ReplyPlan, Resumed, Target
from app.chat.runs.events import Event, ToolCall
from app.chat.values import Run
from app.knowledge.models import FoundPassage
from app.profiles.models import Profile
from app.providers.models import Usage
from app.providers.service import ProviderRegistry
from app.tools.models import ToolPolicy


class _Paused(msgspec.Struct, frozen=True):
    """What of a ReplyPlan is neither in the run's row nor in its log; `targets` are ids of providers, and models."""

    profile: Profile
    targets: list[tuple[str, str]]
    turn: ModelTurn | None
    question: str
    passages: list[FoundPassage]
    tools: ToolPolicy | None
    usage: Usage
    client_calls: list[ToolCall]
    first_token: float
    begin_dialogs: tuple[str, ...] = ()


def pack(plan: ReplyPlan, resumed: Resumed) -> bytes:
    """Return a plan whose context is complete as bytes."""
    return msgspec.msgpack.encode(
        _Paused(
            plan.profile,
            [(target.provider.id, target.model) for target in plan.targets],
            plan.turn,
            plan.question,
            list(plan.passages),
            plan.tools,
            resumed.usage,
            list(resumed.client_calls),
            resumed.first_token,
            plan.begin_dialogs,
        )
    )


def unpack(data: bytes, run: Run, events: Sequence[Event], providers: ProviderRegistry) -> ReplyPlan:
    """Return the plan of a run with its events so far. Providers that are gone are passed over, if others are left.

    Raises KeyError when none is.
    """
    paused = msgspec.msgpack.decode(data, type=_Paused)
    targets = [Target(providers.get(id), model) for id, model in paused.targets if id in providers.ids]
    if not targets:
        raise KeyError(paused.targets[0][0])
    return ReplyPlan(
        run=run,
        opening=events,
        profile=paused.profile,
        targets=targets,
        role=None,
        retrieval=None,
        turn=paused.turn,
        question=paused.question,
        needs_context=False,
        passages=paused.passages,
        tools=paused.tools,
        resumed=Resumed(paused.usage, paused.client_calls, paused.first_token),
        begin_dialogs=paused.begin_dialogs,
    )
