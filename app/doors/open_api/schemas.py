"""The wire shapes of chat, for the handlers and for the published schema."""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from app.chat.approvals import Approval
from app.chat.fields import MAX_COLLECTIONS, MAX_NAME_CHARS
from app.chat.parts import decoded_arguments
from app.chat.schemas import REF, MessageContent, MessageRef, StoredPart
from app.chat.values import Message, Run, RunStatus, Session
from app.edge.schemas import DateTime, PageNumber, PageSize, example, shape_of
from app.text import LINE_PATTERN, NAME_PATTERN
from app.tools.models import MAX_TOOLS

Name = Annotated[str, Meta(min_length=1, max_length=MAX_NAME_CHARS, pattern=NAME_PATTERN)]
RUN_ID = "6f1c2d1e-4c2b-4d57-9f0c-0a4d1d1f2a3b"


class ChatSendRequest(msgspec.Struct):
    """A message to a session, and how it is to be answered."""

    message: MessageContent
    username: Annotated[Name, Meta(description="Whose session it is; trimmed.")]
    session_id: Annotated[str | None, Meta(description="Left out, a new session is made.")] = None
    conversation_id: Annotated[str | None, Meta(description="Alias of session_id.")] = None
    selected_provider: str | None = None
    selected_model: str | None = None
    enable_streaming: bool | None = True
    flags: Annotated[
        dict[str, Any] | None,
        Meta(
            description="`enable_streaming`, where AstrBot's later clients put it; `run_started` true asks for the "
            "event of that name. Others are passed over."
        ),
    ] = None
    config_id: Annotated[str | None, Meta(description="A profile; `default` puts the session back on it.")] = None
    config_name: Annotated[str | None, Meta(description="A profile's name; read only without config_id.")] = None
    role: Annotated[
        str | None, Meta(description="A role's id or name, which answers this message: its system prompt takes over.")
    ] = None
    knowledge: Annotated[
        bool | Annotated[list[str], Meta(max_length=MAX_COLLECTIONS)] | None,
        Meta(description="Search the knowledge base for this message: in all collections, or in these (ids, names)."),
    ] = None
    tools_use: Annotated[
        bool | Annotated[list[str], Meta(max_length=MAX_TOOLS)] | None,
        Meta(description="Narrow the profile's tools to these (names, patterns), or with `false` to none."),
    ] = None
    on_busy: Annotated[
        Literal["queue", "reject", "interrupt"] | None,
        Meta(description="What to do while the session answers another message: wait, 409, or end that answer."),
    ] = None


SEND_EXAMPLES: Mapping[str, Any] = {
    "plain": {"message": "Hello", "username": "alice", "session_id": "my_session_001"},
    "multipartMessage": {
        "message": [
            {"type": "plain", "text": "Please analyze this file"},
            {"type": "file", "attachment_id": "9a2f8c72-e7af-4c0e-b352-111111111111"},
        ],
        "username": "alice",
        "selected_provider": "openai_chat_completion",
        "selected_model": "gpt-4.1-mini",
    },
    "withConfig": {"message": "Hello", "username": "alice", "config_id": "default"},
}


Label = Annotated[str, Meta(min_length=1, max_length=64, pattern=NAME_PATTERN)]
Labels = Annotated[list[Label], Meta(max_length=50, description="Its labels, in place of those it has.")]


class ChatSessionItem(msgspec.Struct):
    session_id: Annotated[str, example("s1")]
    platform_id: Annotated[str, example("webchat")]
    creator: Annotated[str, example("alice")]
    display_name: Annotated[str | None, example("Plans for the garden")]
    is_group: Annotated[int, example(0)]
    created_at: DateTime
    updated_at: Annotated[DateTime, example("2026-11-21T01:20:59.571438+00:00")]
    config_id: str | None = None
    labels: Annotated[list[str], Meta(description="Its labels.")] = msgspec.field(default_factory=list)
    pinned: Annotated[bool, Meta(description="Whether it is pinned.")] = False

    @classmethod
    def of(cls, session: Session) -> "ChatSessionItem":
        return shape_of(cls, session, session_id=session.id)


