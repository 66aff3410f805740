"""`/api/v1/chat/sessions`."""

from typing import Any

from msgspec import UNSET
from quart import Blueprint, Response, request
from werkzeug.routing import BaseConverter

from app.auth.guards import caller
from app.auth.scopes import Scope
from app.chat.commands import MAX_NAME_CHARS, NAME_PATTERN
from app.chat.service import ChatService
from app.chat.sessions import SessionService
from app.database.tables import MAX_INTEGER
from app.doors.open_api.requests import parse_username
from app.doors.open_api.schemas import (
    ChatMessage,
    ChatMessagePage,
    ChatSessionItem,
    ChatSessionPage,
    SessionChange,
    StoppedRuns,
    UserBody,
)
from app.edge.bodies import convert, json_object
from app.edge.operation import Answer, Body, Param, operation
from app.edge.paging import page_of
from app.edge.responses import ok
from app.edge.services import service
from app.errors import BadRequest

blueprint = Blueprint("sessions", __name__)


class SessionIdConverter(BaseConverter):
    """`<session:name>`: an id as its client chose it, slashes included, but for one that ends like a longer route."""

    part_isolating = False
    regex = r".+?(?<!/messages)(?<!/stop)"
    weight = 200


blueprint.record_once(lambda state: state.app.url_map.converters.update(session=SessionIdConverter))

USERNAME = Param(
    "username",
    "Target username.",
    {"type": "string", "maxLength": MAX_NAME_CHARS, "pattern": NAME_PATTERN},
    required=True,
)
SESSION_EXAMPLE = {
    "session_id": "s1",
    "platform_id": "webchat",
    "creator": "alice",
    "display_name": "Plans for the garden",
    "is_group": 0,
    "created_at": "2026-11-21T01:20:58.571438+00:00",
    "updated_at": "2026-11-21T01:20:59.571438+00:00",
    "config_id": None,
}
MESSAGE_EXAMPLE = {
    "id": 2,
    "role": "assistant",
    "parts": [{"type": "plain", "text": "Hello!"}],
    "status": "complete",
    "run_id": "6f1c2d1e-4c2b-4d57-9f0c-0a4d1d1f2a3b",
    "created_at": "2026-11-21T01:20:58.571438+00:00",
    "token_usage": {"input_other": 10, "input_cached": 0, "output": 3},
    "reasoning": "",
}
ONE = {200: Answer("The session", ChatSessionItem, envelope="ApiResponseChatSession", example=SESSION_EXAMPLE)}
NOT_YOURS = "session_id belongs to another username"
NOT_FOUND = "Session not found"


@blueprint.get("/api/v1/chat/sessions")
@operation(
    "listSessions",
    "List chat sessions with pagination",
    scope=Scope.CHAT,
    description="The sessions of a user, the one with the newest message first.",
    params=[
        Param("page", "Below 1 counts as 1.", {"type": "integer", "default": 1}),
        Param("page_size", "Held to 1..100.", {"type": "integer", "default": 20}),
        Param("platform_id", "Optional platform filter", {"type": "string"}),
        USERNAME,
    ],
    answers={
        200: Answer(
            "One page",
            ChatSessionPage,
            envelope="ApiResponseChatSessions",
            example={"sessions": [SESSION_EXAMPLE], "page": 1, "page_size": 20, "total": 1},
        )
    },
    errors={400: "page and page_size must be integers"},
)
async def list_sessions() -> Response:
    page, page_size = page_of(request.args)
    sessions, total = await service(SessionService).list_sessions(
        caller(), _username(), page=page, page_size=page_size, platform_id=request.args.get("platform_id")
    )
    return ok(ChatSessionPage([ChatSessionItem.of(session) for session in sessions], page, page_size, total))


@blueprint.get("/api/v1/chat/sessions/<session:session_id>")
@operation(
    "getSession",
    "Get a session",
    scope=Scope.CHAT,
    description="One session of a user.",
    params=[USERNAME],
    answers=ONE,
    errors={400: "Missing key: username", 403: NOT_YOURS, 404: NOT_FOUND},
)
async def get_session(session_id: str) -> Response:
    return ok(ChatSessionItem.of(await service(SessionService).get(caller(), _username(), session_id)))


