"""Parse the Open API's requests: the body of `POST /chat`, and of a WebSocket's `send`."""

from collections.abc import Mapping
from typing import Any

from app.chat.commands import OnBusy, SendMessage
from app.chat.fields import NAME, check_name, parse_knowledge, parse_on_busy, parse_tools
from app.chat.parts import PART_CODES, PartLimits, parse_parts
from app.errors import BadRequest

SEND_CODES = (
    "invalid_username",
    "username_empty",
    "username_reserved",
    "empty_message",
    *PART_CODES,
    "invalid_session_id",
    "invalid_conversation_id",
    "invalid_selected_provider",
    "invalid_selected_model",
    "provider_not_found",
    "model_not_found",
    "invalid_config_id",
    "invalid_config_name",
    "config_not_found",
    "config_name_ambiguous",
    "invalid_message_id",
    "invalid_role",
    "invalid_knowledge",
    "collection_not_found",
    "collection_ambiguous",
    "invalid_tools_use",
    "invalid_on_busy",
)
"""The codes of refused messages, beside that of a missing field."""


class MissingKey(BadRequest):
    """A required field is left out, or null."""

    code = "missing_key"

    def __init__(self, key: str) -> None:
        super().__init__(f"Missing key: {key}")
        self.key = key


def parse_send(body: Mapping[str, Any], limits: PartLimits) -> SendMessage:
    """The request in a JSON object. Raises BadRequest with the contract's messages."""
    username = parse_username(body.get("username"))
    if "message" not in body:
        raise MissingKey("message")
    parts = parse_parts(body["message"], limits)
    streaming = body.get("enable_streaming")
    if streaming is None and isinstance(flags := body.get("flags"), dict):
        streaming = flags.get("enable_streaming")
    if not isinstance(streaming, bool | None):
        raise BadRequest("enable_streaming must be a boolean", code="invalid_request")
    return SendMessage(
        username=username,
        parts=parts,
        session_id=_name(body, "session_id") or _name(body, "conversation_id"),
        provider_id=_name(body, "selected_provider"),
        model=_name(body, "selected_model"),
        config_id=_name(body, "config_id"),
        config_name=_name(body, "config_name"),
        streaming=streaming is not False,
        message_id=_name(body, "message_id"),
        on_busy=parse_on_busy(body["on_busy"]) if "on_busy" in body else OnBusy.QUEUE,
        role=_name(body, "role"),
        knowledge=parse_knowledge(body["knowledge"]) if "knowledge" in body else None,
        tools=parse_tools(body["tools_use"]) if "tools_use" in body else None,
    )


def wants_run_started(body: Mapping[str, Any]) -> bool:
    """Whether the event `run_started` is wanted: clients that check the types of events need not know it."""
    flags = body.get("flags")
    return isinstance(flags, dict) and flags.get("run_started") is True


def parse_regenerate(body: Mapping[str, Any], username: str, session_id: str, message_id: int) -> SendMessage:
    """The request to answer a message again. Raises BadRequest."""
    streaming = body.get("enable_streaming")
    if not isinstance(streaming, bool | None):
        raise BadRequest("enable_streaming must be a boolean", code="invalid_request")
    return SendMessage(
        username=username,
        parts=(),
        session_id=session_id,
        provider_id=_name(body, "selected_provider"),
        model=_name(body, "selected_model"),
        config_id=_name(body, "config_id"),
        streaming=streaming is not False,
        on_busy=parse_change_on_busy(body.get("on_busy")),
        role=_name(body, "role"),
        knowledge=parse_knowledge(body.get("knowledge")),
        tools=parse_tools(body.get("tools_use")),
        answers=message_id,
    )


def parse_change_on_busy(value: object) -> OnBusy:
    """How a change of the conversation treats a reply that is being made. Raises BadRequest."""
    if value not in (None, OnBusy.REJECT, OnBusy.INTERRUPT):
        raise BadRequest("on_busy must be reject or interrupt", code="invalid_on_busy")
    return OnBusy(str(value or OnBusy.REJECT))


def parse_username(value: object) -> str:
    """The trimmed username. Raises BadRequest."""
    if value is None:
        raise MissingKey("username")
    username = _trimmed("username", value)
    if not username:
        raise BadRequest("username is empty", code="username_empty")
    return username


def _name(body: Mapping[str, Any], field: str) -> str | None:
    """The trimmed name; None for a blank, null or missing one. Raises BadRequest."""
    value = body.get(field)
    return None if value is None else _trimmed(field, value) or None


def _trimmed(field: str, value: object) -> str:
    if not isinstance(value, str):
        raise BadRequest(f"{field} must be a string", code=f"invalid_{field}")
    name = value.strip()
    if NAME.fullmatch(name) is None:
        check_name(field, name)
    return name
