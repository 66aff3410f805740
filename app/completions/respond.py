"""Answer a request for a completion: with a stream of chunks, or with the whole completion."""

from quart import Response

from app.auth.guards import caller, guarded_stream
from app.auth.service import KeyService
from app.chat.runs.events import Chunk, Completed, Failed, TextDelta
from app.completions.chunks import ChunkEncoder, Dialect, encode_completion
from app.completions.errors import CompletionFailed
from app.completions.service import CompletionService
from app.completions.values import CompletionRequest
from app.edge import sse
from app.edge.responses import encoded_json
from app.edge.services import service
from app.idempotency import Claim
from app.limits import StreamLimit

FIRST_WAIT_SECONDS = 15.0
"""How long a stream waits for its first token before it answers: until then a failure has a status of its own."""
RUN_ID_HEADER = "x-palaver-run-id"
SESSION_HEADER = "x-palaver-session"
"""`none` on an answer that the default session would have given, had it not been busy."""


async def respond(completion: CompletionRequest, dialect: Dialect, claim: Claim | None) -> Response:
    """Answer the present request. Raises what CompletionService.complete raises, and CompletionFailed."""
    principal = caller()
    slot = service(StreamLimit).take(principal.key_id) if completion.stream else None
    accepted = await service(CompletionService).complete(principal, completion, claim)
    run, log = accepted.run, accepted.log
    headers = {RUN_ID_HEADER: run.id}
    if accepted.rates is not None:
        headers |= accepted.rates.headers
    if completion.stateless_if_busy and run.session_id is None:
        headers[SESSION_HEADER] = "none"
    if slot is None:
        event = await log.first((Completed, Failed))
    else:
        event = await log.first((Chunk, TextDelta, Completed, Failed), FIRST_WAIT_SECONDS)
    if isinstance(event, Failed):
        raise CompletionFailed(event, headers)
    if slot is None:
        body = encode_completion(run, log, dialect, shows_tools=completion.shows_tools)
        return encoded_json(body, headers=headers)
    options = {"wants_usage": completion.wants_usage, "shows_tools": completion.shows_tools}
    frames = log.follow(
        dialect.encoding(**options),
        ChunkEncoder(run, log, dialect, **options),
        heartbeat=sse.HEARTBEAT,
        heartbeat_seconds=sse.HEARTBEAT_SECONDS,
    )
    return sse.stream_response(guarded_stream(frames, service(KeyService), principal, slot), headers)
