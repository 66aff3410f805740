"""The answers of all doors that speak OpenAI's API: a run as a stream of chunks, or as one completion."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from quart import Response, request

from app.auth.guards import caller, key_watch
from app.chat.runs.events import Chunk, Completed, Failed, TextDelta
from app.chat.service import Accepted
from app.chat.streams import guarded_stream
from app.completions.chunks import ChunkEncoder, Dialect, completion_of
from app.completions.errors import ReplyFailed
from app.completions.requests import CompletionRequest
from app.completions.service import CompletionService
from app.edge import sse
from app.edge.services import service
from app.files.forms import FormUpload
from app.idempotency import Claim, claim_of
from app.limits import StreamLimit
from app.telemetry.metrics import Metrics

FIRST_WAIT_SECONDS = 15.0
"""How long a stream's answer waits for its first token: until then a failure still has a status of its own."""
RUN_ID_HEADER = "x-palaver-run-id"
RUN_ID = {RUN_ID_HEADER: "The run that makes the reply, for `/api/v1/chat/runs/{run_id}`."}
"""The header, for the published document."""
_LARGE_BYTES = 1024**2


class OpenAILimits:
    """The largest body that is taken, files included."""

    def __init__(self, body_bytes: int) -> None:
        self.body_bytes = body_bytes


async def respond(wanted: CompletionRequest, claim: Claim | None, dialect: Dialect) -> Response:
    """The present request's answer. Raises what CompletionService.complete does, and ReplyFailed."""
    place = service(StreamLimit).take(caller().key_id) if wanted.stream else None
    accepted = await service(CompletionService).complete(caller(), wanted, claim)
    headers = {RUN_ID_HEADER: accepted.run.id}
    awaited = (Chunk, TextDelta, Completed, Failed) if wanted.stream else (Completed, Failed)
    began = await accepted.log.first(awaited, FIRST_WAIT_SECONDS if wanted.stream else None)
    if isinstance(began, Failed):
        raise ReplyFailed(began).with_headers(headers)
    if place is not None:
        frames = _frames(accepted, dialect, wants_usage=wanted.wants_usage)
        return sse.stream_response(guarded_stream(frames, key_watch(), service(Metrics), place), headers)
    whole = completion_of(accepted.run, accepted.log, dialect)
    return Response(whole, headers=headers, content_type="application/json")


async def claim_by_header(operation: str, named: Any) -> Claim | None:
    """The claim in the present request's `Idempotency-Key`; `named` is what a repeat must have in common with it."""
    key = request.headers.get("Idempotency-Key")
    if key is None:
        return None
    if (request.content_length or _LARGE_BYTES) < _LARGE_BYTES:
        return claim_of(caller().key_id, operation, key, _hashable(named))
    return await asyncio.to_thread(claim_of, caller().key_id, operation, key, _hashable(named))


def _hashable(value: Any) -> Any:
    """The same, with a form's files as plain values."""
    if isinstance(value, FormUpload):
        return [value.filename, value.data]
    if isinstance(value, list):
        return [_hashable(each) for each in value]
    return {name: _hashable(each) for name, each in value.items()} if isinstance(value, dict) else value


def _frames(accepted: Accepted, dialect: Dialect, *, wants_usage: bool) -> AsyncIterator[bytes]:
    return accepted.log.follow(
        dialect.kind_of(wants_usage=wants_usage),
        ChunkEncoder(accepted.run, accepted.log, dialect, wants_usage=wants_usage),
        heartbeat=sse.HEARTBEAT,
        heartbeat_seconds=sse.HEARTBEAT_SECONDS,
    )
