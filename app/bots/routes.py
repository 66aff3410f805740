"""`/api/v1/im/*`: messages through bots; `/api/v1/bots`: the bots themselves."""

from functools import partial

from quart import Blueprint, Response, request

from app.auth.guards import caller
from app.auth.scopes import Scope
from app.bots.schemas import (
    BotItem,
    BotItems,
    BotList,
    BotWithSecrets,
    CreateBotRequest,
    SendMessageRequest,
    UpdateBotRequest,
)
from app.bots.service import ID_PATTERN, BotService
from app.bots.umo import parse_umo
from app.chat.parts import PART_CODES, PartLimits, parse_parts
from app.edge.bodies import convert, json_object
from app.edge.operation import IDEMPOTENCY_KEY, Answer, Body, Param, empty, operation, refusal
from app.edge.responses import ok
from app.edge.schemas import example_of, shape_of
from app.edge.services import service
from app.errors import BadRequest
from app.idempotency import claim_of

blueprint = Blueprint("im", __name__)
bot_operation = partial(operation, scope=Scope.ADMIN, tag="Management")

_UMO = "webchat:FriendMessage:openapi_probe"


@blueprint.post("/api/v1/im/message")
@operation(
    "sendImMessage",
    "Send proactive message to a platform bot",
    scope=Scope.IM,
    description="Hands a message to the bot of the umo's platform, and answers when the platform has taken it. "
    "`webchat` adds a bot message to that chat session, which is created if need be.",
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
        },
    ),
    answers={
        200: empty(
            "The platform has taken the message; `message_id` is the platform's own, if it gave one",
            message_id="42",
            umo=_UMO,
        )
    },
    errors={
        400: refusal(
            "Missing key: umo",
            "missing_key",
            "invalid_umo",
            "username_reserved",
            "empty_message",
            *PART_CODES,
            "part_not_supported",
            "unknown_adapter",
            "invalid_config",
            "invalid_session_id",
        ),
        403: refusal("The API key is bound to another username", "username_not_allowed", "session_not_yours"),
        404: refusal("Bot not found or not running for platform: X", "bot_not_running"),
        502: refusal("The webhook receiver could not be reached", "delivery_failed"),
        503: refusal(
            "The database is not available at the moment; nothing was changed",
            "database_unavailable",
            "storage_unavailable",
        ),
        504: refusal("The webhook receiver did not answer in time", "delivery_timeout"),
    },
)
async def send_message() -> Response:
    body = await json_object()
    for key in ("umo", "message"):
        if body.get(key) is None:
            raise BadRequest(f"Missing key: {key}", code="missing_key")
    umo = parse_umo(body["umo"])
    claim = claim_of(caller().key_id, "im", request.headers.get("Idempotency-Key"), body)
    receipt = await service(BotService).send(umo, parse_parts(body["message"], service(PartLimits)), caller(), claim)
    return ok({"message_id": receipt.message_id, "umo": str(umo)})


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


_BOT_ID = Param("bot_id", "The bot's platform id.", {"type": "string", "pattern": ID_PATTERN}, where="path")
_BOT = Answer("The bot", BotItem, envelope="ApiResponseBot")
_NEW_BOT = {name: example_of(BotItem)[name] for name in ("id", "adapter", "name", "config")}
_NOT_FOUND = {404: refusal("Bot not found", "bot_not_found")}
_BOUND = {403: refusal("The API key is bound to a username", "username_not_allowed")}


@blueprint.get("/api/v1/bots")
@bot_operation(
    "listBots",
    "List bots",
    description="Every bot that was made, enabled or not, without its secrets. The built-in `webchat` is not listed. "
    "Bots are everyone's: a key bound to a username manages none.",
    answers={200: Answer("The bots", BotItems, envelope="ApiResponseBots")},
    errors=_BOUND,
)
async def list_bots() -> Response:
    caller().check_unbound()
    return ok(BotItems([shape_of(BotItem, bot) for bot in await service(BotService).list_bots()]))


@blueprint.post("/api/v1/bots")
@bot_operation(
    "createBot",
    "Create a bot",
    description="The adapter `webhook` takes `config.url`, and `config.secret` (Standard Webhooks, `whsec_...`) which "
    "is generated unless given. Secrets are kept encrypted; only a generated one is shown, in this answer.",
    body=Body(CreateBotRequest, {"webhook": _NEW_BOT}),
    answers={201: Answer("The bot", BotWithSecrets, envelope="ApiResponseBotWithSecrets")},
    errors={
        400: refusal("id is reserved: webchat", "id_reserved", "invalid_id", "unknown_adapter", "invalid_config"),
        **_BOUND,
        409: refusal("Bot already exists: support-hook", "bot_exists"),
    },
)
async def create_bot() -> Response:
    caller().check_unbound()
    new = convert(await json_object(), CreateBotRequest)
    bot, secrets = await service(BotService).create(
        id=new.id, adapter=new.adapter, config=new.config, name=new.name, enabled=new.enabled
    )
    return ok(shape_of(BotWithSecrets, bot, generated_secrets=secrets), 201)


@blueprint.get("/api/v1/bots/<bot_id>")
@bot_operation(
    "getBot",
    "Get a bot",
    description="One bot, without its secrets.",
    params=[_BOT_ID],
    answers={200: _BOT},
    errors={**_BOUND, **_NOT_FOUND},
)
async def get_bot(bot_id: str) -> Response:
    caller().check_unbound()
    return ok(shape_of(BotItem, await service(BotService).get(bot_id)))


@blueprint.patch("/api/v1/bots/<bot_id>")
@bot_operation(
    "updateBot",
    "Change a bot",
    description="Changes what is given, at once. Members of `config` that are not given stay; `null` brings one back "
    'to its default. `{"config":{"secret":null}}` gives a webhook a new secret, shown in this answer only.',
    params=[_BOT_ID],
    body=Body(UpdateBotRequest, {"disable": {"enabled": False}, "new secret": {"config": {"secret": None}}}),
    answers={
        200: Answer(
            "The bot as it is now",
            BotWithSecrets,
            example_of(BotWithSecrets, generated_secrets={}),
            envelope="ApiResponseBotWithSecrets",
        )
    },
    errors={
        400: refusal(
            "name must be 1 to 100 printable characters", "invalid_request", "unknown_adapter", "invalid_config"
        ),
        **_BOUND,
        **_NOT_FOUND,
    },
)
async def update_bot(bot_id: str) -> Response:
    caller().check_unbound()
    changes = convert(await json_object(), UpdateBotRequest)
    bot, secrets = await service(BotService).update(
        bot_id, name=changes.name, enabled=changes.enabled, config=changes.config
    )
    return ok(shape_of(BotWithSecrets, bot, generated_secrets=secrets))


@blueprint.delete("/api/v1/bots/<bot_id>")
@bot_operation(
    "deleteBot",
    "Delete a bot",
    description="Deletes a bot and its secrets. Messages under way are still sent.",
    params=[_BOT_ID],
    answers={200: empty("It is gone")},
    errors={**_BOUND, **_NOT_FOUND},
)
async def delete_bot(bot_id: str) -> Response:
    caller().check_unbound()
    await service(BotService).delete(bot_id)
    return ok({})