@blueprint.patch("/api/v1/chat/sessions/<session:session_id>")
@operation(
    "changeSession",
    "Change a session",
    scope=Scope.CHAT,
    description="Sets the session's display_name, or the profile it uses from the next message on.",
    body=Body(SessionChange, examples={"rename": {"username": "alice", "display_name": "Plans for the garden"}}),
    answers=ONE,
    errors={
        400: "config_id not found: X",
        403: NOT_YOURS,
        404: NOT_FOUND,
        413: "The request body is larger than 4194304 bytes",
        415: "Content-Type must be application/json",
    },
)
async def change_session(session_id: str) -> Response:
    body = await json_object()
    username = parse_username(body.get("username"))
    wanted = convert(body, SessionChange)
    given = {"display_name": wanted.display_name, "config_id": wanted.config_id}
    changes: dict[str, Any] = {name: value for name, value in given.items() if value is not UNSET}
    return ok(ChatSessionItem.of(await service(SessionService).change(caller(), username, session_id, changes=changes)))


@blueprint.delete("/api/v1/chat/sessions/<session:session_id>")
@operation(
    "deleteSession",
    "Delete a session",
    scope=Scope.CHAT,
    description="Stops the session's runs and deletes it with its messages. Attachments stay.",
    params=[USERNAME],
    answers={
        200: Answer(
            "Deleted",
            {"type": "object", "additionalProperties": True},
            envelope="ApiResponseEmpty",
            example={},
        )
    },
    errors={400: "Missing key: username", 403: NOT_YOURS, 404: NOT_FOUND},
)
async def delete_session(session_id: str) -> Response:
    username = _username()
    await service(ChatService).stop_session(caller(), username, session_id)
    await service(SessionService).delete(caller(), username, session_id)
    return ok({})


@blueprint.get("/api/v1/chat/sessions/<session:session_id>/messages")
@operation(
    "listMessages",
    "List a session's messages",
    scope=Scope.CHAT,
    description="The newest messages first; ask again with `before` set to the last id for older ones.",
    params=[
        USERNAME,
        Param("before", "Only messages with an id below this.", {"type": "integer", "minimum": 1}),
        Param("limit", "Held to 1..100.", {"type": "integer", "default": 50}),
    ],
    answers={
        200: Answer(
            "Messages",
            ChatMessagePage,
            envelope="ApiResponseChatMessages",
            example={"messages": [MESSAGE_EXAMPLE], "has_more": False},
        )
    },
    errors={400: "before must be a message id", 403: NOT_YOURS, 404: NOT_FOUND},
)
async def list_messages(session_id: str) -> Response:
    before, limit = _integer("before"), _integer("limit")
    if before is not None and before < 1:
        raise BadRequest("before must be a message id", code="invalid_before")
    messages, has_more = await service(SessionService).messages(
        caller(),
        _username(),
        session_id,
        before=None if before is None else min(before, MAX_INTEGER),
        limit=50 if limit is None else min(max(limit, 1), 100),
    )
    return ok(ChatMessagePage([ChatMessage.of(message) for message in messages], has_more))


@blueprint.post("/api/v1/chat/sessions/<session:session_id>/stop")
@operation(
    "stopSession",
    "Stop a session's runs",
    scope=Scope.CHAT,
    description="Ends the reply that is being made and those that wait; what was said so far is kept, as partial.",
    body=Body(UserBody, examples={"alice": {"username": "alice"}}),
    answers={
        200: Answer(
            "What was stopped",
            StoppedRuns,
            envelope="ApiResponseStoppedRuns",
            example={"run_ids": ["6f1c2d1e-4c2b-4d57-9f0c-0a4d1d1f2a3b"], "stopped_count": 1},
        )
    },
    errors={
        400: "Missing key: username",
        403: NOT_YOURS,
        404: NOT_FOUND,
        413: "The request body is larger than 4194304 bytes",
        415: "Content-Type must be application/json",
    },
)
async def stop_session(session_id: str) -> Response:
    username = parse_username((await json_object()).get("username"))
    stopped = await service(ChatService).stop_session(caller(), username, session_id)
    return ok(StoppedRuns(stopped, len(stopped)))


def _username() -> str:
    return parse_username(request.args.get("username"))


def _integer(name: str) -> int | None:
    text = request.args.get(name)
    if text is None:
        return None
    try:
        return int(text)
    except ValueError:
        raise BadRequest(f"{name} must be an integer", code=f"invalid_{name}") from None
