"""`/api/v1/chat` and the runs it makes."""

import re

from quart import Blueprint, Response, request

from app.auth.guards import caller, key_watch
from app.auth.scopes import Scope
from app.chat.parts import PartLimits
from app.chat.runs.log import RunLog
from app.chat.service import ChatService
from app.chat.streams import guarded_stream
from app.chat.values import Run
from app.doors.open_api.encoding import sse_encoder
from app.doors.open_api.requests import parse_send
from app.doors.open_api.schemas import ChatRun, ChatSendRequest, StoppedRuns
from app.edge import sse
from app.edge.bodies import json_object
from app.edge.operation import IDEMPOTENCY_KEY, Answer, Body, Param, operation
from app.edge.responses import ok
from app.edge.services import service
from app.errors import BadRequest
from app.idempotency import claim_of
from app.limits import Slot, StreamLimit
from app.telemetry.metrics import Metrics

blueprint = Blueprint("chat", __name__)

MAX_AFTER = 10**18 - 1
RETRY = b"retry: 2000\n\n"
"""Milliseconds after which an EventSource comes back by itself."""

SSE_EXAMPLE = (
    'id: 1\ndata: {"type":"session_id","data":null,"session_id":"s1","run_id":"6f1c…","message_id":"0b9e…"}\n\n'
    'id: 2\ndata: {"type":"user_message_saved","data":{"id":1,"created_at":"2026-11-21T01:20:58.571438+00:00"}}\n\n'
    'id: 3\ndata: {"type":"plain","data":"Hello!","streaming":true,"chain_type":null,"message_id":"0b9e…"}\n\n'
)
SSE_ANSWER = Answer(
    "SSE stream of ChatEvent objects",
    {"type": "string"},
    media_type="text/event-stream",
    example=SSE_EXAMPLE,
)
RUN_EXAMPLE = {
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


@blueprint.post("/api/v1/chat")
@operation(
    "sendChatMessage",
    "Send chat message (SSE)",
    scope=Scope.CHAT,
    description=(
        "Stores the message and answers with the reply's events. The reply is made by a run that goes on when the "
        "caller leaves: its events can be read again with `GET /api/v1/chat/runs/{run_id}/stream`. Messages of one "
        "session are answered one after another, in the order they came, unless `on_busy` says otherwise. Left out, "
        "session_id is made."
    ),
    params=[IDEMPOTENCY_KEY],
    body=Body(
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
    ),
    answers={200: SSE_ANSWER},
    errors={
        400: "Missing key: username",
        403: "session_id belongs to another username",
        404: "Run not found",  # of a repeat whose session was deleted meanwhile
        409: "The session is answering another message",
        413: "The request body is larger than 4194304 bytes",
        415: "Content-Type must be application/json",
        422: "This Idempotency-Key was used with another request body",
        429: "Too many messages are waiting in this session",
        503: "The database is not available at the moment; nothing was changed",
    },
)
async def send() -> Response:
    body = await json_object()
    place = _place()
    claim = claim_of(caller().key_id, "chat", request.headers.get("Idempotency-Key"), body)
    accepted = await service(ChatService).send(caller(), parse_send(body, service(PartLimits)), claim)
    return _stream(accepted.run, accepted.log, 0, place)


@blueprint.get("/api/v1/chat/runs/<run_id>")
@operation(
    "getRun",
    "Get a run",
    scope=Scope.CHAT,
    description="How far the making of a reply has come.",
    answers={200: Answer("The run", ChatRun, envelope="ApiResponseChatRun", example=RUN_EXAMPLE)},
    errors={404: "Run not found"},
)
async def get_run(run_id: str) -> Response:
    chat = service(ChatService)
    run = await chat.get_run(caller(), run_id)
    status, started_at = chat.progress_of(run)
    return ok(ChatRun.of(run, status, started_at))


@blueprint.get("/api/v1/chat/runs/<run_id>/stream")
@operation(
    "streamRun",
    "Read a run's events (SSE)",
    scope=Scope.CHAT,
    description=(
        "Replays the run's events from beyond the one that `Last-Event-ID` or `after` names, then follows it until "
        "it is over. Runs that are over are replayed too."
    ),
    params=[
        Param(
            "after",
            "The id of the last event that was received.",
            {"type": "integer", "minimum": 0, "maximum": MAX_AFTER},
        ),
        Param("Last-Event-ID", "The same, as EventSource sends it.", {"type": "string"}, where="header"),
    ],
    answers={200: SSE_ANSWER},
    errors={400: "after must be an event id", 404: "Run not found", 429: "Too many streams at once"},
)
async def stream_run(run_id: str) -> Response:
    after = _after(request.args.get("after"), request.headers.get("Last-Event-ID"))
    chat = service(ChatService)
    run = await chat.get_run(caller(), run_id)
    place = _place()
    return _stream(run, await chat.run_log(run, after), after, place)


@blueprint.post("/api/v1/chat/runs/<run_id>/stop")
@operation(
    "stopRun",
    "Stop a run",
    scope=Scope.CHAT,
    description="Ends the run now; what it said so far is kept as a partial message.",
    answers={
        200: Answer(
            "What was stopped: nothing, when the run was over",
            StoppedRuns,
            envelope="ApiResponseStoppedRuns",
            example={"run_ids": [RUN_EXAMPLE["run_id"]], "stopped_count": 1},
        )
    },
    errors={404: "Run not found"},
)
async def stop_run(run_id: str) -> Response:
    stopped = [run_id] if await service(ChatService).stop_run(caller(), run_id) else []
    return ok(StoppedRuns(stopped, len(stopped)))


def _place() -> Slot:
    """A place among the open streams. Raises TooManyRequests."""
    return service(StreamLimit).take(caller().key_id)


def _stream(run: Run, log: RunLog, after: int, place: Slot) -> Response:
    frames = log.follow(
        "sse", sse_encoder(run), after=after, heartbeat=sse.HEARTBEAT, heartbeat_seconds=sse.HEARTBEAT_SECONDS
    )
    return sse.stream_response(guarded_stream(frames, key_watch(), service(Metrics), place, prefix=RETRY))


def _after(query: str | None, header: str | None) -> int:
    """The number in `?after=`, or in `Last-Event-ID`. Raises BadRequest for the first."""
    text = query if query is not None else header
    if text and re.fullmatch(r"[0-9]{1,18}", text):
        return int(text)
    if query is not None:
        raise BadRequest("after must be an event id", code="invalid_after")
    return 0
