"""Whether an event is for the bot, and from somebody who may talk to it: pure functions."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

import msgspec

from app.bots.adapters.inbound import InboundEvent

MAX_AGE = timedelta(minutes=30)
"""An older message is not answered: platforms report old ones again after an outage."""
COMMANDS = ("/stop", "/new", "/id")

Verdict = Literal["turn", "stop", "new", "id", "pair", "ignore"]


class Rules(msgspec.Struct, frozen=True):
    """The settings of a bot that the inbox reads. A kind without them lets everybody talk to it."""

    allow: Sequence[str] = ("*",)
    pairing: bool = False
    groups: Literal["mention", "all", "none"] = "all"
    per_user_sessions: bool = False
    config_id: str | None = None
    live_replies: bool = True

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> "Rules":
        return msgspec.convert(config, cls)


@dataclass(frozen=True, slots=True)
class Admission:
    """What is to become of an event, and for one that is ignored, why."""

    verdict: Verdict
    reason: str | None = None


def reason_to_ignore(event: InboundEvent, rules: Rules, now: datetime) -> str | None:
    """Return why an event is not for the bot, whoever sent it; None when it is."""
    if now - event.happened_at > MAX_AGE:
        return "too_old"
    if event.sender_is_bot:
        return "from_a_bot"
    if event.kind not in ("message", "stop"):
        return "not_a_message"
    if event.is_group and rules.groups == "none":
        return "groups_off"
    if event.is_group and rules.groups == "mention" and not event.addressed:
        return "not_addressed"
    return None


def admit(event: InboundEvent, rules: Rules, *, is_paired: bool | None, now: datetime) -> Admission:
    """Decide about an event. `is_paired` is the operator's word on the sender, None if there is none."""
    if (reason := reason_to_ignore(event, rules, now)) is not None:
        return Admission("ignore", reason)
    is_listed = bool({"*", event.sender_id, event.session_id} & set(rules.allow))
    if not (is_listed or is_paired):
        if rules.pairing and is_paired is None and not event.is_group:
            return Admission("pair")
        return Admission("ignore", "not_allowed")
    if event.kind == "stop":
        return Admission("stop")
    text = event.text.strip().lower()
    if text in COMMANDS:
        return Admission(text.removeprefix("/"))  # type: ignore[arg-type]
    if not text and not event.media:
        return Admission("ignore", "empty")
    return Admission("turn")


def chat_of(event: InboundEvent, rules: Rules) -> str:
    """Name the chat that has a session: a target, or a person there."""
    return f"{event.target}%{event.sender_id}" if rules.per_user_sessions and event.is_group else event.target


def creator_of(bot_id: str, event: InboundEvent, rules: Rules) -> str:
    """The creator of the chat's session: the person, or the group that shares it."""
    is_shared = event.is_group and not rules.per_user_sessions
    return f"im!{bot_id}!{event.session_id if is_shared else event.sender_id}"[:255]
