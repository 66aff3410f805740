"""`/api/v1/chat/sessions`."""

import msgspec
from quart import Blueprint, Response, request
from werkzeug.routing import BaseConverter

from app.auth.guards import caller
from app.chat.fields import MAX_NAME_CHARS
from app.chat.service import ChatService
from app.chat.sessions import SessionService
from app.database.tables import MAX_INTEGER
from app.doors.open_api.chat_routes import BODY_ERRORS, chat_operation
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
from app.doors.open_api.session_detail import HISTORY_LIMIT, ChatSessionDetail, detail_of
from app.doors.open_api.session_lists import FILTER_CODES, FILTERS, cursor_of, filter_of
from app.edge.bodies import convert, json_object
from app.edge.operation import Answer, Body, Param, empty, refusal
from app.edge.paging import PAGING, page_of
from app.edge.responses import ok
from app.edge.services import service
from app.errors import BadRequest
from app.text import NAME_PATTERN

blueprint = Blueprint("sessions", __name__)

_SESSION = Answer("The session", ChatSessionItem, envelope="ApiResponseChatSession")
USERNAME_CODES = ("missing_key", "invalid_username", "username_empty", "username_reserved")
ERRORS = {
    400: refusal("Missing key: username", *USERNAME_CODES),
    403: refusal("session_id belongs to another username", "session_not_yours", "username_not_allowed"),
    404: refusal("Session not found", "session_not_found"),
}

USERNAME = Param(
    "username",
    "Target username.",
    {"type": "string", "maxLength": MAX_NAME_CHARS, "pattern": NAME_PATTERN},
    required=True,
)


class SessionIdConverter(BaseConverter):
    """`<session:name>`: an id of the client's choice, slashes included, unless it ends like a longer route."""

    part_isolating = False
    regex = r".+?(?<!/messages)(?<!/stop)(?<!/regenerate)(?<!/select)(?<!/fork)(?<!/feedback)(?<!/export)" + "".join(
        # What a look-behind looks for has one length.
        rf"(?<!/messages/[0-9]{{{digits}}})"
        for digits in range(1, 20)
    )
    weight = 200


blueprint.record_once(lambda state: state.app.url_map.converters.update(session=SessionIdConverter))


@blueprint.get("/api/v1/chat/sessions")
@chat_operation(
    "listSessions",
    "List chat sessions with pagination",
    description="The sessions of a user, the one with the newest message first.",
    params=[
        *PAGING,
        Param("platform_id", "Optional platform filter", {"type": "string"}),
        *FILTERS,
        USERNAME,
    ],
    answers={200: Answer("One page", ChatSessionPage, envelope="ApiResponseChatSessions")},
    errors={
        400: refusal("page and page_size must be integers", "invalid_page", *FILTER_CODES, *USERNAME_CODES),
        403: refusal("The API key is bound to another username", "username_not_allowed"),
    },
)
async def list_sessions() -> Response:
    chosen = filter_of(request.args, pinned=_boolean("pinned"))
    page, page_size = page_of(request.args)
    if chosen.before is not None:
        page = 1
    sessions, total = await service(SessionService).list_sessions(
        caller(), _username(), chosen, page=page, page_size=page_size
    )
    items = [ChatSessionItem.of(session) for session in sessions]
    return ok(ChatSessionPage(items, page, page_size, total, cursor_of(sessions, page_size)))


@blueprint.get("/api/v1/chat/sessions/<session:session_id>")
@chat_operation(
    "getSession",
    "Get a session",
    description="One session of a user, with its newest messages and the replies that are made or wait.",
    params=[
        USERNAME,
        Param("history", "Whether to send the messages, up to 1,000.", {"type": "boolean", "default": True}),
    ],
    answers={200: Answer("The session", ChatSessionDetail, envelope="ApiResponseChatSessionDetail")},
    errors={**ERRORS, 400: refusal("Missing key: username", *USERNAME_CODES, "invalid_history")},
)
async def get_session(session_id: str) -> Response:
    principal, username, sessions = caller(), _username(), service(SessionService)
    limit = 0 if _boolean("history") is False else HISTORY_LIMIT
    session = await sessions.get(principal, username, session_id)
    messages, _ = await sessions.messages(principal, username, session_id, before=None, limit=limit)
    return ok(detail_of(session, messages, await service(ChatService).active_runs(session_id)))


