"""`/api/v1/chat/sessions`: making empty sessions, and deleting many."""

from typing import Any

from quart import Blueprint, Response, request

from app.auth.guards import caller
from app.chat.fields import check_name
from app.chat.service import ChatService
from app.chat.sessions import SessionService
from app.doors.open_api.chat_routes import BODY_ERRORS, chat_operation
from app.doors.open_api.requests import parse_username
from app.doors.open_api.session_routes import USERNAME, USERNAME_CODES
from app.doors.open_api.session_schemas import DeletedSessions, FailedSession, NewSession, SessionBatch, SessionRequest
from app.edge.bodies import convert, json_object
from app.edge.operation import IDEMPOTENCY_KEY, Answer, Body, Param, refusal
from app.edge.responses import ok
from app.edge.services import service
from app.errors import AppError, BadRequest
from app.idempotency import claim_of

blueprint = Blueprint("new_sessions", __name__)

_NEW = Answer("The session", NewSession, envelope="ApiResponseNewSession")
_FORBIDDEN = {403: refusal("The API key is bound to another username", "username_not_allowed")}


@blueprint.post("/api/v1/chat/sessions")
@chat_operation(
    "createSession",
    "Create an empty session",
    description="Makes a session without messages. There is no need to: the first message makes one too.",
    params=[IDEMPOTENCY_KEY],
    body=Body(SessionRequest, {"alice": {"username": "alice", "display_name": "Plans for the garden"}}),
    answers={200: _NEW},
    errors={
        **_FORBIDDEN,
        **BODY_ERRORS,
        400: refusal(
            "config_id not found: X",
            "config_not_found",
            *USERNAME_CODES,
            "invalid_request",
            "invalid_session_id",
            "invalid_config_id",
            "invalid_platform_id",
        ),
        409: refusal("There is a session of that id", "session_exists"),
        422: refusal("This Idempotency-Key was used with another request body", "idempotency_key_reused"),
    },
)
async def create_session() -> Response:
    body = await json_object()
    values = convert({**body, "username": parse_username(body.get("username"))}, SessionRequest)
    claim = claim_of(caller().key_id, "sessions.create", request.headers.get("Idempotency-Key"), body)
    return await _create(values, claim=claim)


@blueprint.get("/api/v1/chat/sessions/new")
@chat_operation(
    "newSession",
    "Create an empty session",
    description="The same, as AstrBot spells it. A session with the id `new` cannot be read for that.",
    params=[USERNAME, Param("platform_id", "`webchat`.", {"type": "string"})],
    answers={200: _NEW},
    errors={**_FORBIDDEN, 400: refusal("Missing key: username", *USERNAME_CODES, "invalid_platform_id")},
)
async def new_session() -> Response:
    username = parse_username(request.args.get("username"))
    return await _create(SessionRequest(username, platform_id=request.args.get("platform_id")))


async def _create(values: SessionRequest, **options: Any) -> Response:
    if values.platform_id not in (None, "", "webchat"):
        raise BadRequest("platform_id must be webchat", code="invalid_platform_id")
    session_id = (values.session_id or "").strip()
    check_name("session_id", session_id)
    session = await service(SessionService).create(
        caller(),
        values.username,
        session_id or None,
        display_name=values.display_name,
        config_id=values.config_id,
        labels=values.labels,
        **options,
    )
    return ok(NewSession(session.id, session.platform_id))


@blueprint.post("/api/v1/chat/sessions/batch-delete")
@chat_operation(
    "deleteSessions",
    "Delete sessions",
    description="Stops the runs of each session and deletes it. What cannot be deleted is named, with the reason.",
    body=Body(SessionBatch, {"two": {"username": "alice", "session_ids": ["s1", "s2"]}}),
    answers={200: Answer("What is gone", DeletedSessions, envelope="ApiResponseDeletedSessions")},
    errors={
        **_FORBIDDEN,
        **BODY_ERRORS,
        400: refusal("Missing key: username", *USERNAME_CODES, "invalid_request"),
    },
)
async def delete_sessions() -> Response:
    body = await json_object()
    values = convert({**body, "username": parse_username(body.get("username"))}, SessionBatch)
    principal = caller()
    principal.check_user(values.username)
    failures: list[FailedSession] = []
    session_ids = list(dict.fromkeys(values.session_ids))
    for session_id in session_ids:
        try:
            await service(ChatService).stop_session(principal, values.username, session_id)
            await service(SessionService).delete(principal, values.username, session_id)
        except AppError as error:
            if error.status >= 500:
                raise
            failures.append(FailedSession(session_id, error.code))
    return ok(DeletedSessions(len(session_ids) - len(failures), len(failures), failures))
