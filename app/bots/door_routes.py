"""The doors through which platforms report events: webhooks and WebSockets. Each platform proves itself."""

import asyncio

from quart import Blueprint, Response, request, websocket

from app.bots.adapters.inbound import Door, DoorRequest, SocketDoor
from app.bots.inbox.service import InboxService
from app.bots.service import ID_PATTERN, BotService
from app.edge.bodies import BodyLimit
from app.edge.operation import PUBLIC, Answer, Param, operation, refusal
from app.edge.services import service
from app.errors import AppError, NotFound, PayloadTooLarge

blueprint = Blueprint("im_doors", __name__)

MAX_DOOR_BYTES = 4 * 1024**2
_BOT_ID = Param("bot_id", "The bot's platform id.", {"type": "string", "pattern": ID_PATTERN}, where="path")
_UUID = Param("webhook_uuid", "The bot's setting `webhook_uuid`.", {"type": "string"}, where="path")
_ANSWERS = {
    200: Answer("What the platform expects", {}, media_type="*/*"),
    202: Answer("The message is stored", {}, media_type="*/*"),
}
_ERRORS = {
    400: refusal("The event cannot be read", "invalid_event"),
    401: refusal("The signature is wrong", "invalid_signature"),
    403: refusal("The event is refused", "event_refused"),
    404: refusal("Bot not found or not running for platform: X", "bot_not_running", "no_webhook"),
    413: refusal("The request body is larger than 4194304 bytes", "payload_too_large"),
}
_REFUSALS = {status: (_ERRORS[status].message, _ERRORS[status].codes[0]) for status in (400, 401, 403)}
_DESCRIPTION = (
    "For the platform of a bot, which signs its requests in its own way; docs/bots.md says for which kinds. Events are "
    "stored before the answer is given. A signature that is wrong is answered with 401."
)


def _operation(id: str, summary: str, param: Param) -> operation:
    return operation(
        id,
        summary,
        scope=PUBLIC,
        tag="Management",
        description=_DESCRIPTION,
        params=[param],
        answers=_ANSWERS,
        errors=_ERRORS,
    )


@blueprint.post("/api/v1/im/webhooks/<bot_id>")
@_operation("receiveImWebhook", "Receive events of a platform", _BOT_ID)
async def receive(bot_id: str) -> Response:
    return await _receive(bot_id)


@blueprint.get("/api/v1/im/webhooks/<bot_id>")
@_operation("verifyImWebhook", "Answer a platform's question at its webhook", _BOT_ID)
async def verify(bot_id: str) -> Response:
    return await _receive(bot_id)


@blueprint.post("/api/platform/webhook/<webhook_uuid>")
@_operation("receivePlatformWebhook", "Receive events of a platform, as at AstrBot", _UUID)
async def receive_by_uuid(webhook_uuid: str) -> Response:
    return await _receive(await _bot_of(webhook_uuid))


@blueprint.get("/api/platform/webhook/<webhook_uuid>")
@_operation("verifyPlatformWebhook", "Answer a platform's question at its webhook, as at AstrBot", _UUID)
async def verify_by_uuid(webhook_uuid: str) -> Response:
    return await _receive(await _bot_of(webhook_uuid))


async def _bot_of(webhook_uuid: str) -> str:
    bot_id = await service(BotService).find_by_webhook(webhook_uuid)
    if bot_id is None:
        raise NotFound("No bot has this webhook", code="no_webhook")
    return bot_id


async def _receive(bot_id: str) -> Response:
    door_request = DoorRequest(
        request.method,
        request.path,
        dict(request.args),
        {name.lower(): value for name, value in request.headers.items()},
        await _body(),
    )
    async with service(BotService).use(bot_id) as bot:
        if not isinstance(bot.adapter, Door):
            raise NotFound("Bots of this kind have no webhook", code="no_webhook")
        answer = await bot.adapter.receive(door_request)
    if answer.status in _REFUSALS:
        message, code = _REFUSALS[answer.status]
        raise AppError(answer.reason or message, status=answer.status, code=code)
    await service(InboxService).accept(bot_id, answer.events)
    return Response(answer.body, answer.status, headers=dict(answer.headers), content_type=answer.content_type)


async def _body() -> bytes:
    """Read the raw body, over which the platform's signature is made. Raises PayloadTooLarge."""
    limit = min(MAX_DOOR_BYTES, service(BodyLimit).bytes)
    body = bytearray()
    async for piece in request.body:
        body += piece
        if len(body) > limit:
            raise PayloadTooLarge(f"The request body is larger than {limit} bytes")
    return bytes(body)


class _Socket:
    """The WebSocket of the request; it is closed when the server goes down."""

    def __init__(self, going_down: asyncio.Event) -> None:
        # Not the proxy, which knows it in this task only: messages are sent from others.
        self._websocket = websocket._get_current_object()  # type: ignore[attr-defined]
        self._going_down = going_down

    async def receive(self) -> str | bytes:
        frame = asyncio.ensure_future(self._websocket.receive())
        end = asyncio.ensure_future(self._going_down.wait())
        try:
            await asyncio.wait((frame, end), return_when=asyncio.FIRST_COMPLETED)
            if not frame.done():
                raise ConnectionError("The server is shutting down")
            result: str | bytes = frame.result()
            return result
        finally:
            frame.cancel()
            end.cancel()

    async def send(self, text: str) -> None:
        await self._websocket.send(text)


@blueprint.websocket("/api/v1/im/onebot/<bot_id>/ws")
@operation(
    "imWebSocket",
    "Take a platform's WebSocket",
    scope=PUBLIC,
    tag="Management",
    description="For platforms that open the WebSocket themselves, such as OneBot v11 (reverse WebSocket). The token "
    "is the bot's own.",
    params=[_BOT_ID],
    answers={},
)
async def take_socket(bot_id: str) -> None:
    door_request = DoorRequest(
        "GET",
        websocket.path,
        dict(websocket.args),
        {name.lower(): value for name, value in websocket.headers.items()},
        b"",
    )
    async with service(BotService).use(bot_id) as bot:
        if not isinstance(bot.adapter, SocketDoor) or not bot.adapter.admits(door_request):
            await websocket.accept()
            await websocket.close(1008)
            return
        await websocket.accept()
        inbox = service(InboxService)
        await inbox.hold(bot_id)
        try:
            await bot.adapter.serve(_Socket(inbox.going_down), inbox.of_bot(bot_id))
        except ConnectionError:
            pass
        finally:
            await inbox.let_go(bot_id)
