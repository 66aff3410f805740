"""`/api/v1/bots`: the bots."""

from functools import partial

from quart import Blueprint, Response

from app.auth.guards import caller
from app.auth.scopes import Scope
from app.bots.schemas import BotItem, BotItems, BotWithSecrets, CreateBotRequest, UpdateBotRequest
from app.bots.service import ID_PATTERN, BotService
from app.edge.bodies import convert, json_object
from app.edge.operation import Answer, Body, Param, empty, operation, refusal
from app.edge.responses import ok
from app.edge.schemas import example_of, shape_of
from app.edge.services import service

blueprint = Blueprint("bots", __name__)
bot_operation = partial(operation, scope=Scope.ADMIN, tag="Management")

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
