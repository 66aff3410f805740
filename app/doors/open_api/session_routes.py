"""`/api/v1/chat/sessions`."""

import msgspec
from quart import Blueprint, Response, request
from werkzeug.routing import BaseConverter

from app.auth.guards import caller
from app.auth.scopes import Scope
from app.chat.fields import MAX_NAME_CHARS
from app.chat.service import ChatService
from app.chat.sessions import SessionService
from app.database.tables import MAX_INTEGER
from app.doors.open_api import examples
from app.doors.open_api.requests import parse_username
from app.doors.open_api.schemas import (
    ChatMessage,
    ChatMessagePage,
    ChatSessionItem,
    ChatSessionPage,
    SessionChange,
    StoppedRuns,
)
from app.edge.bodies import convert, json_object
from app.edge.operation import Param, operation
from app.edge.paging import page_of
from app.edge.responses import ok
from app.edge.services import service
from app.errors import BadRequest
from app.text import NAME_PATTERN

blueprint = Blueprint("sessions", __name__)

USERNAME = Param(
    "username",
    "Target username.",
    {"type": "string", "maxLength": MAX_NAME_CHARS, "pattern": NAME_PATTERN},
    required=True,
)


class SessionIdConverter(BaseConverter):
    """`<session:name>`: an id of the client's choice, slashes included, unless it ends like a longer route."""

    part_isolating = False
    regex = r".+?(?<!/messages)(?<!/stop)"
    weight = 200


blueprint.record_once(lambda state: state.app.url_map.converters.update(session=SessionIdConverter))


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
    answers={200: examples.SESSION_PAGE},
    errors=examples.LIST_ERRORS,
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
    answers={200: examples.SESSION},
    errors=examples.SESSION_ERRORS,
)
async def get_session(session_id: str) -> Response:
    return ok(ChatSessionItem.of(await service(SessionService).get(caller(), _username(), session_id)))


@blueprint.patch("/api/v1/chat/sessions/<session:session_id>")
@operation(
    "changeSession",
    "Change a session",
    scope=Scope.CHAT,
    description="Sets the session's display_name, or the profile it uses from the next message on.",
    body=examples.CHANGE_BODY,
    answers={200: examples.SESSION},
    errors=examples.CHANGE_ERRORS,
)
async def change_session(session_id: str) -> Response:
    body = await json_object()
    username = parse_username(body.get("username"))
    changes = msgspec.to_builtins(convert(body, SessionChange))  # without what is left out
    del changes["username"]
    return ok(ChatSessionItem.of(await service(SessionService).change(caller(), username, session_id, changes=changes)))


@blueprint.delete("/api/v1/chat/sessions/<session:session_id>")
@operation(
    "deleteSession",
    "Delete a session",
    scope=Scope.CHAT,
    description="Stops the session's runs and deletes it with its messages. Attachments stay.",
    params=[USERNAME],
    answers={200: examples.DELETED},
    errors=examples.SESSION_ERRORS,
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
    answers={200: examples.MESSAGE_PAGE},
    errors=examples.MESSAGES_ERRORS,
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
    body=examples.USER_BODY,
    answers={200: examples.stopped("What was stopped")},
    errors=examples.STOP_SESSION_ERRORS,
)
async def stop_session(session_id: str) -> Response:
    username = parse_username((await json_object()).get("username"))
    run_ids = await service(ChatService).stop_session(caller(), username, session_id)
    return ok(StoppedRuns(run_ids, len(run_ids)))


def _username() -> str:
    return parse_username(request.args.get("username"))


def _integer(name: str) -> int | None:
    """The integer in the query. Raises BadRequest."""
    text = request.args.get(name)
    if text is None:
        return None
    try:
        return int(text)
    except ValueError:
        raise BadRequest(f"{name} must be an integer", code=f"invalid_{name}") from None
