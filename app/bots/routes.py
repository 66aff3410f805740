"""`/api/v1/im/*`: messages through bots; `/api/v1/bots`: the bots themselves."""

from quart import Blueprint, Response, request

from app.auth.guards import caller
from app.auth.scopes import Scope
from app.bots import examples
from app.bots.schemas import BotItem, BotItems, BotList, BotWithSecrets, CreateBotRequest, UpdateBotRequest
from app.bots.service import BotService
from app.bots.umo import parse_umo
from app.chat.parts import PartLimits, parse_parts
from app.edge.bodies import convert, json_object
from app.edge.operation import IDEMPOTENCY_KEY, operation
from app.edge.responses import ok
from app.edge.services import service
from app.errors import BadRequest
from app.idempotency import claim_of

TAG = "Management"

blueprint = Blueprint("im", __name__)


@blueprint.post("/api/v1/im/message")
@operation(
    "sendImMessage",
    "Send proactive message to a platform bot",
    scope=Scope.IM,
    description="Hands a message to the bot of the umo's platform, and answers when the platform has taken it. "
    "`webchat` adds a bot message to that chat session, which is created if need be.",
    params=[IDEMPOTENCY_KEY],
    body=examples.SEND,
    answers=examples.SENT,
    errors=examples.SEND_ERRORS,
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
    answers=examples.IDS,
)
async def list_bot_ids() -> Response:
    return ok(BotList(await service(BotService).running_ids()))


@blueprint.get("/api/v1/bots")
@operation(
    "listBots",
    "List bots",
    scope=Scope.ADMIN,
    description="Every bot that was made, enabled or not, without its secrets. The built-in `webchat` is not listed. "
    "Bots are everyone's: a key bound to a username manages none.",
    answers=examples.LISTED,
    tag=TAG,
)
async def list_bots() -> Response:
    caller().check_unbound()
    return ok(BotItems([BotItem.of(bot) for bot in await service(BotService).list_bots()]))


@blueprint.post("/api/v1/bots")
@operation(
    "createBot",
    "Create a bot",
    scope=Scope.ADMIN,
    description="The adapter `webhook` takes `config.url`, and `config.secret` (Standard Webhooks, `whsec_...`) which "
    "is generated unless given. Secrets are kept encrypted; only a generated one is shown, in this answer.",
    body=examples.CREATE,
    answers=examples.CREATED,
    errors=examples.CREATE_ERRORS,
    tag=TAG,
)
async def create_bot() -> Response:
    caller().check_unbound()
    new = convert(await json_object(), CreateBotRequest)
    bot, secrets = await service(BotService).create(
        id=new.id, adapter=new.adapter, config=new.config, name=new.name, enabled=new.enabled
    )
    return ok(BotWithSecrets.with_secrets(bot, secrets), 201)


@blueprint.get("/api/v1/bots/<bot_id>")
@operation(
    "getBot",
    "Get a bot",
    scope=Scope.ADMIN,
    description="One bot, without its secrets.",
    params=[examples.BOT_ID],
    answers=examples.ONE,
    errors=examples.NOT_FOUND,
    tag=TAG,
)
async def get_bot(bot_id: str) -> Response:
    caller().check_unbound()
    return ok(BotItem.of(await service(BotService).get(bot_id)))


@blueprint.patch("/api/v1/bots/<bot_id>")
@operation(
    "updateBot",
    "Change a bot",
    scope=Scope.ADMIN,
    description="Changes what is given, at once. Members of `config` that are not given stay; `null` brings one back "
    'to its default. `{"config":{"secret":null}}` gives a webhook a new secret, shown in this answer only.',
    params=[examples.BOT_ID],
    body=examples.UPDATE,
    answers=examples.UPDATED,
    errors=examples.UPDATE_ERRORS,
    tag=TAG,
)
async def update_bot(bot_id: str) -> Response:
    caller().check_unbound()
    changes = convert(await json_object(), UpdateBotRequest)
    bot, secrets = await service(BotService).update(
        bot_id, name=changes.name, enabled=changes.enabled, config=changes.config
    )
    return ok(BotWithSecrets.with_secrets(bot, secrets))


@blueprint.delete("/api/v1/bots/<bot_id>")
@operation(
    "deleteBot",
    "Delete a bot",
    scope=Scope.ADMIN,
    description="Deletes a bot and its secrets. Messages under way are still sent.",
    params=[examples.BOT_ID],
    answers=examples.DELETED,
    errors=examples.NOT_FOUND,
    tag=TAG,
)
async def delete_bot(bot_id: str) -> Response:
    caller().check_unbound()
    await service(BotService).delete(bot_id)
    return ok({})
