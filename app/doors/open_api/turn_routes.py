"""`/api/v1/chat/sessions/{session_id}/messages/{message_id}`: editing, answering again, choosing and deleting turns."""

from typing import Any

from quart import Blueprint, Response, request

from app.auth.guards import caller
from app.chat.commands import OnBusy
from app.chat.fields import check_name
from app.chat.parts import PART_CODES, PartLimits, parse_parts
from app.chat.service import ChatService
from app.chat.turns import TurnService
from app.doors.open_api.chat_routes import (
    BODY_ERRORS,
    EVENTS,
    LAST_EVENT_ID,
    SEND_ERRORS,
    chat_operation,
    last_event_id,
    stream,
)
from app.doors.open_api.requests import SEND_CODES, parse_change_on_busy, parse_regenerate, parse_username
from app.doors.open_api.schemas import ChatMessage, ChatSessionItem
from app.doors.open_api.session_routes import ERRORS, USERNAME_CODES
from app.doors.open_api.turn_schemas import (
    DeletedTurn,
    EditedMessage,
    ForkRequest,
    MessageEdit,
    RegenerateRequest,
    SelectedMessage,
    TurnChange,
)
from app.edge.bodies import convert, json_object, optional_json_object
from app.edge.operation import IDEMPOTENCY_KEY, Answer, Body, Param, refusal
from app.edge.responses import ok
from app.edge.services import service
from app.errors import BadRequest
from app.files.refusals import DOCUMENT_CODES, IMAGE_CODES
from app.idempotency import Claim, claim_of
from app.limits import StreamLimit

blueprint = Blueprint("turns", __name__)

_ON_BUSY = Param(
    "on_busy",
    "What to do while a reply is being made in the session: 409, or end that reply.",
    {"type": "string", "enum": ["reject", "interrupt"], "default": "reject"},
)
USERNAME = Param("username", "Whose session it is; also in the body.", {"type": "string"})
_BUSY = refusal("The session is answering another message", "session_busy")
NOT_FOUND = refusal("Message not found", "message_not_found", "session_not_found")
_ERRORS = {
    **ERRORS,
    400: refusal("on_busy must be reject or interrupt", "invalid_on_busy", *USERNAME_CODES),
    404: NOT_FOUND,
    409: _BUSY,
}
_CHANGE_ERRORS = {**_ERRORS, **BODY_ERRORS}


@blueprint.patch("/api/v1/chat/sessions/<session:session_id>/messages/<int:message_id>")
@chat_operation(
    "editMessage",
    "Edit a message",
    description=(
        "Adds the new text as a message beside the old one, which stays as an alternative with all that followed it. "
        "The conversation ends with the new message until it is answered: `POST .../regenerate` does that."
    ),
    params=[USERNAME, IDEMPOTENCY_KEY],
    body=Body(
        MessageEdit,
        {
            "edit": {
                "username": "alice",
                "content": {"type": "user", "message": [{"type": "plain", "text": "What grows in the shade?"}]},
            }
        },
    ),
    answers={200: Answer("The new message", EditedMessage, envelope="ApiResponseEditedMessage")},
    errors={
        **_CHANGE_ERRORS,
        400: refusal(
            "Missing key: username",
            *USERNAME_CODES,
            "invalid_request",
            "empty_message",
            *PART_CODES,
            "invalid_on_busy",
        ),
        409: refusal("Only messages of the user can be edited", "not_the_users", "session_busy"),
        422: refusal(
            "report.pdf cannot be read: it is encrypted",
            "document_encrypted",
            *DOCUMENT_CODES,
            *IMAGE_CODES,
            "idempotency_key_reused",
        ),
    },
)
async def edit(session_id: str, message_id: int) -> Response:
    body = await json_object()
    username = username_of(body)
    content = body.get("content")
    if not isinstance(content, dict) or content.get("type", "user") != "user":
        raise BadRequest('content must be {"type": "user", "message": [...]}', code="invalid_request")
    message = await service(TurnService).edit(
        caller(),
        username,
        session_id,
        message_id,
        parse_parts(content.get("message"), service(PartLimits)),
        on_busy=_on_busy(body),
        claim=_claim("turns.edit", session_id, message_id, body),
    )
    return ok(EditedMessage(ChatMessage.of(message)))