class ChatSessionPage(msgspec.Struct):
    sessions: list[ChatSessionItem]
    page: PageNumber
    page_size: PageSize
    total: Annotated[int, example(1)]
    next_cursor: str | None = None


class SessionChange(msgspec.Struct):
    """What to change; what is left out stays. `config_id` null or `default` is the default profile."""

    username: Name
    display_name: Annotated[str, Meta(max_length=MAX_NAME_CHARS, pattern=LINE_PATTERN)] | UnsetType | None = UNSET
    config_id: str | UnsetType | None = UNSET
    labels: Labels | UnsetType = UNSET
    pinned: Annotated[bool, Meta(description="Whether it is pinned.")] | UnsetType = UNSET


class UserBody(msgspec.Struct):
    username: Name


class TokenUsage(msgspec.Struct):
    """Tokens as the model server counted them: those of the prompt that were in its cache, the others, the reply's."""

    input_other: Annotated[int, Meta(ge=0, description="Tokens of the prompt that were not in the cache.")]
    input_cached: Annotated[int, Meta(ge=0, description="Tokens of the prompt that were in the cache.")]
    output: Annotated[int, Meta(ge=0, description="Tokens of the reply.")]


class ChatMessage(msgspec.Struct):
    """A stored message; `status` is `partial` when the reply was stopped or interrupted."""

    id: Annotated[int, example(2)]
    role: Annotated[Literal["user", "assistant"], example("assistant")]
    parts: Annotated[list[StoredPart], example([{"type": "plain", "text": "Hello!"}])]
    status: Annotated[Literal["complete", "partial", "failed"], example("complete")]
    run_id: Annotated[str | None, example(RUN_ID)]
    created_at: DateTime
    token_usage: Annotated[TokenUsage | None, example({"input_other": 10, "input_cached": 0, "output": 3})]
    reasoning: str = ""
    refs: list[MessageRef] | UnsetType = UNSET
    parent_id: Annotated[int | None, Meta(description="The message before it; null at the beginning."), example(1)] = (
        None
    )
    alternatives: Annotated[
        list[int], Meta(description="The other messages with the same parent: edits, or further replies.")
    ] = msgspec.field(default_factory=list)
    on_path: Annotated[bool, Meta(description="Whether it is part of the conversation as it is shown.")] = True

    @classmethod
    def of(cls, message: Message) -> "ChatMessage":
        return shape_of(cls, message, refs=message.refs or UNSET)


class ChatMessagePage(msgspec.Struct):
    messages: list[ChatMessage]
    has_more: Annotated[bool, example(False)]


class ChatRun(msgspec.Struct):
    """A run; `message_id` is the reply's id in its events, `reply_id` its number in the history once it is over.

    A run without a session answers a request that brought its conversation along (`/v1/chat/completions`).
    """

    run_id: Annotated[str, example(RUN_ID)]
    session_id: Annotated[str | None, example("s1")]
    status: Annotated[RunStatus, example("completed")]
    message_id: Annotated[str, example("0b9e6c7a-1d2e-4f3a-8b4c-5d6e7f8a9b0c")]
    user_message_id: Annotated[int | None, example(1)]
    reply_id: Annotated[int | None, example(2)]
    provider: Annotated[str, example("openai_chat_completion")]
    model: Annotated[str, example("gpt-4.1-mini")]
    config_id: Annotated[str, example("default")]
    streaming: Annotated[bool, example(True)]
    error_code: str | None
    error: str | None
    created_at: DateTime
    started_at: Annotated[DateTime | None, example("2026-11-21T01:20:58.581438+00:00")]
    finished_at: Annotated[DateTime | None, example("2026-11-21T01:20:59.571438+00:00")]

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


