"""Commands to the chat service."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import msgspec

from app.chat.parts import Part
from app.chat.values import WEBCHAT

INSTRUCTIONS = ("system", "developer")
"""The roles of messages that instruct the model, in OpenAI's API."""


class OnBusy(StrEnum):
    """How a message treats a session that is answering another: wait, be refused, or end that answer."""

    QUEUE = "queue"
    REJECT = "reject"
    INTERRUPT = "interrupt"


@dataclass(frozen=True, slots=True)
class ModelTurn:
    """A message in OpenAI's form, for the model as it is.

    `messages` follow the session's history; `system` replaces the profile's system prompt. `params` take precedence
    over the profile's; `defaults` names those of them that are the door's own.
    """

    messages: Sequence[Mapping[str, Any]]
    system: Sequence[Mapping[str, Any]] = ()
    params: Mapping[str, Any] = field(default_factory=dict)
    defaults: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class RetrievalOptions:
    """Whether the knowledge base is searched, and in which collections (ids or names); none means all."""

    enabled: bool
    collections: tuple[str, ...] = ()


class SendMessage(msgspec.Struct, frozen=True):
    """One message to a session; None leaves a choice to the server.

    `message_id` is the client's own name for the reply (WebSocket). With a `turn`, `parts` are only what is stored of
    the message. A `stateless` message has no session: its turn is the whole conversation. `role` is a role's id or
    name. `tools` are patterns that narrow the profile's tools; none of them means none. With `answers`, the id of a
    message of the session, that one is answered again, and none is added.
    """

    username: str
    parts: tuple[Part, ...]
    session_id: str | None = None
    provider_id: str | None = None
    model: str | None = None
    config_id: str | None = None
    config_name: str | None = None
    streaming: bool = True
    message_id: str | None = None
    on_busy: OnBusy = OnBusy.QUEUE
    platform_id: str = WEBCHAT
    turn: ModelTurn | None = None
    stateless: bool = False
    role: str | None = None
    knowledge: RetrievalOptions | None = None
    tools: tuple[str, ...] | None = None
    answers: int | None = None
