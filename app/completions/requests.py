"""A request for a completion, parsed: which conversation it belongs to, what is new in it, and what is passed on."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from app.chat.commands import INSTRUCTIONS, OnBusy, RetrievalOptions
from app.chat.fields import parse_knowledge, parse_on_busy
from app.completions.catalog import ROLE_PREFIX
from app.completions.errors import InvalidRequest, ModelNotFound
from app.errors import BadRequest

MAX_NAME_CHARS = 200
MAX_MESSAGES = 10_000
OURS = frozenset({"messages", "model", "stream", "session_id", "thread_id", "on_busy", "knowledge"})
"""The fields that are read here and not passed on."""
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")

Message = dict[str, Any]


@dataclass(frozen=True, slots=True)
class SessionPolicy:
    """How requests that name no session are taken; an empty `default_session` makes them stateless."""

    default_session: str = "api:default"
    require_session_key: bool = False


@dataclass(frozen=True, slots=True)
class CompletionRequest:
    """One request. `session` is the session's name, None for a stateless request.

    `messages` are what is new in the session, or, stateless, all of them; in a session, `system` stands apart.
    `params` reach the model server as they are; `role` is a role's id or name.
    """

    session: str | None
    messages: Sequence[Message]
    system: Sequence[Message]
    params: Mapping[str, Any]
    defaults: Mapping[str, Any] = field(default_factory=dict)
    """The door's own parameters, which hold where neither the request nor a chosen profile says otherwise."""
    model: str | None = None
    stream: bool = False
    on_busy: OnBusy = OnBusy.QUEUE
    role: str | None = None
    knowledge: RetrievalOptions | None = None

    @property
    def wants_usage(self) -> bool:
        """Whether a stream is to end with the usage."""
        options = self.params.get("stream_options")
        return isinstance(options, dict) and options.get("include_usage") is True


def parse_completion(body: Mapping[str, Any], session_key: str | None, policy: SessionPolicy) -> CompletionRequest:
    """The request in a JSON object; `session_key` is the header x-session-key. Raises InvalidRequest."""
    if policy.require_session_key and not (session_key or "").strip():
        raise InvalidRequest("Missing required header: x-session-key", "x-session-key", code="missing_session_key")
    messages = _messages(body.get("messages"))
    model = body.get("model")
    if not isinstance(model, str | None):
        raise InvalidRequest("model must be a string", "model")
    stream = body.get("stream")
    if not isinstance(stream, bool | None):
        raise InvalidRequest("stream must be a boolean", "stream")
    try:
        on_busy = parse_on_busy(body.get("on_busy"))
        knowledge = parse_knowledge(body.get("knowledge"))
    except BadRequest as error:
        raise InvalidRequest(error.message, error.code.removeprefix("invalid_")) from None
    name = (model or "").strip()
    role = name.removeprefix(ROLE_PREFIX).strip() if name.startswith(ROLE_PREFIX) else None
    if role is not None and not (role and len(role) <= MAX_NAME_CHARS):
        raise ModelNotFound(name)
    request = CompletionRequest(
        session=_session_name(body, session_key),
        messages=messages,
        system=(),
        params={name: value for name, value in body.items() if name not in OURS},
        model=name or None if role is None else None,
        stream=bool(stream),
        on_busy=on_busy,
        role=role,
        knowledge=knowledge,
    )
    return _in_its_conversation(request, policy)


def _in_its_conversation(request: CompletionRequest, policy: SessionPolicy) -> CompletionRequest:
    several = request.params.get("n") not in (None, 1)
    if request.session is None:
        one_message = _is_one_message(request.messages) and request.params.get("store") is not False and not several
        if not (one_message and policy.default_session):
            return request
        request = replace(request, session=policy.default_session)
    if several:
        raise InvalidRequest("n must be 1 in a session, which goes on from one reply", "n")
    roles = [message["role"] for message in request.messages]
    begins = len(roles) - roles[::-1].index("assistant") if "assistant" in roles else 0
    new = [message for message in request.messages[begins:] if message["role"] not in INSTRUCTIONS]
    if not new:
        raise InvalidRequest("messages must end with a new message of the user's or a tool's", "messages")
    system = [message for message in request.messages if message["role"] in INSTRUCTIONS]
    return replace(request, messages=new, system=system)


def _is_one_message(messages: Sequence[Message]) -> bool:
    *before, last = messages
    return last["role"] == "user" and all(message["role"] in INSTRUCTIONS for message in before)


def _messages(value: object) -> list[Message]:
    if not isinstance(value, list) or not value:
        raise InvalidRequest("messages must be a list with at least one message", "messages")
    if len(value) > MAX_MESSAGES:
        raise InvalidRequest(f"There are more than {MAX_MESSAGES} messages", "messages")
    for index, message in enumerate(value):
        role = message.get("role") if isinstance(message, dict) else None
        if not isinstance(role, str) or not role:
            raise InvalidRequest("A message must be an object with a role", f"messages[{index}].role")
        if not isinstance(message.get("content"), str | list | None):
            problem = "A message's content must be a string or a list of parts"
            raise InvalidRequest(problem, f"messages[{index}].content")
    return value


def _session_name(body: Mapping[str, Any], session_key: str | None) -> str | None:
    """The first of the three names that a session can be given by; blank ones are none."""
    session_id, thread_id = body.get("session_id"), body.get("thread_id")
    if not isinstance(session_id, str | None):
        raise InvalidRequest("session_id must be a string", "session_id")
    if isinstance(thread_id, bool) or not isinstance(thread_id, int | str | None):
        raise InvalidRequest("thread_id must be an integer or a string", "thread_id")
    told = {"session_id": session_id, "x-session-key": session_key, "thread_id": thread_id}
    names = []
    for param, value in told.items():
        name = "" if value is None else str(value).strip()
        if len(name) > MAX_NAME_CHARS:
            raise InvalidRequest(f"{param} has more than {MAX_NAME_CHARS} characters", param)
        if _CONTROL.search(name):
            raise InvalidRequest(f"{param} contains control characters", param)
        names.append(name)
    return next(filter(None, names), None)
