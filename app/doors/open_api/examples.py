"""Bodies, answers and errors of the Open API's chat for the published document, with examples."""

from typing import Any

from app.doors.open_api.schemas import (
    ChatMessagePage,
    ChatRun,
    ChatSendRequest,
    ChatSessionItem,
    ChatSessionPage,
    SessionChange,
    StoppedRuns,
    UserBody,
)
from app.edge.operation import Answer, Body

# Runs

_RUN = {
    "run_id": "6f1c2d1e-4c2b-4d57-9f0c-0a4d1d1f2a3b",
    "session_id": "s1",
    "status": "completed",
    "message_id": "0b9e6c7a-1d2e-4f3a-8b4c-5d6e7f8a9b0c",
    "user_message_id": 1,
    "reply_id": 2,
    "provider": "openai_chat_completion",
    "model": "gpt-4.1-mini",
    "config_id": "default",
    "streaming": True,
    "error_code": None,
    "error": None,
    "created_at": "2026-11-21T01:20:58.571438+00:00",
    "started_at": "2026-11-21T01:20:58.581438+00:00",
    "finished_at": "2026-11-21T01:20:59.571438+00:00",
}
SEND_BODY = Body(
    ChatSendRequest,
    examples={
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
    },
)
EVENTS = Answer(
    "SSE stream of ChatEvent objects",
    {"type": "string"},
    media_type="text/event-stream",
    example=(
        'id: 1\ndata: {"type":"session_id","data":null,"session_id":"s1","run_id":"6f1c…","message_id":"0b9e…"}\n\n'
        'id: 2\ndata: {"type":"user_message_saved","data":{"id":1,"created_at":"2026-11-21T01:20:58.571438+00:00"}}\n\n'
        'id: 3\ndata: {"type":"plain","data":"Hello!","streaming":true,"chain_type":null,"message_id":"0b9e…"}\n\n'
    ),
)
RUN = Answer("The run", ChatRun, envelope="ApiResponseChatRun", example=_RUN)

# Sessions

_SESSION = {
    "session_id": "s1",
    "platform_id": "webchat",
    "creator": "alice",
    "display_name": "Plans for the garden",
    "is_group": 0,
    "created_at": "2026-11-21T01:20:58.571438+00:00",
    "updated_at": "2026-11-21T01:20:59.571438+00:00",
    "config_id": None,
}
_MESSAGE = {
    "id": 2,
    "role": "assistant",
    "parts": [{"type": "plain", "text": "Hello!"}],
    "status": "complete",
    "run_id": "6f1c2d1e-4c2b-4d57-9f0c-0a4d1d1f2a3b",
    "created_at": "2026-11-21T01:20:58.571438+00:00",
    "token_usage": {"input_other": 10, "input_cached": 0, "output": 3},
    "reasoning": "",
}
CHANGE_BODY = Body(SessionChange, examples={"rename": {"username": "alice", "display_name": "Plans for the garden"}})
USER_BODY = Body(UserBody, examples={"alice": {"username": "alice"}})
SESSION = Answer("The session", ChatSessionItem, envelope="ApiResponseChatSession", example=_SESSION)
SESSION_PAGE = Answer(
    "One page",
    ChatSessionPage,
    envelope="ApiResponseChatSessions",
    example={"sessions": [_SESSION], "page": 1, "page_size": 20, "total": 1},
)
MESSAGE_PAGE = Answer(
    "Messages",
    ChatMessagePage,
    envelope="ApiResponseChatMessages",
    example={"messages": [_MESSAGE], "has_more": False},
)
DELETED = Answer("Deleted", {"type": "object", "additionalProperties": True}, envelope="ApiResponseEmpty", example={})


def stopped(description: str) -> Answer:
    """The answer of a stop, of one run or of a session's."""
    example: dict[str, Any] = {"run_ids": [_RUN["run_id"]], "stopped_count": 1}
    return Answer(description, StoppedRuns, envelope="ApiResponseStoppedRuns", example=example)


# Errors

_BODY_ERRORS = {
    413: "The request body is larger than 4194304 bytes",
    415: "Content-Type must be application/json",
}
SEND_ERRORS = {
    400: "Missing key: username",
    403: "session_id belongs to another username",
    404: "Run not found",  # of a repeat whose session was deleted meanwhile
    409: "The session is answering another message",
    **_BODY_ERRORS,
    422: "This Idempotency-Key was used with another request body",
    429: "Too many messages are waiting in this session",
    503: "The database is not available at the moment; nothing was changed",
}
RUN_ERRORS = {404: "Run not found"}
STREAM_ERRORS = {400: "after must be an event id", **RUN_ERRORS, 429: "Too many streams at once"}
SESSION_ERRORS = {
    400: "Missing key: username",
    403: "session_id belongs to another username",
    404: "Session not found",
}
CHANGE_ERRORS = {**SESSION_ERRORS, **_BODY_ERRORS, 400: "config_id not found: X"}
STOP_SESSION_ERRORS = {**SESSION_ERRORS, **_BODY_ERRORS}
MESSAGES_ERRORS = {**SESSION_ERRORS, 400: "before must be a message id"}
LIST_ERRORS = {400: "page and page_size must be integers"}
