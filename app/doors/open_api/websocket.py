"""`/api/v1/chat/ws`: the same chat over a WebSocket, several messages at a time."""

import asyncio
from collections.abc import Collection
from contextlib import aclosing
from typing import Annotated, Any

import msgspec
from msgspec import Meta
from quart import Blueprint, websocket

from app.auth.guards import authorize, guarded_stream
from app.auth.models import Principal
from app.auth.scopes import Scope
from app.auth.service import KeyService
from app.chat.parts import PartLimits
from app.chat.service import Accepted, ChatService
from app.doors.open_api.encoding import websocket_encoder
from app.doors.open_api.requests import parse_send, wants_run_started
from app.doors.open_api.websocket_errors import word_of
from app.edge.bodies import BodyLimit, convert, parse_beside
from app.edge.operation import operation
from app.edge.services import service
from app.errors import AppError, BadRequest, TooManyRequests, Unauthorized
from app.idempotency import claim_of
from app.limits import Slot, StreamLimit, WebSocketLimit

blueprint = Blueprint("chat_ws", __name__)

STREAMS_PER_SOCKET = 32
GOING_AWAY = 1001
POLICY_VIOLATION = 1008
TRY_AGAIN_LATER = 1013
PONG_SECONDS = 15.0
PONG = '{"type":"pong"}'


class Sockets:
    """Closes the open WebSockets when the server goes down, which would wait for them forever, and idle ones."""

    def __init__(self, idle_seconds: float) -> None:
        self._going_down = asyncio.Event()
        self._idle_seconds = idle_seconds

    def go_down(self) -> None:
        self._going_down.set()

    async def next_frame(self, streams: Collection[object]) -> str | bytes | None:
        """The client's next frame; None when the server goes down, or no frame and none of `streams` came for long.

        An idle socket is kept open with unsolicited pongs. Hypercorn's own pings would do, but the task that sends
        them outlives its socket, and a server that goes down would wait for it.
        """
        frame = asyncio.ensure_future(websocket.receive())
        shutdown = asyncio.ensure_future(self._going_down.wait())
        loop = asyncio.get_running_loop()
        idle_since = loop.time()
        try:
            while not frame.done() and not shutdown.done():
                done, _ = await asyncio.wait(
                    (frame, shutdown), timeout=PONG_SECONDS, return_when=asyncio.FIRST_COMPLETED
                )
                if done:
                    break
                if streams:
                    idle_since = loop.time()
                elif loop.time() - idle_since >= self._idle_seconds:
                    return None
                await websocket.send(PONG)
            return frame.result() if frame.done() else None
        finally:
            frame.cancel()
            shutdown.cancel()


class ResumeFrame(msgspec.Struct):
    """`{"t":"resume"}`: a run's events from beyond the one with `seq` equal to `after`."""

    run_id: str
    after: Annotated[int, Meta(ge=0, le=10**18)] = 0


@blueprint.websocket("/api/v1/chat/ws")
@operation(
    "chatWebSocket",
    "Chat over a WebSocket",
    scope=Scope.CHAT,
    description=(
        'Text frames of JSON. `{"t":"ping"}` is answered with `{"type":"pong"}`, which also comes unasked in a long '
        'silence; `{"t":"send", ...}` has the body of '
        "`POST /api/v1/chat` and an optional `message_id`; the same events come back, each with `session_id`, "
        "`run_id` and `seq`, the event's id. A repeat of a frame with the same `message_id`, within 24 hours, joins "
        'the run of the first one. `{"t":"resume","run_id":"...","after":7}` reads a run from beyond its event 7. A '
        "failed authentication gets an error event and close code 1008, a socket too many one and 1013. A socket "
        "without a frame or a reply for long is closed with 1001."
    ),
    answers={},
)
async def chat() -> None:
    try:
        principal = await _authorize()
        slot = service(WebSocketLimit).take(principal.key_id)
    except AppError as error:
        # Accepted for the sake of the error's text alone: no frame is read.
        await websocket.accept()
        await _close_with(error)
        return
    await websocket.accept()
    streams: set[asyncio.Task[None]] = set()
    try:
        await _converse(streams)
    except OSError:
        pass  # the client has left
    finally:
        slot.release()
        for stream in streams:
            stream.cancel()
        await asyncio.gather(*streams, return_exceptions=True)


async def _converse(streams: set[asyncio.Task[None]]) -> None:
    """Answer frames until the client leaves, or the server goes down; `streams` are the replies under way."""
    sending = asyncio.Lock()
    while (frame := await service(Sockets).next_frame(streams)) is not None:
        try:
            await _answer(frame, streams, sending)
        except Unauthorized as error:  # the key was revoked meanwhile
            await _close_with(error)
            return
        except AppError as error:
            async with sending:
                await _send_error(word_of(error), error.message)
    await asyncio.gather(*streams)  # the runs are over by now, and their last events on their way
    await websocket.close(GOING_AWAY)


async def _answer(frame: str | bytes, streams: set[asyncio.Task[None]], sending: asyncio.Lock) -> None:
    if len(frame) > service(BodyLimit).bytes:
        raise BadRequest("The frame is too large", code="payload_too_large")
    body = await parse_beside(frame)
    kind = body.pop("t", "send")
    if kind == "ping":
        async with sending:
            await websocket.send(PONG)
        return
    if kind not in ("send", "resume"):
        raise BadRequest('t must be "send", "resume" or "ping"', code="invalid_frame")
    if len(streams) >= STREAMS_PER_SOCKET:
        raise TooManyRequests("Too many replies are streaming on this socket")
    principal = await _authorize()
    slot = service(StreamLimit).take(principal.key_id)
    after = 0
    if kind == "resume":
        accepted, after = await _resume(principal, convert(body, ResumeFrame))
    else:
        accepted = await _send(principal, body)
    relay = _relay(accepted, after, sending, slot, principal, run_started=wants_run_started(body))
    stream = asyncio.create_task(relay)
    streams.add(stream)
    stream.add_done_callback(streams.discard)


async def _send(principal: Principal, body: dict[str, Any]) -> Accepted:
    request = parse_send(body, service(PartLimits))
    claim = claim_of(principal.key_id, "chat.ws", request.message_id, body)
    return await service(ChatService).send(principal, request, claim)


async def _resume(principal: Principal, frame: ResumeFrame) -> tuple[Accepted, int]:
    chat = service(ChatService)
    run = await chat.get_run(principal, frame.run_id)
    return Accepted(run, await chat.run_log(run, frame.after)), frame.after


async def _relay(
    accepted: Accepted, after: int, sending: asyncio.Lock, slot: Slot, principal: Principal, *, run_started: bool
) -> None:
    kind = "ws, run_started" if run_started else "ws"
    pieces = accepted.log.follow(kind, websocket_encoder(accepted.run, run_started=run_started), after=after)
    async with aclosing(guarded_stream(pieces, service(KeyService), principal, slot)) as stream:
        async for piece in stream:
            async with sending:
                for line in piece.splitlines():
                    await websocket.send(line.decode())


async def _authorize() -> Principal:
    return await authorize(websocket.headers, websocket.args, Scope.CHAT)


async def _close_with(error: AppError) -> None:
    is_full = isinstance(error, TooManyRequests)
    await _send_error(word_of(error) if is_full else "UNAUTHORIZED", error.message)
    await websocket.close(TRY_AGAIN_LATER if is_full else POLICY_VIOLATION)


async def _send_error(code: str, message: str) -> None:
    await websocket.send(msgspec.json.encode({"type": "error", "code": code, "data": message}).decode())