@blueprint.post("/api/v1/chat/sessions/<session:session_id>/messages/<int:message_id>/regenerate")
@chat_operation(
    "regenerateMessage",
    "Answer a message again (SSE)",
    description=(
        "Makes another reply: to the user's message that is named, or to the one that the named reply answers. It "
        "streams as `POST /api/v1/chat` does. Earlier replies stay as alternatives, with all that followed them."
    ),
    params=[USERNAME, IDEMPOTENCY_KEY, LAST_EVENT_ID],
    body=Body(RegenerateRequest, {"another model": {"username": "alice", "selected_model": "gpt-4.1-mini"}}),
    answers={200: EVENTS},
    errors={
        **SEND_ERRORS,
        400: refusal(
            "Missing key: username",
            "missing_key",
            *SEND_CODES,
            "missing_idempotency_key",
            "invalid_last_event_id",
            "invalid_request",
        ),
        404: refusal("Message not found", "message_not_found", "session_not_found", "role_not_found", "run_not_found"),
        409: refusal("The message answers none of the user's", "not_a_reply", "session_busy"),
    },
)
async def regenerate(session_id: str, message_id: int) -> Response:
    principal = caller()
    body = await json_object()
    slot = service(StreamLimit).take(principal.key_id)
    command = parse_regenerate(body, username_of(body), session_id, message_id)
    claim = _claim("turns.regenerate", session_id, message_id, body)
    after = last_event_id(has_key=claim is not None) if "Last-Event-ID" in request.headers else 0
    accepted = await service(TurnService).regenerate(principal, command, claim)
    if after and accepted.repeated:
        return stream(accepted.run, await service(ChatService).run_log(accepted.run, after), after, slot)
    return stream(accepted.run, accepted.log, 0, slot, accepted.rates)


@blueprint.post("/api/v1/chat/sessions/<session:session_id>/messages/<int:message_id>/select")
@chat_operation(
    "selectMessage",
    "Show an alternative",
    description=(
        "Shows the path through this message, and from it on always to the newest. What was shown instead is kept."
    ),
    params=[USERNAME],
    body=Body(TurnChange, {"alice": {"username": "alice"}}),
    answers={200: Answer("The message", SelectedMessage, envelope="ApiResponseSelectedMessage")},
    errors=_CHANGE_ERRORS,
)
async def select(session_id: str, message_id: int) -> Response:
    body = await optional_json_object()
    message = await service(TurnService).select(
        caller(), username_of(body), session_id, message_id, on_busy=_on_busy(body)
    )
    return ok(SelectedMessage(ChatMessage.of(message)))


@blueprint.delete("/api/v1/chat/sessions/<session:session_id>/messages/<int:message_id>")
@chat_operation(
    "deleteMessage",
    "Delete a turn",
    description=(
        "Deletes the user's message that is named, or that the named reply answers, with all replies to it. What came "
        "after it follows what came before it. A message of the bot's own is deleted alone. Attachments stay."
    ),
    params=[USERNAME, _ON_BUSY, IDEMPOTENCY_KEY],
    answers={200: Answer("What is gone", DeletedTurn, envelope="ApiResponseDeletedTurn")},
    errors={
        **_CHANGE_ERRORS,
        422: refusal("This Idempotency-Key was used with another request body", "idempotency_key_reused"),
    },
)
async def delete(session_id: str, message_id: int) -> Response:
    body = {**request.args.to_dict(), **await optional_json_object()}
    ids = await service(TurnService).delete(
        caller(),
        username_of(body),
        session_id,
        message_id,
        on_busy=_on_busy(body),
        claim=_claim("turns.delete", session_id, message_id, body),
    )
    return ok(DeletedTurn(ids))


@blueprint.post("/api/v1/chat/sessions/<session:session_id>/fork")
@chat_operation(
    "forkSession",
    "Fork a session",
    description=(
        "Makes a new session of the conversation up to a message of any path. The two go on independently; files are "
        "shared by their ids."
    ),
    params=[USERNAME, IDEMPOTENCY_KEY],
    body=Body(ForkRequest, {"fork": {"username": "alice", "message_id": 2}}),
    answers={200: Answer("The new session", ChatSessionItem, envelope="ApiResponseChatSession")},
    errors={
        **_CHANGE_ERRORS,
        400: refusal("Missing key: username", *USERNAME_CODES, "invalid_request", "invalid_session_id"),
        409: refusal("There is a session of that id", "session_exists"),
        422: refusal("This Idempotency-Key was used with another request body", "idempotency_key_reused"),
    },
)
async def fork(session_id: str) -> Response:
    body = await json_object()
    username = username_of(body)
    if isinstance(new_id := body.get("session_id"), str):
        check_name("session_id", new_id.strip())
    values = convert({**body, "username": username}, ForkRequest)
    session = await service(TurnService).fork(
        caller(),
        username,
        session_id,
        values.message_id,
        new_id=(values.session_id or "").strip() or None,
        claim=_claim("turns.fork", session_id, values.message_id, body),
    )
    return ok(ChatSessionItem.of(session))


def username_of(body: dict[str, Any]) -> str:
    """The user in the body, or else in the query. Raises BadRequest."""
    return parse_username(body.get("username", request.args.get("username")))


def _on_busy(body: dict[str, Any]) -> OnBusy:
    return parse_change_on_busy(body.get("on_busy", request.args.get("on_busy")))


def _claim(operation: str, session_id: str, message_id: int, body: dict[str, Any]) -> Claim | None:
    key = request.headers.get("Idempotency-Key")
    return claim_of(caller().key_id, operation, key, [session_id, message_id, body])