class RunApproval(msgspec.Struct):
    """A call of a tool that waits for a person's yes or no; without a decision by `expires_at` it is a no."""

    approval_id: Annotated[str, example("0c7d2f6e-53a1-4a4c-9a43-7e0f8f0b6f11")]
    name: Annotated[str, example("message")]
    args: Annotated[Any, example({"umo": "telegram1:FriendMessage:42", "content": "Hello"})]
    state: Annotated[
        Literal["waiting", "approved", "denied", "expired"], Meta(description="The decision."), example("waiting")
    ]
    reason: str | None
    created_at: DateTime
    expires_at: Annotated[DateTime, example("2026-11-21T02:20:58.571438+00:00")]

    @classmethod
    def of(cls, approval: Approval) -> "RunApproval":
        return shape_of(
            cls,
            approval,
            approval_id=approval.id,
            args=decoded_arguments(approval.arguments),
            state=approval.decision or "waiting",
        )


class RunApprovals(msgspec.Struct):
    approvals: list[RunApproval]


class ApprovalDecision(msgspec.Struct):
    """Yes or no to a call; the model reads the `reason` of a no."""

    approval_id: Annotated[str, Meta(min_length=1, max_length=64)]
    approve: bool
    reason: Annotated[str, Meta(max_length=2_000)] | None = None


class StoppedRuns(msgspec.Struct):
    run_ids: Annotated[list[str], example([RUN_ID])]
    stopped_count: Annotated[int, example(1)]


def _event(kind: str, properties: Mapping[str, Any], description: str) -> dict[str, Any]:
    """An event's schema; the title makes it the component `PlainEvent`."""
    return {
        "title": f"{kind.title().replace('_', '')}Event",
        "type": "object",
        "description": description,
        "required": ["type", *properties],
        "properties": {"type": {"const": kind, "description": "The kind of event."}, **properties},
    }


_NULL = {"type": "null", "description": "Always null."}
_RUN = {"type": "string", "description": "The run that makes the reply."}
_REPLY = {"type": "string", "description": "The reply's id, the same in all of its events."}
_STREAMING = {"type": "boolean", "description": "Whether the text comes as it is made."}
_SAVED = {
    "title": "SavedMessage",
    "type": "object",
    "description": "A stored message's number, and when it was stored.",
    "required": ["id", "created_at"],
    "properties": {"id": {"type": "integer"}, "created_at": {"type": "string", "format": "date-time"}},
}


def _text(description: str) -> dict[str, Any]:
    return {"type": "string", "description": description}


def _seconds(description: str) -> dict[str, Any]:
    return {"type": "number", "description": description}


