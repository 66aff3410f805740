"""`/api/v1/doctor`: checks for operators, and a stream by which they see what stands between."""

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta
from quart import Blueprint, Response

from app import __version__
from app.auth.guards import caller, guarded_stream
from app.auth.scopes import Scope
from app.auth.service import KeyService
from app.clock import iso, utc_now
from app.edge import sse
from app.edge.operation import ANY_KEY, Answer, operation, refusal
from app.edge.responses import ok
from app.edge.schemas import DateTime, example, shape_of
from app.edge.services import service
from app.limits import StreamLimit
from app.ops.doctor import Doctor, State

blueprint = Blueprint("doctor", __name__)

STREAM_EVENTS: Final = 5
STREAM_PAUSE_SECONDS: Final = 0.2
_EVENTS_EXAMPLE: Final = (
    'id: 1\ndata: {"type":"tick","sent_ms":0.1}\n\nid: 2\ndata: {"type":"tick","sent_ms":200.4}\n\n'
)


class DoctorCheck(msgspec.Struct):
    """One check."""

    name: Annotated[str, Meta(description="The part that was checked."), example("database")]
    state: Annotated[State, Meta(description="How it is."), example("ok")]
    detail: Annotated[str, Meta(description="What was seen, for people."), example("Answers and takes writes")]
    milliseconds: Annotated[
        float | None, Meta(description="How long the part took to answer; null where none was asked."), example(0.8)
    ]


class Tick(msgspec.Struct):
    """An event of the check of streams."""

    type: Annotated[Literal["tick"], Meta(description="The kind of event.")]
    sent_ms: Annotated[float, Meta(description="Milliseconds since the first event was sent.")]


class DoctorReport(msgspec.Struct):
    """All checks."""

    state: Annotated[State, Meta(description="The worst of the checks."), example("ok")]
    version: Annotated[str, Meta(description="The server's version."), example("0.1.0")]
    time: Annotated[DateTime, Meta(description="The server's clock.")]
    checks: list[DoctorCheck]


@blueprint.get("/api/v1/doctor")
@operation(
    "getDoctor",
    "Check the server",
    scope=Scope.ADMIN,
    tag="Management",
    description="Version and migrations, the database and the storage, room on the disk, and each model server, which "
    "is asked for a few tokens. For a key that is not bound to a username.",
    answers={200: Answer("The checks", DoctorReport, envelope="ApiResponseDoctor")},
    errors={403: refusal("The API key is bound to a username", "username_not_allowed")},
)
async def get_doctor() -> Response:
    caller().check_unbound()
    checks = await service(Doctor).check()
    states = {check.state for check in checks}
    worst: State = "failed" if "failed" in states else "warning" if "warning" in states else "ok"
    report = DoctorReport(worst, __version__, iso(utc_now()), [shape_of(DoctorCheck, check) for check in checks])
    response = ok(report)
    response.headers["Cache-Control"] = "no-store"
    return response


@blueprint.get("/api/v1/doctor/stream")
@operation(
    "streamDoctor",
    "Check the way of streams (SSE)",
    scope=ANY_KEY,
    tag="Management",
    description=f"Sends {STREAM_EVENTS} small events, {STREAM_PAUSE_SECONDS} seconds apart, with the milliseconds "
    "since the first. If they arrive together, something on the way collects streams.",
    answers={
        200: Answer("SSE stream of ticks", Tick, _EVENTS_EXAMPLE, media_type="text/event-stream"),
    },
    errors={429: refusal("Too many streams at once", "too_many_streams")},
)
async def stream_doctor() -> Response:
    principal = caller()
    slot = service(StreamLimit).take(principal.key_id)
    return sse.stream_response(guarded_stream(_ticks(), service(KeyService), principal, slot))


async def _ticks() -> AsyncIterator[bytes]:
    started = time.perf_counter()
    for number in range(1, STREAM_EVENTS + 1):
        if number > 1:
            await asyncio.sleep(STREAM_PAUSE_SECONDS)
        sent = round((time.perf_counter() - started) * 1000, 1)
        yield sse.numbered_frames([(number, msgspec.json.encode({"type": "tick", "sent_ms": sent}))])
