"""`/api/v1/im/*`: messages through bots, and what became of them."""

import re
from functools import partial

from msgspec import UNSET
from quart import Blueprint, Response, request

from app.auth.guards import caller
from app.auth.scopes import Scope
from app.bots.callbacks import Callbacks
from app.bots.message_schemas import DeliveryItem, DeliveryPage, SendMessageRequest, SentMessage, item_of
from app.bots.outbox.models import Delivery, DeliveryState
from app.bots.schemas import BotList
from app.bots.sending import MessageService, error_of
from app.bots.service import BotService
from app.bots.umo import MAX_UMO_CHARS, UMO_PATTERN, parse_umo
from app.chat.parts import PART_CODES, PartLimits, parse_parts
from app.edge.bodies import json_object
from app.edge.operation import IDEMPOTENCY_KEY, Answer, Body, Param, empty, operation, refusal
from app.edge.responses import ok
from app.edge.schemas import example_of
from app.edge.services import service
from app.errors import BadRequest
from app.idempotency import claim_of

blueprint = Blueprint("im", __name__)

_UMO = "webchat:FriendMessage:openapi_probe"
_SENT = example_of(SentMessage)
_SENDING = partial(
    operation,
    scope=Scope.IM,
    description="Hands a message to the bot of the umo's platform, and answers when the platform has taken it. "
    '`webchat` adds a bot message to that chat session, which is created if need be. With `"delivery":"queue"` the '
    "answer comes at once, and the message is sent later. A repeat with the same `Idempotency-Key` goes on with the "
    "same delivery. The `data` of 502 and 504 has `delivery_id` and `state`. The URL `callback` is told of the "
    "delivery's end: `data` is what `GET /api/v1/im/deliveries/{delivery_id}` answers.",
    params=[IDEMPOTENCY_KEY],
    body=Body(
        SendMessageRequest,
        {
            "plain": {"umo": _UMO, "message": "ping from api key"},
            "chain": {
                "umo": _UMO,
                "message": [
                    {"type": "plain", "text": "hello"},
                    {"type": "image", "attachment_id": "9a2f8c72-e7af-4c0e-b352-111111111111"},
                ],
            },
            "queued": {"umo": _UMO, "message": "ping", "delivery": "queue", "callback": "https://example.com/ended"},
        },
    ),
    answers={
        200: empty("The platform has taken the message", **_SENT),
        202: empty("The message is queued", **{**_SENT, "state": "queued", "message_id": None, "message_ids": []}),
    },
    errors={
        400: refusal(
            "Missing key: umo",
            "missing_key",
            "invalid_umo",
            "invalid_delivery",
            "invalid_callback",
            "username_reserved",
            "empty_message",
            *PART_CODES,
            "part_not_supported",
            "invalid_session_id",
        ),
        403: refusal("The API key is bound to another username", "username_not_allowed", "session_not_yours"),
        404: refusal("Bot not found or not running for platform: X", "bot_not_running"),
        413: refusal("telegram1 takes files of at most 52428800 bytes", "file_too_large"),
        502: refusal("The webhook receiver could not be reached", "delivery_failed"),
        503: refusal(
            "The database is not available at the moment; nothing was changed",
            "database_unavailable",
            "storage_unavailable",
        ),
        504: refusal("The webhook receiver did not answer in time", "delivery_timeout"),
    },
)


@blueprint.post("/api/v1/im/message")
@_SENDING("sendImMessage", "Send proactive message to a platform bot")
async def send_message() -> Response:
    return await _send()


@blueprint.post("/api/v1/im/messages")
@_SENDING("sendImMessageAlias", "Send proactive message to a platform bot (the same)")
async def send_message_alias() -> Response:
    return await _send()


async def _send() -> Response:
    body = await json_object()
    for key in ("umo", "message"):
        if body.get(key) is None:
            raise BadRequest(f"Missing key: {key}", code="missing_key")
    umo = parse_umo(body["umo"])
    if body.get("delivery", "wait") not in ("wait", "queue"):
        raise BadRequest("delivery must be wait or queue", code="invalid_delivery")
    waits = body.get("delivery", "wait") == "wait"
    callback = service(Callbacks).seal(body.get("callback"), body.get("callback_secret"))
    claim = claim_of(caller().key_id, "im", request.headers.get("Idempotency-Key"), body)
    parts = parse_parts(body["message"], service(PartLimits))
    delivery = await service(MessageService).send(umo, parts, caller(), claim, waits=waits, callback=callback)
    secret = service(Callbacks).secret_of(delivery) if body.get("callback_secret") is None else None
    if delivery.state is not DeliveryState.SENT and waits:
        error = error_of(delivery)
        error.data = {**(error.data or {}), **({} if secret is None else {"callback_secret": secret})}
        raise error
    return ok(_sent(delivery, secret), 200 if delivery.state is DeliveryState.SENT else 202)


def _sent(delivery: Delivery, secret: str | None) -> SentMessage:
    ids = delivery.message_ids
    callback_secret = UNSET if secret is None else secret
    return SentMessage(ids[0] if ids else None, ids, delivery.id, delivery.state, delivery.umo, callback_secret)


