"""Parse OpenAI's request for a completion: its session, its new messages, and the model server's parameters."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from app.chat.commands import INSTRUCTIONS, OnBusy
from app.chat.fields import check_name, parse_knowledge, parse_on_busy, parse_tools
from app.completions.catalog import ROLE_PREFIX
from app.completions.errors import InvalidRequest, ModelNotFound
from app.completions.values import CompletionRequest, MessageParam, SessionPolicy
from app.errors import BadRequest

MAX_NAME_CHARS = 200
MAX_MODEL_CHARS = 255
MAX_MESSAGES = 10_000
OWN_FIELDS = frozenset({"messages", "model", "stream", "session_id", "thread_id", "on_busy", "knowledge", "tools_use"})
"""The fields that are read here and not passed on."""
INCLUDE_TOOLS = "palaver.tools"


def parse_completion(
    body: Mapping[str, Any], session_key: str | None, policy: SessionPolicy, username: str | None = None
) -> CompletionRequest:
    """The request in a JSON object; `session_key` is the header x-session-key, `username` the user of a bound key.

    Raises InvalidRequest, ModelNotFound for a role without a name.
    """
    if policy.require_session_key and not (session_key or "").strip():
        raise InvalidRequest("Missing required header: x-session-key", "x-session-key", code="missing_session_key")
    messages = _messages(body.get("messages"))
    model = body.get("model")
    if not isinstance(model, str | None):
        raise InvalidRequest("model must be a string", "model")
    check_param("model", model or "", MAX_MODEL_CHARS)
    stream = body.get("stream")
    if not isinstance(stream, bool | None):
        raise InvalidRequest("stream must be a boolean", "stream")
    if not isinstance(body.get("stream_options"), dict | None):
        raise InvalidRequest("stream_options must be an object", "stream_options")
    try:
        on_busy = parse_on_busy(body.get("on_busy"))
        knowledge = parse_knowledge(body.get("knowledge"))
        tools = parse_tools(body.get("tools_use"))
    except BadRequest as error:
        raise InvalidRequest(error.message, error.code.removeprefix("invalid_")) from None
    params = {name: value for name, value in body.items() if name not in OWN_FIELDS}
    shows_tools = _take_include(params)
    name = (model or "").strip()
    role = name.removeprefix(ROLE_PREFIX).strip() if name.startswith(ROLE_PREFIX) else None
    if role is not None and not (role and len(role) <= MAX_NAME_CHARS):
        raise ModelNotFound(name)
    request = CompletionRequest(
        session=_session_name(body, session_key),
        messages=messages,
        system=(),
        params=params,
        model=name or None if role is None else None,
        stream=bool(stream),
        on_busy=on_busy,
        role=role,
        knowledge=knowledge,
        tools=tools,
        shows_tools=shows_tools,
    )
    default_session = policy.default_session_of(username)
    return _in_conversation(request, default_session, chooses_on_busy=body.get("on_busy") is not None)


def _take_include(params: dict[str, Any]) -> bool:
    """Take `palaver.tools` out of `include`; the rest of that list is the model server's."""
    include = params.get("include")
    if not isinstance(include, list) or INCLUDE_TOOLS not in include:
        return False
    params["include"] = [each for each in include if each != INCLUDE_TOOLS]
    if not params["include"]:
        del params["include"]
    return True


def _in_conversation(request: CompletionRequest, default_session: str, *, chooses_on_busy: bool) -> CompletionRequest:
    """The request in its session, with the new messages only; a single message goes to the default session."""
    has_choices = request.params.get("n") not in (None, 1)
    if request.session is None:
        single = _is_single_message(request.messages) and request.params.get("store") is not False and not has_choices
        if not (single and default_session):
            return request
        request = replace(request, session=default_session)
        if not chooses_on_busy:
            request = replace(request, on_busy=OnBusy.REJECT, stateless_if_busy=True)
    if has_choices:
        raise InvalidRequest("n must be 1 in a session, which goes on from one reply", "n")
    roles = [message["role"] for message in request.messages]
    start = len(roles) - roles[::-1].index("assistant") if "assistant" in roles else 0
    messages = [message for message in request.messages[start:] if message["role"] not in INSTRUCTIONS]
    if not messages:
        raise InvalidRequest("messages must end with a new message of the user's or a tool's", "messages")
    system = [message for message in request.messages if message["role"] in INSTRUCTIONS]
    return replace(request, messages=messages, system=system)


def _is_single_message(messages: Sequence[MessageParam]) -> bool:
    """Whether the one message beside instructions is the user's, and stands at the end."""
    *history, message = messages
    return message["role"] == "user" and all(message["role"] in INSTRUCTIONS for message in history)


def _messages(value: object) -> list[MessageParam]:
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
    """The first of a session's three possible names in a request; blank ones do not count."""
    session_id, thread_id = body.get("session_id"), body.get("thread_id")
    if not isinstance(session_id, str | None):
        raise InvalidRequest("session_id must be a string", "session_id")
    if isinstance(thread_id, bool) or not isinstance(thread_id, int | str | None):
        raise InvalidRequest("thread_id must be an integer or a string", "thread_id")
    names = []
    for param, value in (("session_id", session_id), ("x-session-key", session_key), ("thread_id", thread_id)):
        name = "" if value is None else str(value).strip()
        check_param(param, name, MAX_NAME_CHARS)
        names.append(name)
    return next(filter(None, names), None)


def check_param(param: str, name: str, max_chars: int) -> None:
    """Raises InvalidRequest for a name that is too long or holds control characters."""
    try:
        check_name(param, name, max_chars)
    except BadRequest as error:
        raise InvalidRequest(error.message, param) from None
