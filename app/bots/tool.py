"""The tool `message`: the model writes through a bot, to targets that the profile lists."""

from collections.abc import Mapping
from typing import Any

import msgspec

from app.auth.models import Principal
from app.bots.outbox.models import Delivery, DeliveryState
from app.bots.sending import MessageService
from app.bots.umo import Umo, parse_umo
from app.chat.parts import MAX_ID_CHARS
from app.tools.models import CallContext, CallStatus, ToolError, ToolResult, ToolSpec, matches

MAX_CONTENT_CHARS = 20_000
MAX_MEDIA = 10
_ID = {"type": "string", "minLength": 1, "maxLength": MAX_ID_CHARS}


class MessageTool:
    """Sends a message. Only the profile says where to: no prompt, page or document can name another target."""

    timeout_seconds = 60.0
    spec = ToolSpec(
        "message",
        "Sends a message through a bot to a chat on its platform, and tells whether it was delivered. Name the chat by "
        "channel and chat_id, or by umo. Do not use it to answer the user you are talking to.",
        {
            "type": "object",
            "properties": {
                "content": {"type": "string", "maxLength": MAX_CONTENT_CHARS, "description": "The text."},
                "channel": {**_ID, "description": "The bot's id."},
                "chat_id": {**_ID, "description": "The chat's id on the platform: a person's."},
                "umo": {**_ID, "description": "platform_id:message_type:session_id, instead of channel and chat_id."},
                "media": {
                    "type": "array",
                    "maxItems": MAX_MEDIA,
                    "items": _ID,
                    "description": "Ids of attachments to send along.",
                },
            },
            "required": ["content"],
            "additionalProperties": False,
        },
    )

    def __init__(self, messages: MessageService) -> None:
        self._messages = messages

    async def call(self, arguments: Mapping[str, Any], context: CallContext) -> ToolResult:
        umo = _target(arguments)
        if not matches(str(umo), context.targets):
            raise ToolError(f"Messages may not be sent to {umo}: the profile does not list it")
        text = arguments["content"].strip()
        media = arguments.get("media", [])
        if not text and not media:
            raise ToolError("The message is empty")
        key = Principal(context.key_id, self.spec.name, frozenset())
        delivery = await self._messages.send_for_user(umo, text, media, key, context.username, context.key)
        return _receipt(delivery)


def _target(arguments: Mapping[str, Any]) -> Umo:
    if umo := arguments.get("umo"):
        return parse_umo(umo)
    channel, chat_id = arguments.get("channel"), arguments.get("chat_id")
    if not channel or not chat_id:
        raise ToolError("Name the chat by channel and chat_id, or by umo")
    if ":" in channel:  # it would move the border between the bot's id and the chat's
        raise ToolError("The channel is the id of a bot, which has no colon")
    return parse_umo(f"{channel}:FriendMessage:{chat_id}")


def _receipt(delivery: Delivery) -> ToolResult:
    """Tell the model what became of the message; `failed` stands for all states in which it did not arrive."""
    receipt: dict[str, str | None] = {"delivery_id": delivery.id}
    if delivery.state is DeliveryState.SENT:
        receipt |= {"state": "sent", "message_id": next(iter(delivery.message_ids), None)}
        return ToolResult(msgspec.json.encode(receipt).decode(), CallStatus.OK)
    state = delivery.state.value if delivery.state in (DeliveryState.UNKNOWN, DeliveryState.PARTIAL) else "failed"
    receipt |= {"state": state, "error": delivery.error}
    return ToolResult(msgspec.json.encode(receipt).decode(), CallStatus.FAILED)