@blueprint.patch("/api/v1/chat/sessions/<session:session_id>")
@chat_operation(
    "changeSession",
    "Change a session",
    description="Sets the title, the profile it uses from the next message on, the labels, or whether it is pinned.",
    body=Body(SessionChange, {"rename": {"username": "alice", "display_name": "Plans for the garden"}}),
    answers={200: _SESSION},
    errors={
        **ERRORS,
        **BODY_ERRORS,
        400: refusal("config_id not found: X", "config_not_found", *USERNAME_CODES, "invalid_config_id"),
    },
)
async def change_session(session_id: str) -> Response:
    body = await json_object()
    username = parse_username(body.get("username"))
    changes = msgspec.to_builtins(convert(body, SessionChange))  # without what is left out
    del changes["username"]
    return ok(ChatSessionItem.of(await service(SessionService).change(caller(), username, session_id, changes=changes)))


@blueprint.delete("/api/v1/chat/sessions/<session:session_id>")
@chat_operation(
    "deleteSession",
    "Delete a session",
    description="Stops the session's runs and deletes it with its messages. Attachments stay.",
    params=[USERNAME],
    answers={200: empty("Deleted")},
    errors=ERRORS,
)
async def delete_session(session_id: str) -> Response:
    username = _username()
    await service(ChatService).stop_session(caller(), username, session_id)
    await service(SessionService).delete(caller(), username, session_id)
    return ok({})


@blueprint.get("/api/v1/chat/sessions/<session:session_id>/messages")
@chat_operation(
    "listMessages",
    "List a session's messages",
    description=(
        "The newest messages first; ask again with `before` set to the last id for older ones. They are those of the "
        "path that the session shows, or with `all` the alternatives too."
    ),
    params=[
        USERNAME,
        Param("all", "Whether to list the alternatives too.", {"type": "boolean", "default": False}),
        Param("before", "Only messages with an id below this.", {"type": "integer", "minimum": 1}),
        Param("limit", "Held to 1..100.", {"type": "integer", "default": 50}),
    ],
    answers={200: Answer("Messages", ChatMessagePage, envelope="ApiResponseChatMessages")},
    errors={
        **ERRORS,
        400: refusal("before must be a message id", "invalid_before", "invalid_limit", "invalid_all", *USERNAME_CODES),
    },
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
        everything=_boolean("all") or False,
    )
    return ok(ChatMessagePage([ChatMessage.of(message) for message in messages], has_more))


@blueprint.post("/api/v1/chat/sessions/<session:session_id>/stop")
@chat_operation(
    "stopSession",
    "Stop a session's runs",
    description="Ends the reply that is being made and those that wait; what was said so far is kept, as partial.",
    body=Body(UserBody, {"alice": {"username": "alice"}}),
    answers={200: Answer("What was stopped", StoppedRuns, envelope="ApiResponseStoppedRuns")},
    errors={**ERRORS, **BODY_ERRORS},
)
async def stop_session(session_id: str) -> Response:
    username = parse_username((await json_object()).get("username"))
    run_ids = await service(ChatService).stop_session(caller(), username, session_id)
    return ok(StoppedRuns(run_ids, len(run_ids)))


def _username() -> str:
    return parse_username(request.args.get("username"))


def _boolean(name: str) -> bool | None:
    """The boolean in the query. Raises BadRequest."""
    text = request.args.get(name)
    if text is None:
        return None
    if text.lower() not in ("true", "false", "1", "0"):
        raise BadRequest(f"{name} must be true or false", code=f"invalid_{name}")
    return text.lower() in ("true", "1")


def _integer(name: str) -> int | None:
    """The integer in the query. Raises BadRequest."""
    text = request.args.get(name)
    if text is None:
        return None
    try:
        return int(text)
    except ValueError:
        raise BadRequest(f"{name} must be an integer", code=f"invalid_{name}") from None
