"""Telegram: the Bot API over HTTP (https://core.telegram.org/bots/api)."""

import asyncio
import hmac
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Annotated, Any

import aiohttp
import msgspec
from msgspec import Meta

from app.bots.adapters.base import (
    AdapterFactory,
    Attached,
    BotIdentity,
    Call,
    Capabilities,
    Fragment,
    OutgoingPart,
    Receipt,
    Target,
)
from app.bots.adapters.config import PlatformConfig, Url, checked_secret, checked_url
from app.bots.adapters.fields import object_in
from app.bots.adapters.http import CALL_SECONDS, Network, PlatformAnswer, server_failure
from app.bots.adapters.inbound import DoorAnswer, DoorRequest, InboundMedia, Inbox
from app.bots.adapters.outcomes import (
    DeliveryError,
    EditImpossible,
    NotSent,
    RateLimited,
    Refused,
    TargetGone,
    Unauthorized,
    Unknown,
)
from app.bots.adapters.planning import plan_parts
from app.bots.adapters.telegram_events import UPDATES, event_of
from app.bots.formatting.dialects import to_plain, to_telegram
from app.bots.formatting.splitting import TextLimit, split
from app.bots.umo import invalid_umo

ADAPTER = "telegram"
PLATFORM = "Telegram"
API_BASE_URL = "https://api.telegram.org"
MAX_TEXT = TextLimit(4096, "utf16")
MAX_UPLOAD_BYTES = 50 * 1024**2
MAX_PHOTO_BYTES = 10 * 1024**2
DEFAULT_WAIT = 5.0
UPLOAD_SECONDS = 120.0
POLL_SECONDS = 50

_SESSION = re.compile(r"(?P<chat>-?[0-9]{1,20}|@[A-Za-z][A-Za-z0-9_]{3,31})(#(?P<thread>[0-9]{1,20}))?")
_GONE = (
    "chat not found",
    "user is deactivated",
    "bot was kicked",
    "bot was blocked",
    "bot is not a member",
    "group chat was deleted",
    "peer_id_invalid",
)
_NOT_EDITABLE = ("message to edit not found", "message can't be edited", "message_id_invalid")
_METHODS = {
    "photo": "sendPhoto",
    "animation": "sendAnimation",
    "voice": "sendVoice",
    "audio": "sendAudio",
    "video": "sendVideo",
    "document": "sendDocument",
}


