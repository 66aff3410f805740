"""`/api/v1/chat` and the runs it makes."""

import re
from collections.abc import AsyncGenerator
from contextlib import aclosing
from functools import partial

from quart import Blueprint, Response, request

from app.auth.guards import caller, guarded_stream
from app.auth.limits import LIMIT_CODES, NOT_ALLOWED_CODES
from app.auth.scopes import Scope
from app.auth.service import KeyService
from app.chat.approvals import Approvals
from app.chat.parts import PartLimits
from app.chat.runs.log import RunLog
from app.chat.service import ChatService
from app.chat.values import Run
from app.doors.open_api.encoding import sse_encoder, sse_snapshot
from app.doors.open_api.requests import SEND_CODES, parse_send, wants_run_started
from app.doors.open_api.schemas import (
    CHAT_EVENTS_EXAMPLE,
    SEND_EXAMPLES,
    ApprovalDecision,
    ChatRun,
    ChatSendRequest,
    RunApproval,
    RunApprovals,
    StoppedRuns,
)
from app.edge import sse
from app.edge.bodies import BodyLimit, body_errors, convert, json_object
from app.edge.operation import IDEMPOTENCY_KEY, Answer, Body, Param, operation, refusal
from app.edge.responses import ok
from app.edge.services import service
from app.errors import BadRequest
from app.files.refusals import DOCUMENT_CODES, IMAGE_CODES
from app.idempotency import claim_of
from app.limits import Slot, StreamLimit
from app.usage.counters import RateState

blueprint = Blueprint("chat", __name__)
chat_operation = partial(operation, scope=Scope.CHAT)

RETRY = b"retry: 2000\n\n"
"""Milliseconds after which an EventSource reconnects."""
MAX_AFTER = 10**18 - 1
BODY_ERRORS = body_errors(BodyLimit().bytes)
_RUN_ERRORS = {404: refusal("Run not found", "run_not_found")}
EVENTS = Answer(
    "SSE stream of ChatEvent objects", {"type": "string"}, CHAT_EVENTS_EXAMPLE, media_type="text/event-stream"
)
LAST_EVENT_ID = Param(
    "Last-Event-ID",
    "In a repeat with the same Idempotency-Key: the last event that was received. The answer goes on beyond it. "
    "Without an Idempotency-Key it is refused, since the message would be sent again.",
    {"type": "string", "pattern": "^[0-9]{0,18}$"},
    where="header",
)

SEND_ERRORS = {
    400: refusal(
        "Missing key: username", "missing_key", *SEND_CODES, "missing_idempotency_key", "invalid_last_event_id"
    ),
    403: refusal(
        "session_id belongs to another username", "session_not_yours", "username_not_allowed", *NOT_ALLOWED_CODES
    ),
    # The run: of a repeat whose session was deleted meanwhile.
    404: refusal("Role not found", "role_not_found", "run_not_found"),
    409: refusal("The session is answering another message", "session_busy"),
    **BODY_ERRORS,
    413: refusal(
        f"The body is larger than {BodyLimit().bytes} bytes",
        "payload_too_large",
        "image_too_large",
    ),
    422: refusal(
        "report.pdf cannot be read: it is encrypted",
        "document_encrypted",
        *DOCUMENT_CODES,
        *IMAGE_CODES,
        "idempotency_key_reused",
    ),
    429: refusal(
        "Too many messages are waiting in this session",
        "session_busy",
        "server_busy",
        "too_many_runs",
        "too_many_streams",
        *LIMIT_CODES,
    ),
    503: refusal(
        "The database is not available at the moment; nothing was changed",
        "database_unavailable",
        "document_workers_unavailable",
        "shutting_down",
        "storage_unavailable",
    ),
}


