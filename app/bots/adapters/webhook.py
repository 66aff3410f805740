"""Messages to an address of the operator's, signed by the Standard Webhooks scheme."""

from collections.abc import Callable, Sequence
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from app.bots.adapters.base import (
    AdapterFactory,
    Attached,
    Call,
    Capabilities,
    Fragment,
    OutgoingPart,
    Receipt,
    Repeat,
    Target,
)
from app.bots.adapters.config import checked_url, invalid_config
from app.bots.adapters.http import Network, PlatformAnswer
from app.bots.adapters.inbound import DoorAnswer, DoorRequest, InboundEvent, Quoted
from app.bots.adapters.outcomes import DeliveryError
from app.bots.adapters.signing import CALL_SECONDS, new_secret, parse_secret, post_signed
from app.bots.umo import MessageType, Umo, parse_umo
from app.chat.parts import Reply, Text
from app.clock import iso, utc_now
from app.errors import BadRequest

ADAPTER = "webhook"
MAX_MESSAGE_ID_CHARS = 255
PLATFORM = "The webhook receiver"


class WebhookConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`url` takes the messages; `secret` (`whsec_` and base64 of 24 to 64 bytes) signs them."""

    url: str
    secret: str

    def __repr__(self) -> str:
        return f"WebhookConfig(url={self.url!r})"


def webhook_factory(
    network: Network, *, count: Callable[[str], None] = lambda _outcome: None
) -> AdapterFactory[WebhookConfig]:
    """Describe the kind `webhook`; `count` is told how each try ended: `delivered` or `failed`."""

    def build(platform_id: str, config: WebhookConfig) -> WebhookAdapter:
        return WebhookAdapter(platform_id, config, network, count=count)

    return AdapterFactory(
        name=ADAPTER,
        config_type=WebhookConfig,
        build=build,
        secret_fields=frozenset({"secret"}),
        generate=lambda: {"secret": new_secret()},
    )


class IncomingSender(msgspec.Struct):
    id: Annotated[str, Meta(min_length=1, max_length=255)]
    name: Annotated[str, Meta(max_length=255)] = ""


class IncomingData(msgspec.Struct):
    message_type: MessageType
    session_id: Annotated[str, Meta(min_length=1, max_length=500)]
    sender: IncomingSender
    text: Annotated[str, Meta(min_length=1, max_length=200_000)]
    message_id: Annotated[str, Meta(max_length=255)] = ""
    reply_to: str | None = None


class IncomingMessage(msgspec.Struct):
    """A message on its way in: `{"type": "message.receive", "data": {...}}`."""

    type: Literal["message.receive"]
    data: IncomingData


class WebhookAdapter:
    """Posts each message to the bot's URL. A receiver tells repeats by their `webhook-id`."""

    def __init__(
        self,
        platform_id: str,
        config: WebhookConfig,
        network: Network,
        *,
        count: Callable[[str], None] = lambda _outcome: None,
    ) -> None:
        self._platform_id = platform_id
        self._url = checked_url(config.url, "url", allow_private=network.allow_private)
        self._webhook = _signer(config.secret)
        self._client = network.client(PLATFORM)
        self._count = count

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(repeat=Repeat("keyed"), call_seconds=CALL_SECONDS)

    def plan(self, target: Target, parts: Sequence[OutgoingPart]) -> list[Fragment]:
        # One body for all tries.
        return [Fragment(_payload(self._platform_id, target, parts))]

    async def deliver(self, call: Call) -> Receipt:
        body = msgspec.json.encode(call.fragment.payload)
        try:
            answer = await post_signed(self._client, self._url, self._webhook, f"msg_{call.wire_key}", body, PLATFORM)
        except DeliveryError:
            self._count("failed")
            raise
        self._count("delivered")
        return Receipt(_message_id(answer))

    async def close(self) -> None:
        await self._client.close()

    async def receive(self, request: DoorRequest) -> DoorAnswer:
        """Read a message that a program of the operator's passes on, signed as ours are."""
        try:
            self._webhook.verify(request.body, dict(request.headers))
        except WebhookVerificationError:
            return DoorAnswer(401, reason="The signature is wrong, or too old")
        try:
            message = msgspec.json.decode(request.body, type=IncomingMessage).data
            umo = parse_umo(f"{self._platform_id}:{message.message_type}:{message.session_id}")
        except (msgspec.ValidationError, msgspec.DecodeError, RecursionError) as error:
            return DoorAnswer(400, reason=str(error))
        except BadRequest as error:
            return DoorAnswer(400, reason=error.message)
        event = InboundEvent(
            dedupe_key=f"webhook:{request.headers.get('webhook-id', '')}",
            message_type=umo.message_type,
            session_id=umo.session_id,
            sender_id=message.sender.id,
            sender_name=message.sender.name,
            happened_at=utc_now(),
            text=message.text,
            quote=None if message.reply_to is None else Quoted(message.reply_to),
            platform_id=message.message_id,
        )
        return DoorAnswer(202, b'{"status":"accepted"}', events=[event])


def _payload(platform_id: str, target: Target, parts: Sequence[OutgoingPart]) -> dict[str, Any]:
    return {
        "type": "message.send",
        "timestamp": iso(utc_now()),
        "data": {
            "umo": str(Umo(platform_id, target.message_type, target.session_id)),
            "platform_id": platform_id,
            "message_type": target.message_type,
            "session_id": target.session_id,
            "parts": [_part(part) for part in parts],
        },
    }


def _part(part: OutgoingPart) -> dict[str, Any]:
    if isinstance(part, Text):
        return {"type": "plain", "text": part.text}
    if isinstance(part, Reply):
        return {"type": "reply", "message_id": part.message_id, "selected_text": part.selected_text}
    return _media(part)


def _media(part: Attached) -> dict[str, Any]:
    return {
        "type": part.media.kind,
        "attachment_id": part.attachment.id,
        "filename": part.media.filename or part.attachment.filename,
        "media_type": part.attachment.media_type,
        "size": part.attachment.size,
        "sha256": part.attachment.sha256,
    }


def _signer(secret: str) -> Webhook:
    """Make the signer of a bot's secret. Raises BadRequest, without the secret in it."""
    try:
        return parse_secret(secret)
    except ValueError as error:
        raise invalid_config(f"secret {error}") from None


def _message_id(answer: PlatformAnswer) -> str | None:
    """Read the `message_id` in the receiver's JSON, None without one: the message was taken, whatever the body is."""
    message_id = answer.object.get("message_id")
    if isinstance(message_id, bool) or not isinstance(message_id, (str, int)):
        return None
    return str(message_id)[:MAX_MESSAGE_ID_CHARS] or None
