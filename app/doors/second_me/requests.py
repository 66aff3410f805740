"""Parse Second Me's requests, those of present and of earlier clients, as requests for a completion."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from app.chat.commands import INSTRUCTIONS, RetrievalOptions
from app.chat.fields import MAX_COLLECTIONS, MAX_NAME_CHARS
from app.completions.errors import InvalidRequest
from app.completions.requests import OWN_FIELDS, check_param, parse_completion
from app.completions.values import CompletionRequest, SessionPolicy

DEFAULTS: Mapping[str, Any] = {"temperature": 0.1, "max_tokens": 2000}
SECOND_ME_FIELDS = frozenset(
    {"message", "history", "system_prompt", "role_id", "enable_l0_retrieval", "enable_l1_retrieval", "metadata"}
)
"""The fields that Second Me adds to OpenAI's; the model server does not get them."""
_STATELESS = SessionPolicy(default_session="")
_KINDS = {str: "a string", bool: "a boolean", list: "a list", dict: "an object"}


def parse_chat(body: Mapping[str, Any]) -> CompletionRequest:
    """The request in a JSON object. Raises InvalidRequest."""
    _check_numbers(body)
    params = {name: value for name, value in body.items() if name not in SECOND_ME_FIELDS | OWN_FIELDS}
    for name in DEFAULTS:
        if params.get(name, ...) is None:
            del params[name]
    stream = True if body.get("stream") is None else body["stream"]
    openai_body = {**params, "messages": _messages(body), "model": body.get("model"), "stream": stream}
    metadata = _member(body, "metadata", dict) or {}
    earlier_role = _role(body, "role_id")
    role = _role(metadata, "metadata.role_id") or earlier_role
    knowledge = _retrieval_options(body, metadata)
    request = replace(parse_completion(openai_body, None, _STATELESS), defaults=DEFAULTS)
    role = role or request.role
    # A role takes over: whether and where it searches is set in the role.
    return replace(request, role=role, knowledge=None if role else knowledge)


def _messages(body: Mapping[str, Any]) -> object:
    """OpenAI's messages; of earlier clients, the history and the message."""
    messages = body.get("messages")
    prompt = _member(body, "system_prompt", str)
    message = _member(body, "message", str)
    history = _history(body)
    if messages is None and message is not None:
        if not message.strip():
            raise InvalidRequest("message is empty", "message", code="empty_message")
        messages = [*history, {"role": "user", "content": message}]
    if not (prompt and isinstance(messages, list)):
        return messages
    if any(isinstance(item, dict) and item.get("role") in INSTRUCTIONS for item in messages):
        return messages
    return [{"role": "system", "content": prompt}, *messages]


def _history(body: Mapping[str, Any]) -> list[dict[str, str]]:
    history = _member(body, "history", list) or []
    for index, message in enumerate(history):
        if not isinstance(message, dict) or not isinstance(message.get("role"), str) or not message["role"]:
            raise InvalidRequest("A message must be an object with a role", f"history[{index}].role")
        if not isinstance(message.get("content"), str):
            raise InvalidRequest("A message's content must be a string", f"history[{index}].content")
    return [{"role": message["role"], "content": message["content"]} for message in history]


def _role(fields: Mapping[str, Any], param: str) -> str | None:
    """A role's uuid or name, None for a blank one."""
    role = _member(fields, "role_id", str, param) or ""
    check_param(param, role, MAX_NAME_CHARS)
    return role.strip() or None


def _retrieval_options(body: Mapping[str, Any], metadata: Mapping[str, Any]) -> RetrievalOptions | None:
    """The request's own options, or None."""
    earlier_flag = _member(body, "enable_l0_retrieval", bool)
    flag = _member(metadata, "enable_l0_retrieval", bool, "metadata.enable_l0_retrieval")
    param = "metadata.collections"
    names = _member(metadata, "collections", list, param) or []
    if not all(isinstance(name, str) and name.strip() for name in names):
        raise InvalidRequest("collections must be a list of ids or names", param)
    if len(names) > MAX_COLLECTIONS:
        raise InvalidRequest(f"There are more than {MAX_COLLECTIONS} collections", param)
    for name in names:
        check_param(param, name, MAX_NAME_CHARS)
    collections = tuple(dict.fromkeys(name.strip() for name in names))
    on = earlier_flag if flag is None else flag
    if on is None and not collections:
        return None
    return RetrievalOptions(bool(collections) if on is None else on, collections)


def _check_numbers(body: Mapping[str, Any]) -> None:
    temperature, max_tokens = body.get("temperature"), body.get("max_tokens")
    if isinstance(temperature, bool) or not isinstance(temperature, int | float | None):
        raise InvalidRequest("temperature must be a number", "temperature")
    is_integer = isinstance(max_tokens, int | None) or (isinstance(max_tokens, float) and max_tokens.is_integer())
    if isinstance(max_tokens, bool) or not is_integer:
        raise InvalidRequest("max_tokens must be an integer", "max_tokens")


def _member(fields: Mapping[str, Any], name: str, kind: type, param: str | None = None) -> Any:
    """The field's value of this kind; None for a null or missing one. Raises InvalidRequest."""
    value = fields.get(name)
    if value is not None and not isinstance(value, kind):
        raise InvalidRequest(f"{name} must be {_KINDS[kind]}", param or name)
    return value