@blueprint.post("/api/v1/chat")
@chat_operation(
    "sendChatMessage",
    "Send chat message (SSE)",
    description=(
        "Stores the message and answers with the reply's events. The reply is made by a run that goes on when the "
        "caller leaves: its events can be read again with `GET /api/v1/chat/runs/{run_id}/stream`. Messages of one "
        "session are answered one after another, in the order they came, unless `on_busy` says otherwise. Left out, "
        "session_id is made."
    ),
    params=[IDEMPOTENCY_KEY, LAST_EVENT_ID],
    body=Body(ChatSendRequest, SEND_EXAMPLES),
    answers={200: EVENTS},
    errors=SEND_ERRORS,
)
async def send() -> Response:
    principal = caller()
    chat, limits, streams = service(ChatService), service(PartLimits), service(StreamLimit)
    body = await json_object()
    slot = streams.take(principal.key_id)
    key = request.headers.get("Idempotency-Key")
    claim = None if key is None else claim_of(principal.key_id, "chat", key, body)
    after = last_event_id(has_key=key is not None) if "Last-Event-ID" in request.headers else 0
    accepted = await chat.send(principal, parse_send(body, limits), claim)
    if after and accepted.repeated:
        return stream(accepted.run, await chat.run_log(accepted.run, after), after, slot)
    return stream(accepted.run, accepted.log, 0, slot, accepted.rates, run_started=wants_run_started(body))


@blueprint.get("/api/v1/chat/runs/<run_id>")
@chat_operation(
    "getRun",
    "Get a run",
    description="How far the making of a reply has come.",
    answers={200: Answer("The run", ChatRun, envelope="ApiResponseChatRun")},
    errors=_RUN_ERRORS,
)
async def get_run(run_id: str) -> Response:
    chat = service(ChatService)
    run = await chat.get_run(caller(), run_id)
    status, started_at = chat.progress_of(run)
    return ok(ChatRun.of(run, status, started_at))


AFTER = [
    Param(
        "after", "The id of the last event that was received.", {"type": "integer", "minimum": 0, "maximum": MAX_AFTER}
    ),
    Param("Last-Event-ID", "The same, as EventSource sends it.", {"type": "string"}, where="header"),
]


@blueprint.get("/api/v1/chat/runs/<run_id>/stream")
@chat_operation(
    "streamRun",
    "Read a run's events (SSE)",
    description=(
        "Replays the run's events from beyond the one that `Last-Event-ID` or `after` names, then follows it until "
        "it is over. Runs that are over are replayed too. With `snapshot` the first event is `run_snapshot`, the reply "
        "so far in one piece, and only what comes after it follows."
    ),
    params=[
        *AFTER,
        Param("snapshot", "`true`: begin with the reply so far.", {"type": "boolean", "default": False}),
    ],
    answers={200: EVENTS},
    errors={
        400: refusal("after must be an event id", "invalid_after"),
        **_RUN_ERRORS,
        429: refusal("Too many streams at once", "too_many_streams"),
    },
)
async def stream_run(run_id: str) -> Response:
    after = _after(request.args.get("after"), request.headers.get("Last-Event-ID"))
    principal, chat = caller(), service(ChatService)
    run = await chat.get_run(principal, run_id)
    slot = service(StreamLimit).take(principal.key_id)
    log = await chat.run_log(run, after)
    if request.args.get("snapshot", "").lower() not in ("true", "1"):
        return stream(run, log, after, slot)
    # Nothing is awaited between the two: the stream goes on right behind the snapshot. Its end comes in any case.
    snapshot = sse_snapshot(run, chat.progress_of(run)[0], log)
    return stream(run, log, log.last_number - log.closed, slot, first=snapshot)


@blueprint.post("/api/v1/chat/runs/<run_id>/stop")
@chat_operation(
    "stopRun",
    "Stop a run",
    description="Ends the run now; what it said so far is kept as a partial message.",
    answers={
        200: Answer("What was stopped: nothing, when the run was over", StoppedRuns, envelope="ApiResponseStoppedRuns")
    },
    errors=_RUN_ERRORS,
)
async def stop_run(run_id: str) -> Response:
    run_ids = [run_id] if await service(ChatService).stop_run(caller(), run_id) else []
    return ok(StoppedRuns(run_ids, len(run_ids)))


