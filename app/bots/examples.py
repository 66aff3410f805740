"""Answers, errors and examples of bots, for the published document."""

from app.bots.schemas import (
    BotItem,
    BotItems,
    BotList,
    BotWithSecrets,
    CreateBotRequest,
    SendMessageRequest,
    UpdateBotRequest,
)
from app.bots.service import ID_PATTERN
from app.edge.operation import Answer, Body, Param

_UMO = "webchat:FriendMessage:openapi_probe"
_BOT = {
    "id": "support-hook",
    "adapter": "webhook",
    "name": "Support",
    "enabled": True,
    "config": {"url": "https://hooks.example.com/palaver"},
    "created_at": "2026-11-21T01:20:58.571438+00:00",
    "updated_at": "2026-11-21T01:20:58.571438+00:00",
}
_NEW_BOT = {field: _BOT[field] for field in ("id", "adapter", "name", "config")}
_SECRETS = {"secret": "whsec_bm90LWEtcmVhbC1zZWNyZXQtYnV0LWEtc2hhcGU="}
_EMPTY = {"type": "object", "additionalProperties": True}

BOT_ID = Param(
    "bot_id", "The bot's platform id.", {"type": "string", "pattern": ID_PATTERN}, where="path", required=True
)
NOT_FOUND = {404: "Bot not found"}

SEND = Body(
    SendMessageRequest,
    examples={
        "plain": {"umo": _UMO, "message": "ping from api key"},
        "chain": {
            "umo": _UMO,
            "message": [
                {"type": "plain", "text": "hello"},
                {"type": "image", "attachment_id": "9a2f8c72-e7af-4c0e-b352-111111111111"},
            ],
        },
    },
)
SEND_ERRORS = {
    400: "Missing key: umo",
    404: "Bot not found or not running for platform: X",
    422: "This Idempotency-Key was used with another request body",
    502: "The webhook receiver could not be reached",
    503: "The database is not available at the moment; nothing was changed",
    504: "The webhook receiver did not answer in time",
}
CREATE = Body(CreateBotRequest, examples={"webhook": _NEW_BOT})
CREATE_ERRORS = {400: "id is reserved: webchat", 409: "Bot already exists: support-hook"}
UPDATE = Body(UpdateBotRequest, examples={"disable": {"enabled": False}, "new secret": {"config": {"secret": None}}})
UPDATE_ERRORS = {400: "name must be 1 to 100 printable characters", **NOT_FOUND}

SENT = {
    200: Answer(
        "The platform has taken the message; `message_id` is the platform's own, if it gave one",
        _EMPTY,
        envelope="ApiResponseEmpty",
        example={"message_id": "42", "umo": _UMO},
    )
}
IDS = {200: Answer("The ids", BotList, envelope="ApiResponseBotList", example={"bot_ids": ["webchat", "support-hook"]})}
LISTED = {200: Answer("The bots", BotItems, envelope="ApiResponseBots", example={"bots": [_BOT]})}
CREATED = {
    201: Answer(
        "The bot",
        BotWithSecrets,
        envelope="ApiResponseBotWithSecrets",
        example={**_BOT, "generated_secrets": _SECRETS},
    )
}
ONE = {200: Answer("The bot", BotItem, envelope="ApiResponseBot", example=_BOT)}
UPDATED = {
    200: Answer(
        "The bot as it is now",
        BotWithSecrets,
        envelope="ApiResponseBotWithSecrets",
        example={**_BOT, "generated_secrets": {}},
    )
}
DELETED = {200: Answer("It is gone", _EMPTY, envelope="ApiResponseEmpty", example={})}
