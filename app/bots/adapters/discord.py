"""Discord: its REST API and its gateway (https://discord.com/developers/docs)."""

import re
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import timedelta
from typing import Annotated, Any

import aiohttp
import msgspec
from msgspec import Meta

from app import __version__
from app.bots.adapters.base import (
    AdapterFactory,
    Attached,
    BotIdentity,
    Call,
    Capabilities,
    Fragment,
    OutgoingPart,
    Receipt,
    Repeat,
    Target,
)
from app.bots.adapters.config import PlatformConfig, checked_secret, checked_url
from app.bots.adapters.discord_events import event_of
from app.bots.adapters.gateway import Closing, Gateway, GatewaySession
from app.bots.adapters.http import Network, PlatformAnswer, server_failure
from app.bots.adapters.inbound import InboundMedia, Inbox
from app.bots.adapters.outcomes import (
    DeliveryError,
    EditImpossible,
    RateLimited,
    Refused,
    Scope,
    TargetGone,
    Unauthorized,
    Unknown,
)
from app.bots.adapters.planning import plan_parts
from app.bots.formatting.dialects import to_discord
from app.bots.formatting.splitting import TextLimit, split
from app.bots.umo import invalid_umo
from app.errors import BadRequest

ADAPTER = "discord"
PLATFORM = "Discord"
API_BASE_URL = "https://discord.com/api/v10"
MAX_TEXT = TextLimit(2000, "utf16")
MAX_UPLOAD_BYTES = 10 * 1024**2
NONCE_CHARS = 25
NONCE_WINDOW = timedelta(minutes=2)
DEFAULT_WAIT = 5.0
MAX_KNOWN_CHANNELS = 10_000

_SESSION = re.compile(r"([0-9]{1,20}_)?(?P<id>[0-9]{15,20})")
_UNKNOWN_CHANNEL = 10003
# Unknown channel, server and user; no access; a user who takes no direct messages.
_GONE = frozenset({_UNKNOWN_CHANNEL, 10004, 10013, 50001, 50007})
_NOT_EDITABLE = frozenset({10008, 50005})
# Servers, messages in them, direct messages, and the text of messages that do not mention the bot.
MESSAGE_CONTENT = 1 << 15
INTENTS = 1 << 0 | 1 << 9 | 1 << 12 | MESSAGE_CONTENT
DISALLOWED_INTENTS = 4014
CLOSING = Closing(
    PLATFORM,
    unauthorized=frozenset({4004}),
    refused={
        4010: "invalid shard",
        4011: "the bot is in too many servers for one connection",
        4012: "invalid version",
        4013: "invalid intents",
        DISALLOWED_INTENTS: "an intent is not turned on in the developer portal",
    },
    session_over=frozenset({4007, 4009}),
)