CHAT_EVENT: Mapping[str, Any] = {
    "description": "One event of a reply: the JSON in a `data:` line, or a WebSocket's text frame.",
    "oneOf": [
        _event(
            "session_id",
            {
                "data": _NULL,
                "session_id": {"type": ["string", "null"], "description": "The session that the message went to."},
                "run_id": _RUN,
                "message_id": _REPLY,
            },
            "Comes first: where the message went, if to a session, and the run that answers it.",
        ),
        _event(
            "run_snapshot",
            {
                "data": {
                    "title": "RunSnapshot",
                    "type": "object",
                    "description": "The run, and the reply so far.",
                    "required": ["run_id", "session_id", "llm_checkpoint_id", "status", "revision", "content"],
                    "properties": {
                        "run_id": _RUN,
                        "session_id": {"type": ["string", "null"], "description": "The session, if there is one."},
                        "llm_checkpoint_id": _text("The same as `run_id`."),
                        "status": _text("How far the run has come."),
                        "revision": {"type": "integer", "description": "The id of the last event that is in it."},
                        "content": {
                            "title": "RunSnapshotContent",
                            "type": "object",
                            "description": "The reply so far.",
                            "required": ["type", "message", "reasoning"],
                            "properties": {
                                "type": {"const": "bot", "description": "Always `bot`."},
                                "message": {
                                    "type": "array",
                                    "items": {"type": "object", "additionalProperties": True},
                                    "description": "The parts, as in the history.",
                                },
                                "reasoning": _text("What the model thought before it answered."),
                            },
                        },
                    },
                },
                "message_id": _REPLY,
            },
            "Comes first where a run's stream is asked for with `snapshot`: the reply so far, in one piece.",
        ),
        _event(
            "run_started",
            {
                "data": {
                    "title": "RunStarted",
                    "type": "object",
                    "description": "The run.",
                    "required": ["run_id"],
                    "properties": {"run_id": _RUN},
                },
                "run_id": _RUN,
                "message_id": _REPLY,
            },
            "Comes behind `session_id` where `flags` asks for it with `run_started`; it has the same id.",
        ),
        _event("user_message_saved", {"data": _SAVED}, "The user's message is stored."),
        _event(
            "refs",
            {
                "data": {"type": "array", "minItems": 1, "items": REF, "description": "The passages."},
                "message_id": _REPLY,
            },
            "Comes before the reply where passages of the knowledge base were put before the model: which they are.",
        ),
        _event(
            "plain",
            {
                "data": _text("The text, or the JSON text of a tool call or of its result."),
                "streaming": _STREAMING,
                "chain_type": {
                    "enum": [None, "reasoning", "tool_call", "tool_call_result"],
                    "description": "What `data` is; null is the reply's text.",
                },
                "message_id": _REPLY,
            },
            "Text as it comes; or a tool call, or its result, as JSON in `data`.",
        ),
        *(
            _event(
                kind,
                {"data": _text("The attachment's id."), "message_id": _REPLY},
                "A file that a tool added to the reply.",
            )
            for kind in ("image", "record", "video", "file")
        ),
        _event(
            "attachment_saved",
            {
                "data": {
                    "title": "SavedAttachment",
                    "type": "object",
                    "description": "The attachment.",
                    "required": ["id", "type"],
                    "properties": {
                        "id": _text("The attachment's id."),
                        "type": _text("Its kind: image, record, video or file."),
                    },
                }
            },
            "Follows such a file.",
        ),
        _event(
            "approval_required",
            {
                "data": {
                    "title": "RequiredApproval",
                    "type": "object",
                    "description": "The call that waits.",
                    "required": ["approval_id", "id", "name", "args"],
                    "properties": {
                        "approval_id": _text("What to name in the decision."),
                        "id": _text("The call's id."),
                        "name": _text("The tool."),
                        "args": {"description": "The arguments: an object, or text where the model wrote none."},
                    },
                },
                "message_id": _REPLY,
            },
            "The run waits for a yes or no to this call: `POST /api/v1/chat/runs/{run_id}/approvals`.",
        ),
        _event(
            "agent_stats",
            {
                "data": {
                    "title": "AgentStats",
                    "type": "object",
                    "description": "Tokens, and times in seconds.",
                    "required": ["token_usage", "start_time", "end_time", "time_to_first_token"],
                    "properties": {
                        "token_usage": {"$ref": "#/components/schemas/TokenUsage"},
                        "start_time": _seconds("Seconds since 1970."),
                        "end_time": _seconds("Seconds since 1970."),
                        "time_to_first_token": _seconds("Seconds from the start to the first token."),
                    },
                }
            },
            "Tokens as the model server counted them; times in seconds.",
        ),
        _event(
            "complete",
            {
                "data": _text("The whole text."),
                "reasoning": _text("What the model thought before it answered."),
                "streaming": _STREAMING,
                "message_id": _REPLY,
            },
            "The whole text, when the reply was completed.",
        ),
        _event("message_saved", {"data": _SAVED}, "The reply is stored under that number."),
        _event(
            "error",
            {
                "code": _text("Why, for programs."),
                "data": _text("Why, for people."),
                "message_id": _REPLY,
            },
            "Why the reply was not completed. `end` follows, and no `complete`.",
        ),
        _event(
            "end",
            {
                "data": {"const": "", "description": "Always empty."},
                "streaming": _STREAMING,
                "message_id": _REPLY,
            },
            "Comes last.",
        ),
    ],
}
CHAT_EVENTS_EXAMPLE = (
    'id: 1\ndata: {"type":"session_id","data":null,"session_id":"s1","run_id":"6f1c…","message_id":"0b9e…"}\n\n'
    'id: 2\ndata: {"type":"user_message_saved","data":{"id":1,"created_at":"2026-11-21T01:20:58.571438+00:00"}}\n\n'
    'id: 3\ndata: {"type":"plain","data":"Hello!","streaming":true,"chain_type":null,"message_id":"0b9e…"}\n\n'
)