@blueprint.get("/api/v1/im/bots")
@operation(
    "listImBots",
    "List bot IDs",
    scope=Scope.IM,
    description="The platform ids that messages can be sent to: `webchat`, and every enabled bot.",
    answers={200: Answer("The ids", BotList, envelope="ApiResponseBotList")},
)
async def list_bot_ids() -> Response:
    return ok(BotList(await service(BotService).running_ids()))


_DELIVERY_ID = Param("delivery_id", "The delivery's id.", {"type": "string"}, where="path")
_DELIVERY = Answer("The delivery", DeliveryItem, envelope="ApiResponseDelivery")
_BOUND = {403: refusal("The API key is bound to a username", "username_not_allowed")}
_NOT_FOUND = {404: refusal("Delivery not found", "delivery_not_found")}


@blueprint.get("/api/v1/im/deliveries")
@operation(
    "listDeliveries",
    "List deliveries",
    scope=Scope.IM,
    description="Messages on their way to platforms and those of the last 30 days, the newest first. "
    "A key bound to a username sees none.",
    params=[
        Param("bot_id", "Only this bot's.", {"type": "string"}),
        Param(
            "umo", "Only those to this chat.", {"type": "string", "maxLength": MAX_UMO_CHARS, "pattern": UMO_PATTERN}
        ),
        Param("state", "Only those in this state.", {"type": "string", "enum": list(DeliveryState)}),
        Param("cursor", "The `next_cursor` of the page before.", {"type": "string", "pattern": "^[0-9]{1,18}$"}),
        Param("limit", "1 to 100.", {"type": "integer", "minimum": 1, "maximum": 100, "default": 20}),
    ],
    answers={200: Answer("A page", DeliveryPage, envelope="ApiResponseDeliveries")},
    errors={
        400: refusal("cursor is not one of a page", "invalid_cursor", "invalid_limit", "invalid_umo", "invalid_state"),
        **_BOUND,
    },
)
async def list_deliveries() -> Response:
    caller().check_unbound()
    args = request.args
    limit, cursor = args.get("limit", "20"), args.get("cursor")
    if not re.fullmatch("[1-9][0-9]?|100", limit):
        raise BadRequest("limit must be an integer from 1 to 100", code="invalid_limit")
    if cursor is not None and not re.fullmatch("[0-9]{1,18}", cursor):
        raise BadRequest("cursor is not one of a page", code="invalid_cursor")
    state = args.get("state")
    if state is not None and state not in list(DeliveryState):
        raise BadRequest(f"state must be one of {', '.join(DeliveryState)}", code="invalid_state")
    deliveries = await service(MessageService).list_deliveries(
        bot_id=_without_nul(args.get("bot_id")),
        umo=None if args.get("umo") is None else parse_umo(args["umo"]),
        state=None if state is None else DeliveryState(state),
        before=None if cursor is None else int(cursor),
        limit=int(limit) + 1,
    )
    page = deliveries[: int(limit)]
    next_cursor = str(page[-1].seq) if len(deliveries) > len(page) else None
    return ok(DeliveryPage([item_of(delivery) for delivery in page], next_cursor))


def _without_nul(text: str | None) -> str | None:
    return None if text is None else text.replace("\0", "�")


@blueprint.get("/api/v1/im/deliveries/<delivery_id>")
@operation(
    "getDelivery",
    "Get a delivery",
    scope=Scope.IM,
    description="One delivery, with its fragments: a message may be several on its platform.",
    params=[_DELIVERY_ID],
    answers={200: _DELIVERY},
    errors={**_BOUND, **_NOT_FOUND},
)
async def get_delivery(delivery_id: str) -> Response:
    caller().check_unbound()
    return ok(item_of(await service(MessageService).get(delivery_id)))


@blueprint.post("/api/v1/im/deliveries/<delivery_id>/retry")
@operation(
    "retryDelivery",
    "Retry a delivery",
    scope=Scope.IM,
    description="Queues what has not been sent of a delivery that is over. What may have arrived (`unknown`) is sent "
    "again, and may be seen twice on platforms that cannot tell repeats.",
    params=[_DELIVERY_ID],
    answers={202: _DELIVERY},
    errors={**_BOUND, **_NOT_FOUND, 409: refusal("The delivery is sent", "delivery_not_over")},
)
async def retry_delivery(delivery_id: str) -> Response:
    caller().check_unbound()
    return ok(item_of(await service(MessageService).retry(delivery_id)), 202)


@blueprint.post("/api/v1/im/deliveries/<delivery_id>/cancel")
@operation(
    "cancelDelivery",
    "Cancel a delivery",
    scope=Scope.IM,
    description="Cancels a queued delivery of which nothing has been sent.",
    params=[_DELIVERY_ID],
    answers={200: _DELIVERY},
    errors={**_BOUND, **_NOT_FOUND, 409: refusal("The delivery is sent", "delivery_not_queued")},
)
async def cancel_delivery(delivery_id: str) -> Response:
    caller().check_unbound()
    return ok(item_of(await service(MessageService).cancel(delivery_id)))
