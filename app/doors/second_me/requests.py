"""A request of Second Me's clients, the present ones' and those of before, as a completion that is asked for."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from app.chat.commands import INSTRUCTIONS, MAX_COLLECTIONS, RetrievalOptions, check_name
from app.completions.errors import InvalidRequest
from app.completions.requests import OURS, CompletionRequest, SessionPolicy, parse_completion
from app.errors import BadRequest

DEFAULTS: Mapping[str, Any] = {"temperature": 0.1, "max_tokens": 2000}
FORMER = frozenset(
    {"message", "history", "system_prompt", "role_id", "enable_l0_retrieval", "enable_l1_retrieval", "metadata"}
)
"""The fields of Second Me's own, none of which is the model server's."""
_STATELESS = SessionPolicy(default_session="")


def parse_chat(body: Mapping[str, Any]) -> CompletionRequest:
    """The request in a JSON object. Raises InvalidRequest."""
    _check_numbers(body)
    passed_on = {name: value for name, value in body.items() if name not in FORMER | OURS}
    for name in DEFAULTS:
        if passed_on.get(name, ...) is None:
            del passed_on[name]
    stream = True if body.get("stream") is None else body["stream"]
    asked = {**passed_on, "messages": _messages(body), "model": body.get("model"), "stream": stream}
    metadata = _member(body, "metadata", dict) or {}
    formerly = _role(body, "role_id")
    role, wish = _role(metadata, "metadata.role_id") or formerly, _wish(body, metadata)
    request = replace(parse_completion(asked, None, _STATELESS), defaults=DEFAULTS)
    role = role or request.role
    # A role takes over: whether and where it looks things up is its own affair.
    return replace(request, role=role, knowledge=None if role else wish)


def _messages(body: Mapping[str, Any]) -> object:
    """OpenAI's messages; or, of earlier clients, the message and what was said before it."""
    given = body.get("messages")
    prompt = _member(body, "system_prompt", str)
    message = _member(body, "message", str)
    history = _history(body)
    if given is None and message is not None:
        if not message.strip():
            raise InvalidRequest("message is empty", "message", code="empty_message")
        given = [*history, {"role": "user", "content": message}]
    if not (prompt and isinstance(given, list)):
        return given
    instructed = any(isinstance(each, dict) and each.get("role") in INSTRUCTIONS for each in given)
    return given if instructed else [{"role": "system", "content": prompt}, *given]


def _history(body: Mapping[str, Any]) -> Sequence[Mapping[str, str]]:
    history = _member(body, "history", list) or []
    for index, each in enumerate(history):
        if not isinstance(each, dict) or not isinstance(each.get("role"), str) or not each["role"]:
            raise InvalidRequest("A message must be an object with a role", f"history[{index}].role")
        if not isinstance(each.get("content"), str):
            raise InvalidRequest("A message's content must be a string", f"history[{index}].content")
    return [{"role": each["role"], "content": each["content"]} for each in history]


def _role(fields: Mapping[str, Any], param: str) -> str | None:
    """A role's uuid or name; blank is none."""
    role = _member(fields, "role_id", str, param) or ""
    _check_name(role, param)
    return role.strip() or None


def _wish(body: Mapping[str, Any], metadata: Mapping[str, Any]) -> RetrievalOptions | None:
    """What the request wants to be looked up; None when it says nothing of it."""
    formerly = _member(body, "enable_l0_retrieval", bool)
    wanted = _member(metadata, "enable_l0_retrieval", bool, "metadata.enable_l0_retrieval")
    param = "metadata.collections"
    names = _member(metadata, "collections", list, param) or []
    if not all(isinstance(name, str) and name.strip() for name in names):
        raise InvalidRequest("collections must be a list of ids or names", param)
    if len(names) > MAX_COLLECTIONS:
        raise InvalidRequest(f"There are more than {MAX_COLLECTIONS} collections", param)
    for name in names:
        _check_name(name, param)
    collections = tuple(dict.fromkeys(name.strip() for name in names))
    on = wanted if wanted is not None else formerly
    if on is None and not collections:
        return None
    return RetrievalOptions(bool(collections) if on is None else on, collections)


def _check_name(name: str, param: str) -> None:
    try:
        check_name(param, name)
    except BadRequest as error:
        raise InvalidRequest(error.message, param) from None


def _check_numbers(body: Mapping[str, Any]) -> None:
    temperature, max_tokens = body.get("temperature"), body.get("max_tokens")
    if isinstance(temperature, bool) or not isinstance(temperature, int | float | None):
        raise InvalidRequest("temperature must be a number", "temperature")
    whole = isinstance(max_tokens, int | None) or (isinstance(max_tokens, float) and max_tokens.is_integer())
    if isinstance(max_tokens, bool) or not whole:
        raise InvalidRequest("max_tokens must be an integer", "max_tokens")


def _member(fields: Mapping[str, Any], name: str, kind: type, param: str | None = None) -> Any:
    """The field, which is of this kind; or None, where it is null or left out. Raises InvalidRequest."""
    value = fields.get(name)
    if value is not None and not isinstance(value, kind):
        raise InvalidRequest(f"{name} must be {_KINDS[kind]}", param or name)
    return value


_KINDS = {str: "a string", bool: "a boolean", list: "a list", dict: "an object"}