class DiscordConfig(PlatformConfig, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`discord_token` is the bot's own."""

    discord_token: Annotated[str, Meta(max_length=255)]

    def __repr__(self) -> str:
        return f"DiscordConfig(api_base_url={self.api_base_url!r})"


def discord_factory(network: Network) -> AdapterFactory[DiscordConfig]:
    """Describe the kind `discord`."""
    return AdapterFactory(
        name=ADAPTER,
        config_type=DiscordConfig,
        build=lambda _bot_id, config: DiscordAdapter(config, network),
        secret_fields=frozenset({"discord_token"}),
    )


class DiscordAdapter:
    """One bot on Discord."""

    capabilities = Capabilities(
        text=MAX_TEXT,
        repeat=Repeat("keyed", NONCE_WINDOW),
        edits=True,
        live_seconds=1.5,
        typing_seconds=10.0,
        max_upload_bytes=MAX_UPLOAD_BYTES,
    )

    def __init__(self, config: DiscordConfig, network: Network) -> None:
        token = checked_secret(config.discord_token, "discord_token")
        self._base = checked_url(
            config.api_base_url or API_BASE_URL, "api_base_url", allow_private=network.allow_private
        )
        # Discord answers only to clients that are called so.
        agent = f"DiscordBot (https://github.com/palaver/palaver, {__version__})"
        self._client = network.client(PLATFORM, {"Authorization": f"Bot {token}", "User-Agent": agent})
        self._files = network.client(PLATFORM)  # without the token: their addresses are not the API's
        self._token = token
        self._allow_private = network.allow_private
        self._reads_content = True
        self._channels: dict[str, str] = {}

    def plan(self, target: Target, parts: Sequence[OutgoingPart]) -> list[Fragment]:
        _id(target)
        return plan_parts(parts, _texts, _media)

    async def deliver(self, call: Call) -> Receipt:
        fragment, payload = call.fragment, call.fragment.payload
        if fragment.action == "delete":
            await self._in_channel(call.target, "DELETE", f"messages/{fragment.platform_id}")
            return Receipt(fragment.platform_id)
        body: dict[str, Any] = {"content": payload.get("text", ""), "allowed_mentions": {"parse": []}}
        if fragment.action == "edit":
            await self._in_channel(call.target, "PATCH", f"messages/{fragment.platform_id}", body)
            return Receipt(fragment.platform_id)
        body |= {"nonce": call.wire_key[:NONCE_CHARS], "enforce_nonce": True, **_quotation(payload)}
        file = None
        if call.file is not None:
            file = (await call.file.read(), payload["filename"], call.file.attachment.media_type)
        message = await self._in_channel(call.target, "POST", "messages", body, file)
        return Receipt(str(message["id"]))

    async def typing(self, target: Target) -> None:
        await self._in_channel(target, "POST", "typing")

    async def check(self) -> BotIdentity:
        me = await self._request("GET", "users/@me")
        return BotIdentity(str(me["id"]), str(me.get("username", "")))

    # Receiving

    silence_seconds = 120.0

    async def listen(self, inbox: Inbox) -> None:
        me = await self.check()
        session = GatewaySession.of(await inbox.checkpoint())
        address = session.url or await self._gateway()
        url = checked_url(re.sub("^ws", "http", address), "gateway", allow_private=self._allow_private)

        async def take(kind: str, data: Any, checkpoint: Mapping[str, Any]) -> None:
            if kind in ("READY", "RESUMED"):
                await inbox.connected(me)
            event = event_of(data, me) if kind == "MESSAGE_CREATE" and isinstance(data, dict) else None
            if event is not None or kind == "READY":
                await inbox.accept([] if event is None else [event], checkpoint)

        intents = INTENTS if self._reads_content else INTENTS & ~MESSAGE_CONTENT
        identify = {"token": self._token, "intents": intents, "properties": {"os": "linux", "browser": "palaver"}}
        socket = await self._client.websocket(url.with_query(v=10, encoding="json"))
        try:
            await Gateway(
                socket,
                session,
                identify=identify,
                token=self._token,
                closing=CLOSING,
                take=take,
                alive=inbox.alive,
            ).run()
        except Refused as error:
            if error.platform_code != str(DISALLOWED_INTENTS) or not self._reads_content:
                raise
            # Mentions and direct messages have their text all the same.
            self._reads_content = False
        finally:
            await inbox.accept([], session.checkpoint())

    async def _gateway(self) -> str:
        """Where sessions begin. Raises DeliveryError, also when too many have begun today."""
        gateway = await self._request("GET", "gateway/bot")
        limit = gateway.get("session_start_limit")
        if isinstance(limit, dict) and limit.get("remaining") == 0:
            after = float(limit.get("reset_after") or 0) / 1000
            raise RateLimited(f"{PLATFORM} lets the bot connect again in {after:g} seconds", after=after, scope="bot")
        return str(gateway.get("url", ""))

    async def fetch(self, media: InboundMedia) -> AsyncIterator[bytes]:
        try:
            url = checked_url(str(media.reference.get("url", "")), "url", allow_private=self._allow_private)
        except BadRequest as error:
            raise Refused(f"{PLATFORM} named an address for the file that is not allowed") from error
        async for chunk in self._files.download(url):
            yield chunk

    async def close(self) -> None:
        await self._client.close()
        await self._files.close()

    async def _in_channel(
        self,
        target: Target,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        file: tuple[bytes, str, str] | None = None,
    ) -> dict[str, Any]:
        """Make a request in the target's channel. A FriendMessage may name the user instead, as people know that id."""
        id = _id(target)
        channel = self._channels.get(id, id)
        try:
            return await self._request(method, f"channels/{channel}/{path}", body, file)
        except TargetGone as error:
            if target.is_group or channel != id or error.platform_code != str(_UNKNOWN_CHANNEL):
                raise
        channel = str((await self._request("POST", "users/@me/channels", {"recipient_id": id}))["id"])
        if len(self._channels) >= MAX_KNOWN_CHANNELS:
            self._channels.clear()
        self._channels[id] = channel
        return await self._request(method, f"channels/{channel}/{path}", body, file)

    async def _request(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        file: tuple[bytes, str, str] | None = None,
    ) -> dict[str, Any]:
        """Make a request, and return the object that it is answered with. Raises DeliveryError."""
        url = self._base.joinpath(path)
        if file is None:
            answer = await self._client.request(method, url, json=body)
        else:
            answer = await self._client.request(method, url, data=_form(body or {}, file), seconds=120.0)
        if answer.status == 204:
            return {}
        if answer.status == 200 and answer.object:
            return answer.object
        raise _failure(answer)


def _id(target: Target) -> str:
    """The id of the channel, or of the user. Raises BadRequest."""
    match = _SESSION.fullmatch(target.session_id)
    if match is None:
        raise invalid_umo("a Discord session is the id of a channel, or of a user for FriendMessage")
    return match["id"]


def _texts(text: str) -> list[Fragment]:
    return [Fragment({"text": to_discord(piece)}) for piece in split(text, MAX_TEXT, to_discord)]


def _media(part: Attached) -> Fragment:
    return Fragment({"filename": part.filename}, None, part.attachment.id)


def _quotation(payload: Mapping[str, Any]) -> dict[str, Any]:
    quoted = str(payload.get("reply_to", ""))
    if not re.fullmatch("[0-9]{15,20}", quoted):
        return {}
    return {"message_reference": {"message_id": quoted, "fail_if_not_exists": False}}


def _form(body: Mapping[str, Any], file: tuple[bytes, str, str]) -> aiohttp.FormData:
    content, filename, media_type = file
    form = aiohttp.FormData()
    form.add_field("payload_json", msgspec.json.encode(body).decode(), content_type="application/json")
    form.add_field("files[0]", content, filename=filename, content_type=media_type)
    return form


def _failure(answer: PlatformAnswer) -> DeliveryError:
    """Say what a refusal means (https://discord.com/developers/docs/topics/opcodes-and-status-codes#json)."""
    value = answer.object
    code = value.get("code", answer.status)
    platform_code = str(code)
    if answer.status == 429:
        # Without a body it comes from the guard before the API, which means the whole address.
        waits = value.get("retry_after", answer.retry_after)
        after = float(waits) if isinstance(waits, int | float) else DEFAULT_WAIT
        scope: Scope = "bot" if value.get("global") or not value else "target"
        return RateLimited(f"{PLATFORM} asks to wait {after:g} seconds", after=after, scope=scope, platform_code="429")
    if answer.status >= 500:
        return server_failure(answer, PLATFORM)
    if answer.status < 400:
        return Unknown(f"{PLATFORM}'s answer cannot be read")
    if answer.status == 401:
        return Unauthorized(f"{PLATFORM} does not accept the bot's token", platform_code="401")
    message = f"{PLATFORM} refused the message: {str(value.get('message') or code)[:200]}"
    if code in _GONE:
        return TargetGone(message, platform_code=platform_code)
    if code in _NOT_EDITABLE:
        return EditImpossible(message, platform_code=platform_code)
    return Refused(message, platform_code=platform_code)