@blueprint.get("/api/v1/chat/runs/<run_id>/approvals")
@chat_operation(
    "listApprovals",
    "List a run's approvals",
    description="The calls of tools that wait for a yes or no, and those that have had one.",
    answers={200: Answer("The approvals", RunApprovals, envelope="ApiResponseRunApprovals")},
    errors=_RUN_ERRORS,
)
async def list_approvals(run_id: str) -> Response:
    run = await service(ChatService).get_run(caller(), run_id)
    approvals = await service(Approvals).of_run(run.id)
    return ok(RunApprovals([RunApproval.of(each) for each in approvals]))


@blueprint.post("/api/v1/chat/runs/<run_id>/approvals")
@chat_operation(
    "decideApproval",
    "Approve or deny a call",
    description=(
        "Says yes or no to a call that the run waits with (`approval_required`). When all calls of the step are "
        "decided, those approved are carried out. The same decision again is no error."
    ),
    body=Body(ApprovalDecision, {"approve": {"approval_id": "0c7d2f6e-53a1-4a4c-9a43-7e0f8f0b6f11", "approve": True}}),
    answers={200: Answer("The approval", RunApproval, envelope="ApiResponseRunApproval")},
    errors={
        400: refusal("approve must be a boolean", "invalid_request"),
        404: refusal("Approval not found", "approval_not_found", "run_not_found"),
        409: refusal("The approval has been decided already, or its run is over", "approval_decided"),
        **BODY_ERRORS,
    },
)
async def decide_approval(run_id: str) -> Response:
    run = await service(ChatService).get_run(caller(), run_id)
    decision = convert(await json_object(), ApprovalDecision)
    approval = await service(Approvals).decide(
        run.id, decision.approval_id, approve=decision.approve, reason=decision.reason
    )
    return ok(RunApproval.of(approval))


def stream(
    run: Run,
    log: RunLog,
    after: int,
    slot: Slot,
    rates: RateState | None = None,
    *,
    first: bytes = b"",
    run_started: bool = False,
) -> Response:
    frames = log.follow(
        "sse, run_started" if run_started else "sse",
        sse_encoder(run, run_started=run_started),
        after=after,
        heartbeat=sse.HEARTBEAT,
        heartbeat_seconds=sse.HEARTBEAT_SECONDS,
    )
    pieces = _preceded(first, frames) if first else frames
    headers = None if rates is None else rates.headers
    return sse.stream_response(guarded_stream(pieces, service(KeyService), caller(), slot, prefix=RETRY), headers)


async def _preceded(first: bytes, frames: AsyncGenerator[bytes]) -> AsyncGenerator[bytes]:
    async with aclosing(frames):
        yield first
        async for piece in frames:
            yield piece


def last_event_id(*, has_key: bool) -> int:
    """The event beyond which a repeated request goes on. Raises BadRequest."""
    text = request.headers["Last-Event-ID"].strip()
    if not text:
        return 0
    if not has_key:
        raise BadRequest(
            "Last-Event-ID would send the message again: send the Idempotency-Key of the first request with it",
            code="missing_idempotency_key",
        )
    if re.fullmatch(r"[0-9]{1,18}", text) is None:
        raise BadRequest("Last-Event-ID must be an event id", code="invalid_last_event_id")
    return int(text)


def _after(query: str | None, header: str | None) -> int:
    """The number in `?after=`, or in `Last-Event-ID`. Raises BadRequest for the first."""
    text = query if query is not None else header
    if text and re.fullmatch(r"[0-9]{1,18}", text):
        return int(text)
    if query is not None:
        raise BadRequest("after must be an event id", code="invalid_after")
    return 0