class TelegramConfig(PlatformConfig, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`telegram_token` is BotFather's. The base URLs are those of a Bot API server of one's own.

    With `webhook_url`, the address of the bot's webhook as Telegram reaches it, updates are posted there; otherwise
    they are fetched.
    """

    telegram_token: Annotated[str, Meta(max_length=255)]
    telegram_api_base_url: Url | None = None
    telegram_file_base_url: Url | None = None
    webhook_url: Url | None = None
    webhook_uuid: Annotated[str, Meta(max_length=64)] | None = None

    def __repr__(self) -> str:
        return f"TelegramConfig(api_base_url={self.api_base_url!r})"


def telegram_factory(network: Network) -> AdapterFactory[TelegramConfig]:
    """Describe the kind `telegram`."""
    return AdapterFactory(
        name=ADAPTER,
        config_type=TelegramConfig,
        build=lambda _bot_id, config: TelegramAdapter(config, network),
        secret_fields=frozenset({"telegram_token"}),
    )


class TelegramAdapter:
    """One bot on Telegram."""

    capabilities = Capabilities(
        text=MAX_TEXT, edits=True, live_seconds=3.0, typing_seconds=5.0, max_upload_bytes=MAX_UPLOAD_BYTES
    )

    def __init__(self, config: TelegramConfig, network: Network) -> None:
        token = checked_secret(config.telegram_token, "telegram_token")
        self._webhook_url = config.webhook_url
        if config.webhook_url is not None:
            checked_url(config.webhook_url, "webhook_url", allow_private=True)
        # Telegram repeats it with each update; only who has the token can know it.
        self._secret = hmac.digest(token.encode(), b"palaver telegram webhook", "sha256").hex()
        self._me: BotIdentity | None = None
        base = config.api_base_url or (config.telegram_api_base_url or API_BASE_URL).rstrip("/").removesuffix("/bot")
        self._base = checked_url(base, "api_base_url", allow_private=network.allow_private)
        self._methods = self._base.joinpath(f"bot{token}", encoded=True)
        files = (config.telegram_file_base_url or str(self._base / "file")).rstrip("/").removesuffix("/bot")
        self._files = checked_url(files, "telegram_file_base_url", allow_private=network.allow_private).joinpath(
            f"bot{token}", encoded=True
        )
        self._client = network.client(PLATFORM)

    def plan(self, target: Target, parts: Sequence[OutgoingPart]) -> list[Fragment]:
        _chat(target)
        return plan_parts(parts, _texts, _media)

    async def deliver(self, call: Call) -> Receipt:
        fragment, chat = call.fragment, _chat(call.target)
        if fragment.action == "delete":
            await self._call("deleteMessage", {"chat_id": chat["chat_id"], "message_id": fragment.platform_id})
            return Receipt(fragment.platform_id)
        if fragment.action == "edit":
            return await self._edit(fragment, chat)
        payload = fragment.payload
        body = {**chat, **_quotation(payload)}
        if "kind" not in payload:
            return await self._sent("sendMessage", {**body, **_text_fields(payload)})
        assert call.file is not None
        form = {**body, "caption": payload.get("caption")}
        file = (payload["kind"], await call.file.read(), payload["filename"], call.file.attachment.media_type)
        return await self._sent(_METHODS[payload["kind"]], form, file)

    async def typing(self, target: Target) -> None:
        await self._call("sendChatAction", {**_chat(target), "action": "typing"})

    async def check(self) -> BotIdentity:
        me = await self._call("getMe", {})
        return BotIdentity(str(me["id"]), str(me.get("first_name", "")), (str(me.get("username", "")),))

    # Receiving

    silence_seconds = 3 * POLL_SECONDS

    async def listen(self, inbox: Inbox) -> None:
        me = self._me = await self.check()
        if self._webhook_url is not None:
            await self._call(
                "setWebhook",
                {"url": self._webhook_url, "secret_token": self._secret, "allowed_updates": UPDATES},
            )
            await inbox.connected(me)
            while True:
                await asyncio.sleep(POLL_SECONDS)
                await self._call("getWebhookInfo", {})
                inbox.alive()
        await self._call("deleteWebhook", {})
        await inbox.connected(me)
        offset = int((await inbox.checkpoint()).get("offset", 0))
        while True:
            body = {"offset": offset, "timeout": POLL_SECONDS, "allowed_updates": UPDATES}
            updates = await self._request("getUpdates", body, seconds=POLL_SECONDS + 20)
            inbox.alive()
            if isinstance(updates, list) and updates:
                offset = max(int(update["update_id"]) for update in updates) + 1
                await inbox.accept([event_of(update, me) for update in updates], {"offset": offset})

    async def receive(self, request: DoorRequest) -> DoorAnswer:
        given = request.headers.get("x-telegram-bot-api-secret-token", "")
        if not hmac.compare_digest(given.encode(), self._secret.encode()):
            return DoorAnswer(401)
        if self._me is None:
            self._me = await self.check()
        try:
            update = msgspec.json.decode(request.body, type=dict[str, Any])
        except msgspec.DecodeError:
            return DoorAnswer(400)
        return DoorAnswer(events=[event_of(update, self._me)])

    async def fetch(self, media: InboundMedia) -> AsyncIterator[bytes]:
        file = await self._call("getFile", {"file_id": media.reference["file_id"]})
        url = self._files.joinpath(str(file.get("file_path", "")), encoded=False)
        async for chunk in self._client.download(url):
            yield chunk

    async def close(self) -> None:
        await self._client.close()

    async def _edit(self, fragment: Fragment, chat: Mapping[str, Any]) -> Receipt:
        body = {"chat_id": chat["chat_id"], "message_id": fragment.platform_id, **_text_fields(fragment.payload)}
        try:
            await self._call("editMessageText", body)
        except Refused as error:
            if "message is not modified" not in error.message:
                raise
        return Receipt(fragment.platform_id)

    async def _sent(
        self, method: str, body: Mapping[str, Any], file: tuple[str, bytes, str, str] | None = None
    ) -> Receipt:
        try:
            result = await self._call(method, body, file)
        except _Moved as moved:  # the group has a new number; nothing was sent to the old one
            result = await self._call(method, {**body, "chat_id": moved.chat_id}, file)
            return Receipt(str(result["message_id"]), {"moved_to": moved.chat_id})
        return Receipt(str(result["message_id"]))

    async def _call(
        self, method: str, body: Mapping[str, Any], file: tuple[str, bytes, str, str] | None = None
    ) -> dict[str, Any]:
        """Call a method, and return its result, empty if it is no object. Raises DeliveryError."""
        result = await self._request(method, body, file)
        return result if isinstance(result, dict) else {}

    async def _request(
        self,
        method: str,
        body: Mapping[str, Any],
        file: tuple[str, bytes, str, str] | None = None,
        seconds: float = CALL_SECONDS,
    ) -> Any:
        url = self._methods / method
        fields = {name: value for name, value in body.items() if value is not None}
        if file is None:
            answer = await self._client.request("POST", url, json=fields, seconds=seconds)
        else:
            answer = await self._client.request("POST", url, data=_form(fields, file), seconds=UPLOAD_SECONDS)
        value = answer.object
        if value.get("ok") is True:
            return value.get("result")
        raise _failure(answer)


class _Moved(DeliveryError):
    """The group has become a supergroup, which has another number."""

    def __init__(self, chat_id: int) -> None:
        super().__init__("The group has moved")
        self.chat_id = chat_id


def _chat(target: Target) -> dict[str, Any]:
    """The chat, and the topic in it. Raises BadRequest."""
    match = _SESSION.fullmatch(target.session_id)
    if match is None:
        raise invalid_umo("a Telegram session is a chat's number, chat#topic, or @channel")
    chat, thread = match["chat"], match["thread"]
    return {
        "chat_id": chat if chat.startswith("@") else int(chat),
        **({} if thread is None else {"message_thread_id": int(thread)}),
    }


def _texts(text: str) -> list[Fragment]:
    return [
        Fragment({"text": to_telegram(piece), "html": True}, {"text": to_plain(piece)})
        for piece in split(text, MAX_TEXT, to_telegram)
    ]


def _media(part: Attached) -> Fragment:
    media_type, size = part.attachment.media_type, part.attachment.size
    kind = "document"
    if part.media.kind == "image" and media_type == "image/gif":
        kind = "animation"
    elif (
        part.media.kind == "image"
        and size <= MAX_PHOTO_BYTES
        and media_type in ("image/jpeg", "image/png", "image/webp")
    ):
        kind = "photo"
    elif part.media.kind == "record" and media_type in ("audio/ogg", "application/ogg"):
        kind = "voice"
    elif part.media.kind == "record" and media_type in ("audio/mpeg", "audio/mp4", "audio/x-m4a"):
        kind = "audio"
    elif part.media.kind == "video" and media_type == "video/mp4":
        kind = "video"
    payload = {"kind": kind, "filename": part.filename}
    # What Telegram cannot show as such, it takes as a file.
    plain = None if kind == "document" else {**payload, "kind": "document"}
    return Fragment(payload, plain, part.attachment.id)


def _text_fields(payload: Mapping[str, Any]) -> dict[str, Any]:
    return {"text": payload["text"], **({"parse_mode": "HTML"} if payload.get("html") else {})}


def _quotation(payload: Mapping[str, Any]) -> dict[str, Any]:
    quoted = str(payload.get("reply_to", ""))
    if not re.fullmatch("[0-9]{1,18}", quoted):
        return {}
    return {"reply_parameters": {"message_id": int(quoted), "allow_sending_without_reply": True}}


def _form(fields: Mapping[str, Any], file: tuple[str, bytes, str, str]) -> aiohttp.FormData:
    form = aiohttp.FormData()
    for name, value in fields.items():
        form.add_field(name, value if isinstance(value, str) else msgspec.json.encode(value).decode())
    name, content, filename, media_type = file
    form.add_field(name, content, filename=filename, content_type=media_type)
    return form


def _failure(answer: PlatformAnswer) -> DeliveryError:
    """Say what a refusal of the Bot API means."""
    value = answer.object
    code = value.get("error_code", answer.status)
    description = str(value.get("description", ""))[:200]
    parameters = object_in(value, "parameters")
    message, lower = f"{PLATFORM} refused the message: {description or code}", description.lower()
    if code == 429:
        after = float(parameters.get("retry_after", answer.retry_after or DEFAULT_WAIT))
        return RateLimited(f"{PLATFORM} asks to wait {after:g} seconds", after=after, platform_code="429")
    if code >= 500 or not value:
        return server_failure(answer, PLATFORM) if code >= 400 else Unknown(f"{PLATFORM}'s answer cannot be read")
    if code == 409:
        return NotSent(f"{PLATFORM} is asked by another program, too: {description}", platform_code="409")
    if code in (401, 404):  # an unknown token is a path that does not exist
        return Unauthorized(f"{PLATFORM} does not accept the bot's token", platform_code=str(code))
    if "migrate_to_chat_id" in parameters:
        return _Moved(int(parameters["migrate_to_chat_id"]))
    if code == 403 or any(phrase in lower for phrase in _GONE):
        return TargetGone(message, platform_code=str(code))
    if any(phrase in lower for phrase in _NOT_EDITABLE):
        return EditImpossible(message, platform_code=str(code))
    is_formatting = "can't parse entities" in lower or "voice_messages_forbidden" in lower or "photo_invalid" in lower
    return Refused(message, platform_code=str(code), formatting=is_formatting)
