"""A chat request, parsed: the body of `POST /chat` and of a WebSocket's `send`."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import msgspec

from app.chat.parts import Part, PartLimits, parse_parts
from app.chat.values import WEBCHAT
from app.errors import BadRequest

MAX_NAME_CHARS = 255
MAX_COLLECTIONS = 50
NAME_PATTERN = r"^[^\x00-\x1f\x7f-\x9f]*[^\s\x00-\x1f\x7f-\x9f][^\x00-\x1f\x7f-\x9f]*$"
"""What usernames and ids look like, for the schemas: something to see in them, and no control characters."""

INSTRUCTIONS = ("system", "developer")
"""The roles of messages that instruct the model, in OpenAI's API."""

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


class OnBusy(StrEnum):
    """What a message does that finds its session answering another: wait, be refused, or end that answer."""

    QUEUE = "queue"
    REJECT = "reject"
    INTERRUPT = "interrupt"


@dataclass(frozen=True, slots=True)
class ModelTurn:
    """A message in the form in which the model is to be given it: OpenAI's.

    `messages` stand behind the session's history, as they are; `system` ones before it, in the place of the profile's
    system prompt. `params` are the request's own and win over the profile's.
    """

    messages: Sequence[Mapping[str, Any]]
    system: Sequence[Mapping[str, Any]] = ()
    params: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RetrievalOptions:
    """Whether the knowledge base is searched for a reply, and where: ids or names of collections, none for all."""

    on: bool
    collections: tuple[str, ...] = ()


class SendRequest(msgspec.Struct, frozen=True):
    """One message to a session; None stands for what the client left open.

    `message_id` is the client's own name for the reply (WebSocket); one is made if it gives none. With a `turn`,
    `parts` are only what is kept of the message. A `stateless` one has no session: its turn is all that the model is
    given. `role` is a role's id or name. (A struct for the same reason as Run.)
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


def parse_send(body: Mapping[str, Any], limits: PartLimits) -> SendRequest:
    """The request in a JSON object. Raises BadRequest with the contract's messages."""
    username = parse_username(body.get("username"))
    if "message" not in body:
        raise BadRequest("Missing key: message", code="missing_key")
    parts = parse_parts(body["message"], limits)
    streaming = body.get("enable_streaming")
    if streaming is None:
        streaming = True
    if not isinstance(streaming, bool):
        raise BadRequest("enable_streaming must be a boolean", code="invalid_request")
    return SendRequest(
        username=username,
        parts=parts,
        session_id=_name(body, "session_id") or _name(body, "conversation_id"),
        provider_id=_name(body, "selected_provider"),
        model=_name(body, "selected_model"),
        config_id=_name(body, "config_id"),
        config_name=_name(body, "config_name"),
        streaming=streaming,
        message_id=_name(body, "message_id"),
        on_busy=parse_on_busy(body.get("on_busy")),
        role=_name(body, "role"),
        knowledge=parse_knowledge(body.get("knowledge")),
    )


def parse_username(value: object) -> str:
    """The trimmed username. Raises BadRequest."""
    if value is None:
        raise BadRequest("Missing key: username", code="missing_key")
    if not isinstance(value, str):
        raise BadRequest("username must be a string", code="invalid_username")
    username = value.strip()
    if not username:
        raise BadRequest("username is empty", code="username_empty")
    check_name("username", username)
    return username


def _name(body: Mapping[str, Any], field: str) -> str | None:
    value = body.get(field)
    if value is None:
        return None
    if not isinstance(value, str):
        raise BadRequest(f"{field} must be a string", code=f"invalid_{field}")
    value = value.strip()
    if value:
        check_name(field, value)
    return value or None


def parse_on_busy(value: object) -> OnBusy:
    """Raises BadRequest."""
    if value is None:
        return OnBusy.QUEUE
    try:
        return OnBusy(str(value))
    except ValueError:
        raise BadRequest("on_busy must be queue, reject or interrupt", code="invalid_on_busy") from None


def parse_knowledge(value: object) -> RetrievalOptions | None:
    """`true`, `false`, or a list of collections. Raises BadRequest."""
    if value is None:
        return None
    if isinstance(value, bool):
        return RetrievalOptions(value)
    if not isinstance(value, list) or not all(isinstance(name, str) and name.strip() for name in value):
        raise BadRequest("knowledge must be a boolean or a list of collections", code="invalid_knowledge")
    if len(value) > MAX_COLLECTIONS:
        raise BadRequest(f"knowledge names more than {MAX_COLLECTIONS} collections", code="invalid_knowledge")
    names = tuple(dict.fromkeys(name.strip() for name in value))
    for name in names:
        check_name("knowledge", name)
    return RetrievalOptions(bool(names), names)


def check_name(field: str, value: str) -> None:
    """Raises BadRequest for a name or id that is too long or holds control characters."""
    if len(value) > MAX_NAME_CHARS:
        raise BadRequest(f"{field} has more than {MAX_NAME_CHARS} characters", code=f"invalid_{field}")
    if _CONTROL.search(value):
        raise BadRequest(f"{field} contains control characters", code=f"invalid_{field}")
