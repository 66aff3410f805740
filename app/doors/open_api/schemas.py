"""The wire shapes of chat, for the handlers and for the published schema."""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from app.chat.fields import MAX_COLLECTIONS, MAX_NAME_CHARS
from app.chat.schemas import REF, MessagePart, MessageRef
from app.chat.values import Message, Run, RunStatus, Session
from app.edge.schemas import DateTime, shape_of
from app.text import NAME_PATTERN

Name = Annotated[str, Meta(min_length=1, max_length=MAX_NAME_CHARS, pattern=NAME_PATTERN)]


class ChatSendRequest(msgspec.Struct):
    """A message to a session, and how it is to be answered."""

    message: Annotated[str, Meta(min_length=1, pattern=r"\S")] | Annotated[list[MessagePart], Meta(min_length=1)]
    username: Annotated[Name, Meta(description="Whose session it is; trimmed.")]
    session_id: Annotated[str | None, Meta(description="Left out, a new session is made.")] = None
    conversation_id: Annotated[str | None, Meta(description="Alias of session_id.")] = None
    selected_provider: str | None = None
    selected_model: str | None = None
    enable_streaming: bool | None = True
    config_id: Annotated[str | None, Meta(description="A profile; `default` puts the session back on it.")] = None
    config_name: Annotated[str | None, Meta(description="A profile's name; read only without config_id.")] = None
    role: Annotated[
        str | None, Meta(description="A role's id or name, which answers this message: its system prompt takes over.")
    ] = None
    knowledge: Annotated[
        bool | Annotated[list[str], Meta(max_length=MAX_COLLECTIONS)] | None,
        Meta(description="Search the knowledge base for this message: in all collections, or in these (ids, names)."),
    ] = None
    on_busy: Annotated[
        Literal["queue", "reject", "interrupt"] | None,
        Meta(description="What to do while the session answers another message: wait, 409, or end that answer."),
    ] = None


class ChatSessionItem(msgspec.Struct):
    session_id: str
    platform_id: str
    creator: str
    display_name: str | None
    is_group: int
    created_at: DateTime
    updated_at: DateTime
    config_id: str | None = None

    @classmethod
    def of(cls, session: Session) -> "ChatSessionItem":
        return shape_of(cls, session, session_id=session.id)


class ChatSessionPage(msgspec.Struct):
    sessions: list[ChatSessionItem]
    page: int
    page_size: int
    total: int


class SessionChange(msgspec.Struct):
    """What to change; what is left out stays. `config_id` null or `default` is the default profile."""

    username: Name
    display_name: Annotated[str, Meta(max_length=MAX_NAME_CHARS)] | UnsetType | None = UNSET
    config_id: str | UnsetType | None = UNSET


class UserBody(msgspec.Struct):
    username: Name


class ChatMessage(msgspec.Struct):
    """A stored message; `status` is `partial` when the reply was stopped or interrupted."""

    id: int
    role: Literal["user", "assistant"]
    parts: list[dict[str, Any]]
    status: Literal["complete", "partial", "failed"]
    run_id: str | None
    created_at: DateTime
    token_usage: dict[str, int] | None
    reasoning: str = ""
    refs: list[MessageRef] | UnsetType = UNSET

    @classmethod
    def of(cls, message: Message) -> "ChatMessage":
        return shape_of(cls, message, refs=message.refs or UNSET)


class ChatMessagePage(msgspec.Struct):
    messages: list[ChatMessage]
    has_more: bool


class ChatRun(msgspec.Struct):
    """A run; `message_id` is the reply's id in its events, `reply_id` its number in the history once it is over.

    A run without a session answers a request that brought its conversation along (`/v1/chat/completions`).
    """

    run_id: str
    session_id: str | None
    status: RunStatus
    message_id: str
    user_message_id: int | None
    reply_id: int | None
    provider: str
    model: str
    config_id: str
    streaming: bool
    error_code: str | None
    error: str | None
    created_at: DateTime
    started_at: DateTime | None
    finished_at: DateTime | None

    @classmethod
    def of(cls, run: Run, status: RunStatus, started_at: datetime | None) -> "ChatRun":
        return shape_of(
            cls,
            run,
            run_id=run.id,
            reply_id=run.reply_message_id if run.finished_at is not None else None,
            provider=run.provider_id,
            status=status,
            started_at=started_at,
        )


class StoppedRuns(msgspec.Struct):
    run_ids: list[str]
    stopped_count: int


def _event(kind: str, properties: Mapping[str, Any], description: str) -> dict[str, Any]:
    return {
        "type": "object",
        "description": description,
        "required": ["type", *properties],
        "properties": {"type": {"const": kind}, **properties},
    }


_TEXT = {"type": "string"}
_TEXT_OR_NULL = {"type": ["string", "null"]}
_SAVED = {
    "type": "object",
    "required": ["id", "created_at"],
    "properties": {"id": {"type": "integer"}, "created_at": {"type": "string", "format": "date-time"}},
}
_COUNT = {"type": "integer", "minimum": 0}
_SECONDS = {"type": "number"}

CHAT_EVENT: Mapping[str, Any] = {
    "description": "One event of a reply: the JSON in a `data:` line, or a WebSocket's text frame.",
    "oneOf": [
        _event(
            "session_id",
            {"data": {"type": "null"}, "session_id": _TEXT_OR_NULL, "run_id": _TEXT, "message_id": _TEXT},
            "Comes first: where the message went, if to a session, and the run that answers it.",
        ),
        _event("user_message_saved", {"data": _SAVED}, "The user's message is stored."),
        _event(
            "refs",
            {"data": {"type": "array", "minItems": 1, "items": REF}, "message_id": _TEXT},
            "Comes before the reply where passages of the knowledge base were put before the model: which they are.",
        ),
        _event(
            "plain",
            {
                "data": _TEXT,
                "streaming": {"type": "boolean"},
                "chain_type": {"enum": [None, "reasoning", "tool_call", "tool_call_result"]},
                "message_id": _TEXT,
            },
            "Text as it comes; or a tool call, or its result, as JSON in `data`.",
        ),
        _event(
            "agent_stats",
            {
                "data": {
                    "type": "object",
                    "required": ["token_usage", "start_time", "end_time", "time_to_first_token"],
                    "properties": {
                        "token_usage": {
                            "type": "object",
                            "required": ["input_other", "input_cached", "output"],
                            "properties": {"input_other": _COUNT, "input_cached": _COUNT, "output": _COUNT},
                        },
                        "start_time": _SECONDS,
                        "end_time": _SECONDS,
                        "time_to_first_token": _SECONDS,
                    },
                }
            },
            "Tokens as the model server counted them; times in seconds.",
        ),
        _event(
            "complete",
            {"data": _TEXT, "reasoning": _TEXT, "streaming": {"type": "boolean"}, "message_id": _TEXT},
            "The whole text, when the reply was completed.",
        ),
        _event("message_saved", {"data": _SAVED}, "The reply is stored under that number."),
        _event(
            "error",
            {"code": _TEXT, "data": _TEXT, "message_id": _TEXT},
            "Why the reply was not completed. `end` follows, and no `complete`.",
        ),
        _event("end", {"data": {"const": ""}, "streaming": {"type": "boolean"}, "message_id": _TEXT}, "Comes last."),
    ],
}
