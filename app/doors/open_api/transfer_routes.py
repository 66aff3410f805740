"""Sessions as files: `.../export`, and `/api/v1/chat/sessions/import`."""

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated

import msgspec
from msgspec import Meta
from quart import Blueprint, Response, request
from werkzeug.exceptions import RequestTimeout

from app.auth.guards import caller, guarded_stream
from app.auth.service import KeyService
from app.chat.exporting import SessionExporter
from app.chat.importing import SessionImporter
from app.doors.open_api.chat_routes import chat_operation
from app.doors.open_api.requests import parse_username
from app.doors.open_api.session_routes import ERRORS, USERNAME, USERNAME_CODES
from app.edge.operation import IDEMPOTENCY_KEY, Answer, Body, Param, refusal
from app.edge.responses import ok
from app.edge.schemas import example
from app.edge.services import service
from app.errors import BadRequest
from app.idempotency import claim_of
from app.limits import StreamLimit

blueprint = Blueprint("transfer", __name__)

JSONL, MARKDOWN = "application/jsonl", "text/markdown"
_EXAMPLE = (
    '{"type":"session","version":1,"session_id":"s1","display_name":"Hi","config_id":null,"labels":[],"pinned":false,'
    '"created_at":"2026-11-21T01:20:58.571438+00:00","updated_at":"2026-11-21T01:20:59.571438+00:00"}\n'
    '{"type":"message","id":1,"parent_id":null,"on_path":true,"role":"user","status":"complete",'
    '"parts":[{"type":"plain","text":"Hi"}],"reasoning":"","token_usage":null,"refs":null,'
    '"created_at":"2026-11-21T01:20:58.571438+00:00"}\n'
    '{"type":"end","message_count":1}\n'
)


class ImportedSessionItem(msgspec.Struct):
    """A session that was imported."""

    session_id: Annotated[str, example("0b9e6c7a-1d2e-4f3a-8b4c-5d6e7f8a9b0c")]
    message_count: Annotated[int, Meta(description="How many messages it has."), example(1)]


class ImportedSessions(msgspec.Struct):
    """The sessions of a file."""

    sessions: Annotated[list[ImportedSessionItem], Meta(description="The sessions, in the file's order.")]


@blueprint.get("/api/v1/chat/sessions/<session:session_id>/export")
@chat_operation(
    "exportSession",
    "Export a session",
    description=(
        "The session as a file: `jsonl` has the messages of all branches, and can be imported again; `markdown` is the "
        "conversation to read. It is sent as it is read, at any length. JSONL that is cut off lacks its last line, of "
        "the type `end`."
    ),
    params=[
        USERNAME,
        Param("format", "The form of the file.", {"type": "string", "enum": ["jsonl", "markdown"], "default": "jsonl"}),
    ],
    answers={
        200: Answer("The file", {"type": "string"}, _EXAMPLE, media_type=JSONL, other_media_types=[MARKDOWN]),
    },
    errors={
        **ERRORS,
        400: refusal("format must be jsonl or markdown", "invalid_format", *USERNAME_CODES),
        429: refusal("Too many streams at once", "too_many_streams"),
    },
)
async def export_session(session_id: str) -> Response:
    username = parse_username(request.args.get("username"))
    form = request.args.get("format", "jsonl")
    if form not in ("jsonl", "markdown"):
        raise BadRequest("format must be jsonl or markdown", code="invalid_format")
    principal, exporter = caller(), service(SessionExporter)
    export = exporter.jsonl if form == "jsonl" else exporter.markdown
    pieces = await export(principal, username, session_id)
    slot = service(StreamLimit).take(principal.key_id)
    headers = {
        "Content-Type": f"{JSONL if form == 'jsonl' else MARKDOWN}; charset=utf-8",
        "Content-Disposition": f'attachment; filename="session.{"jsonl" if form == "jsonl" else "md"}"',
        "X-Content-Type-Options": "nosniff",
        "Cache-Control": "private, no-store",
    }
    response = Response(guarded_stream(pieces, service(KeyService), principal, slot), headers=headers)
    response.timeout = None  # Quart would otherwise cut a long one, silently, after a minute
    return response


@blueprint.post("/api/v1/chat/sessions/import")
@chat_operation(
    "importSessions",
    "Import sessions",
    description=(
        "Makes sessions of an exported file, or of several in one. They get ids of their own, belong to the user, and "
        "appear when the whole file has been read. Files that the user does not have become text with their names."
    ),
    params=[USERNAME, IDEMPOTENCY_KEY],
    body=Body({"type": "string", "minLength": 1}, {"one": _EXAMPLE}, media_type=JSONL),
    answers={200: Answer("The sessions", ImportedSessions, envelope="ApiResponseImportedSessions")},
    errors={
        400: refusal("Line 2: the parent must come before its children", "invalid_import", *USERNAME_CODES),
        403: refusal("The API key is bound to another username", "username_not_allowed"),
        408: refusal("The upload stopped arriving", "request_timeout"),
        413: refusal("The file is too large", "payload_too_large"),
        422: refusal("This Idempotency-Key was used with another request body", "idempotency_key_reused"),
        429: refusal("Too many streams at once", "too_many_streams"),
    },
)
async def import_sessions() -> Response:
    username = parse_username(request.args.get("username"))
    principal = caller()
    key = request.headers.get("Idempotency-Key")
    claim_of(principal.key_id, "sessions.import", key, None)  # for its form
    slot = service(StreamLimit).take(principal.key_id)
    try:
        sessions = await service(SessionImporter).read(principal, username, _chunks(), key)
    finally:
        slot.release()
    return ok(ImportedSessions([ImportedSessionItem(each.session_id, each.message_count) for each in sessions]))


async def _chunks() -> AsyncIterator[bytes]:
    """Yield the body as it comes. Raises RequestTimeout when it stops coming."""
    body = request.body.__aiter__()
    while True:
        try:
            async with asyncio.timeout(request.body_timeout):
                chunk = await anext(body)
        except StopAsyncIteration:
            return
        except TimeoutError:
            raise RequestTimeout from None
        yield chunk
