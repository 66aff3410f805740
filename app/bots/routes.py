"""`/api/v1/bots`: the bots."""

from functools import partial

from quart import Blueprint, Response

from app.auth.guards import caller
from app.auth.scopes import Scope
from app.auth.trail import audited, set_target
from app.bots.schemas import (
    BotIdentityItem,
    BotItem,
    BotItems,
    BotWithConnection,
    BotWithSecrets,
    ConnectionItem,
    CreateBotRequest,
    DecidePairingRequest,
    KindItem,
    KindItems,
    PairingItem,
    PairingItems,
    UpdateBotRequest,
)
from app.bots.service import ID_PATTERN, BotService
from app.edge.bodies import convert, json_object
from app.edge.operation import Answer, Body, Param, empty, operation, refusal
from app.edge.responses import ok
from app.edge.schemas import example_of, shape_of
from app.edge.services import service

blueprint = Blueprint("bots", __name__)
bot_operation = partial(operation, scope=Scope.ADMIN, tag="Management")

_BOT_ID = Param("bot_id", "The bot's platform id.", {"type": "string", "pattern": ID_PATTERN}, where="path")
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


@blueprint.get("/api/v1/im/adapters")
@bot_operation(
    "listBotAdapters",
    "List the kinds of bots",
    description="The kinds of bots that can be made, with the JSON Schema of each one's `config`, for forms.",
    answers={200: Answer("The kinds", KindItems, envelope="ApiResponseBotAdapters")},
    errors=_BOUND,
)
async def list_adapters() -> Response:
    caller().check_unbound()
    return ok(KindItems([KindItem(*kind) for kind in service(BotService).kinds()]))


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
@audited("bot.created")
async def create_bot() -> Response:
    caller().check_unbound()
    new = convert(await json_object(), CreateBotRequest)
    bot, secrets = await service(BotService).create(
        id=new.id, adapter=new.adapter, config=new.config, name=new.name, enabled=new.enabled
    )
    set_target(bot.id)
    return ok(shape_of(BotWithSecrets, bot, generated_secrets=secrets), 201)


@blueprint.get("/api/v1/bots/<bot_id>")
@bot_operation(
    "getBot",
    "Get a bot",
    description="One bot, without its secrets, and how its connection is.",
    params=[_BOT_ID],
    answers={200: Answer("The bot", BotWithConnection, envelope="ApiResponseBotWithConnection")},
    errors={**_BOUND, **_NOT_FOUND},
)
async def get_bot(bot_id: str) -> Response:
    caller().check_unbound()
    bot = await service(BotService).get(bot_id)
    connection = await service(BotService).connection(bot_id)
    item = None if connection is None else shape_of(ConnectionItem, connection)
    return ok(shape_of(BotWithConnection, bot, connection=item))


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
@audited("bot.changed")
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
@audited("bot.deleted")
async def delete_bot(bot_id: str) -> Response:
    caller().check_unbound()
    await service(BotService).delete(bot_id)
    return ok({})


@blueprint.post("/api/v1/bots/<bot_id>/test")
@bot_operation(
    "testBot",
    "Test a bot",
    description="Asks the platform who the bot is. Nobody sees anything of it.",
    params=[_BOT_ID],
    answers={200: Answer("The platform knows the bot", BotIdentityItem, envelope="ApiResponseBotIdentity")},
    errors={
        400: refusal("Bots of this kind cannot be tested", "not_testable"),
        **_BOUND,
        404: refusal("Bot not found or not running for platform: X", "bot_not_running"),
        502: refusal("Telegram does not accept the bot's token", "delivery_failed"),
        504: refusal("Telegram did not answer in time", "delivery_timeout"),
    },
)
async def test_bot(bot_id: str) -> Response:
    caller().check_unbound()
    identity = await service(BotService).check(bot_id)
    return ok(BotIdentityItem(identity.id, identity.name))


_CODE = Param("code", "The code that the person was given.", {"type": "string"}, where="path")


@blueprint.get("/api/v1/bots/<bot_id>/pairings")
@bot_operation(
    "listPairings",
    "List pairings",
    description="The people who asked to talk to the bot, and what was decided.",
    params=[_BOT_ID],
    answers={200: Answer("The pairings", PairingItems, envelope="ApiResponsePairings")},
    errors={**_BOUND, **_NOT_FOUND},
)
async def list_pairings(bot_id: str) -> Response:
    caller().check_unbound()
    pairings = await service(BotService).list_pairings(bot_id)
    return ok(PairingItems([shape_of(PairingItem, pairing) for pairing in pairings]))


@blueprint.post("/api/v1/bots/<bot_id>/pairings/<code>")
@bot_operation(
    "decidePairing",
    "Decide a pairing",
    description="Lets the person who was given the code talk to the bot, or not. The decision can be changed.",
    params=[_BOT_ID, _CODE],
    body=Body(DecidePairingRequest, {"approve": {"approve": True}}),
    answers={200: Answer("The pairing", PairingItem, envelope="ApiResponsePairing")},
    errors={**_BOUND, 404: refusal("Pairing not found", "pairing_not_found", "bot_not_found")},
)
@audited("bot.pairing_decided")
async def decide_pairing(bot_id: str, code: str) -> Response:
    caller().check_unbound()
    decision = convert(await json_object(), DecidePairingRequest)
    return ok(shape_of(PairingItem, await service(BotService).decide_pairing(bot_id, code, decision.approve)))
