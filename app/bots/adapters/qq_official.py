"""QQ's official bots: the API of bot.q.qq.com over HTTP (https://bot.q.qq.com/wiki/develop/api-v2/)."""

import asyncio
import base64
import re
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Annotated, Any

import aiohttp
import msgspec
from msgspec import Meta
from yarl import URL

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
from app.bots.adapters.gateway import Closing, Gateway, GatewaySession
from app.bots.adapters.http import Network, PlatformAnswer, PlatformClient, server_failure
from app.bots.adapters.inbound import DoorAnswer, DoorRequest, InboundMedia, Inbox
from app.bots.adapters.outcomes import DeliveryError, NotSent, RateLimited, Refused, Unauthorized, Unknown
from app.bots.adapters.planning import plan_parts
from app.bots.adapters.qq_official_events import event_of, is_signed, signing_key
from app.bots.formatting.dialects import to_plain
from app.bots.formatting.splitting import TextLimit, split
from app.bots.umo import invalid_umo
from app.errors import BadRequest

ADAPTER = "qq_official"
WEBHOOK_ADAPTER = "qq_official_webhook"
PLATFORM = "QQ"
API_BASE_URL = "https://api.sgroup.qq.com"
SANDBOX_BASE_URL = "https://sandbox.api.sgroup.qq.com"
TOKEN_URL = "https://bots.qq.com/app/getAppAccessToken"  # noqa: S105 - an address
MAX_TEXT = TextLimit(4000)
MAX_UPLOAD_BYTES = 10 * 1024**2
CALL_SECONDS = 20.0
UPLOAD_SECONDS = 120.0
TOKEN_MARGIN_SECONDS = 60.0
DEFAULT_WAIT = 60.0

# Private chats and groups, and mentions in channels.
INTENTS = 1 << 25 | 1 << 30
VALIDATION = 13
CLOSING = Closing(
    PLATFORM,
    unauthorized=frozenset(),  # a token runs out; the server that makes them says whether the secret is good
    refused={4914: "the bot is not released, and can be used in the sandbox only", 4915: "the bot is banned"},
    session_over=frozenset({4004, 4006, 4007, *range(4900, 4914)}),
)

_OPENID = re.compile(r"[0-9A-Za-z_-]{8,64}")
_CHANNEL = re.compile(r"[0-9]{1,20}")
_FILE_TYPES = {"image": 1, "video": 2, "record": 3, "file": 4}
_TEXT, _MEDIA = 0, 7
_UNAUTHORIZED = frozenset({11241, 11242, 11243, 11244, 11251, 11252, 11261, 11262})
_LIMITED = frozenset({22009, 20028, 304045, 304046, 304049, 304050})
_DUPLICATE = frozenset({"40054005"})


class QQOfficialConfig(PlatformConfig, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`appid` and `secret` are the bot's; `token_url` is another server that makes its tokens."""

    appid: Annotated[str, Meta(max_length=64)]
    secret: Annotated[str, Meta(max_length=255)]
    is_sandbox: bool = False
    token_url: Url | None = None
    webhook_uuid: Annotated[str, Meta(max_length=64)] | None = None

    def __repr__(self) -> str:
        return f"QQOfficialConfig(appid={self.appid!r})"


def qq_official_factory(network: Network) -> AdapterFactory[QQOfficialConfig]:
    """Describe the kind `qq_official`, whose events come over the gateway."""
    return AdapterFactory(
        name=ADAPTER,
        config_type=QQOfficialConfig,
        build=lambda _bot_id, config: GatewayQQOfficial(config, network),
        secret_fields=frozenset({"secret"}),
    )


def qq_official_webhook_factory(network: Network) -> AdapterFactory[QQOfficialConfig]:
    """Describe the kind `qq_official_webhook`, whose events QQ posts."""
    return AdapterFactory(
        name=WEBHOOK_ADAPTER,
        config_type=QQOfficialConfig,
        build=lambda _bot_id, config: WebhookQQOfficial(config, network),
        secret_fields=frozenset({"secret"}),
    )


class QQOfficialAdapter:
    """One official bot on QQ."""

    capabilities = Capabilities(
        text=MAX_TEXT, replies=False, proactive="if_known", uses_contexts=True, max_upload_bytes=MAX_UPLOAD_BYTES
    )

    def __init__(self, config: QQOfficialConfig, network: Network) -> None:
        allow_private = network.allow_private
        base = config.api_base_url or (SANDBOX_BASE_URL if config.is_sandbox else API_BASE_URL)
        self._base = checked_url(base, "api_base_url", allow_private=allow_private)
        self._allow_private = allow_private
        self._client = network.client(PLATFORM)
        self._tokens = _Tokens(
            self._client,
            checked_url(config.token_url or TOKEN_URL, "token_url", allow_private=allow_private),
            checked_secret(config.appid, "appid"),
            checked_secret(config.secret, "secret"),
        )

    def plan(self, target: Target, parts: Sequence[OutgoingPart]) -> list[Fragment]:
        _path(target)
        return plan_parts(parts, _texts, _media)

    async def prepare(self, call: Call) -> str:
        """Upload the call's file, which is shown by the message that names it."""
        assert call.file is not None
        if _is_channel(call.target):
            return ""  # a channel takes the file with the message
        content = base64.b64encode(await call.file.read()).decode()
        kind = call.fragment.payload["kind"]
        body = {"file_type": _FILE_TYPES[kind], "file_data": content, "srv_send_msg": False}
        answer = await self._request("POST", f"{_path(call.target)}/files", body, seconds=UPLOAD_SECONDS)
        return str(answer["file_info"])

    async def deliver(self, call: Call) -> Receipt:
        path = f"{_path(call.target)}/messages"
        if call.fragment.action == "delete":
            await self._request("DELETE", f"{path}/{call.fragment.platform_id}")
            return Receipt(call.fragment.platform_id)
        message = await self._in_channel(call, path) if _is_channel(call.target) else await self._in_chat(call, path)
        return Receipt(str(message["id"]) if "id" in message else None)

    async def check(self) -> BotIdentity:
        me = await self._request("GET", "users/@me")
        return BotIdentity(str(me.get("id", "")), str(me.get("username", "")))

    async def fetch(self, media: InboundMedia) -> AsyncIterator[bytes]:
        try:
            url = checked_url(str(media.reference.get("url", "")), "url", allow_private=self._allow_private)
        except BadRequest as error:
            raise Refused(f"{PLATFORM} named an address for the file that is not allowed") from error
        async for chunk in self._client.download(url):
            yield chunk

    async def close(self) -> None:
        await self._client.close()

    async def _in_chat(self, call: Call, path: str) -> dict[str, Any]:
        """Send to a user or a group."""
        if call.file is None:
            body: dict[str, Any] = {"msg_type": _TEXT, "content": call.fragment.payload["text"]}
        else:  # for which some text is asked
            body = {"msg_type": _MEDIA, "content": " ", "media": {"file_info": call.handle}}
        if call.context is None:  # each message has a number of its own
            return await self._request("POST", path, {**body, "msg_seq": 1 + int(call.wire_key[:6], 16)})
        answered = {"msg_id": call.context.token, "msg_seq": call.context.number}
        try:
            return await self._request("POST", path, {**body, **answered})
        except Refused as error:
            if error.platform_code in _DUPLICATE and call.tries:  # the number is this message's: it has arrived
                return {}
            raise

    async def _in_channel(self, call: Call, path: str) -> dict[str, Any]:
        if call.file is None:
            answered = {} if call.context is None else {"msg_id": call.context.token}
            return await self._request("POST", path, {"content": call.fragment.payload["text"], **answered})
        if call.fragment.payload["kind"] != "image":
            raise Refused(f"{PLATFORM}'s channels take images only")
        form = aiohttp.FormData()
        if call.context is not None:
            form.add_field("msg_id", call.context.token)
        form.add_field(
            "file_image",
            await call.file.read(),
            filename=call.fragment.payload["filename"],
            content_type=call.file.attachment.media_type,
        )
        return await self._request("POST", path, data=form, seconds=UPLOAD_SECONDS)

    async def _request(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        data: aiohttp.FormData | None = None,
        seconds: float = CALL_SECONDS,
    ) -> dict[str, Any]:
        """Make a request, with a fresh token if the one at hand is refused. Raises DeliveryError."""
        url = self._base.joinpath(path)
        try:
            return await self._tried(method, url, await self._tokens.get(), body, data, seconds)
        except Unauthorized:
            if data is not None:  # which can be sent once only
                self._tokens.drop()
                raise
            token = await self._tokens.get(fresh=True)
        return await self._tried(method, url, token, body, data, seconds)

    async def _tried(
        self, method: str, url: URL, token: str, body: Mapping[str, Any] | None, data: Any, seconds: float
    ) -> dict[str, Any]:
        headers = {"Authorization": f"QQBot {token}"}
        answer = await self._client.request(method, url, json=body, data=data, headers=headers, seconds=seconds)
        if answer.status < 300 and not answer.object.get("code"):
            return answer.object
        raise _failure(answer)


class GatewayQQOfficial(QQOfficialAdapter):
    """A bot whose events come over a WebSocket of ours."""

    silence_seconds = 120.0

    async def listen(self, inbox: Inbox) -> None:
        me = await self.check()
        session = GatewaySession.of(await inbox.checkpoint())
        address = str((await self._request("GET", "gateway")).get("url", ""))
        url = checked_url(re.sub("^ws", "http", address), "gateway", allow_private=self._allow_private)
        token = f"QQBot {await self._tokens.get()}"

        async def take(kind: str, data: Any, checkpoint: Mapping[str, Any]) -> None:
            if kind in ("READY", "RESUMED"):
                await inbox.connected(me)
            event = event_of(kind, data)
            if event is not None or kind == "READY":
                await inbox.accept([] if event is None else [event], checkpoint)

        socket = await self._client.websocket(url)
        try:
            await Gateway(
                socket,
                session,
                identify={"token": token, "intents": INTENTS, "shard": [0, 1], "properties": {}},
                token=token,
                closing=CLOSING,
                take=take,
                alive=inbox.alive,
            ).run()
        finally:
            if not session.is_resumable:  # perhaps as the token has run out
                self._tokens.drop()
            await inbox.accept([], session.checkpoint())


class WebhookQQOfficial(QQOfficialAdapter):
    """A bot whose events QQ posts."""

    def __init__(self, config: QQOfficialConfig, network: Network) -> None:
        super().__init__(config, network)
        self._key = signing_key(config.secret)

    async def receive(self, request: DoorRequest) -> DoorAnswer:
        signature = request.headers.get("x-signature-ed25519", "")
        timestamp = request.headers.get("x-signature-timestamp", "")
        if not is_signed(self._key, timestamp, request.body, signature):
            return DoorAnswer(401)
        try:
            payload = msgspec.json.decode(request.body, type=dict[str, Any])
        except msgspec.DecodeError:
            return DoorAnswer(400)
        data = payload.get("d")
        if payload.get("op") == VALIDATION and isinstance(data, dict):
            plain = str(data.get("plain_token", ""))
            signed = self._key.sign(f"{data.get('event_ts', '')}{plain}".encode()).hex()
            return DoorAnswer(body=msgspec.json.encode({"plain_token": plain, "signature": signed}))
        event = event_of(str(payload.get("t")), data)
        return DoorAnswer(body=b'{"op":12}', events=[] if event is None else [event])


class _Tokens:
    """The access token of a bot: one is asked for at a time, and kept until shortly before its end."""

    def __init__(self, client: PlatformClient, url: URL, appid: str, secret: str) -> None:
        self._client = client
        self._url = url
        self._credentials = {"appId": appid, "clientSecret": secret}
        self._asking = asyncio.Lock()
        self._token = ""
        self._good_until = 0.0

    async def get(self, *, fresh: bool = False) -> str:
        """Return a token; with `fresh`, another one than the last. Raises DeliveryError."""
        last = self._token
        async with self._asking:
            is_good = self._token and time.monotonic() < self._good_until
            if is_good and (not fresh or self._token != last):
                return self._token
            try:
                answer = await self._client.request("POST", self._url, json=self._credentials)
            except Unknown as error:  # no message has been sent
                raise NotSent(error.message) from error
            value = answer.object
            token = value.get("access_token")
            if answer.status >= 500 or answer.status == 429:
                raise NotSent(f"{PLATFORM} makes no token now ({answer.status})", platform_code=str(answer.status))
            if not isinstance(token, str) or not token:  # also with 200
                code = str(value.get("code", answer.status))
                raise Unauthorized(f"{PLATFORM} does not accept the bot's appid and secret", platform_code=code)
            self._token = token
            # It is a text, and a new token is made only within the last minute of the old one.
            seconds = float(value.get("expires_in") or 0)
            self._good_until = time.monotonic() + max(seconds - TOKEN_MARGIN_SECONDS, 1.0)
            return token

    def drop(self) -> None:
        """Ask for another token next time."""
        self._good_until = 0.0


def _path(target: Target) -> str:
    """The path of a chat. Raises BadRequest."""
    id = target.session_id
    if target.is_group and _CHANNEL.fullmatch(id):
        return f"channels/{id}"
    if not _OPENID.fullmatch(id):
        raise invalid_umo("a QQ session is the openid of a user or of a group, or the number of a channel")
    return f"v2/groups/{id}" if target.is_group else f"v2/users/{id}"


def _is_channel(target: Target) -> bool:
    return _path(target).startswith("channels/")


def _texts(text: str) -> list[Fragment]:
    return [Fragment({"text": to_plain(piece)}) for piece in split(text, MAX_TEXT, to_plain)]


def _media(part: Attached) -> Fragment:
    kind, media_type = part.media.kind, part.attachment.media_type
    # What QQ cannot show as such, it takes as a file.
    if kind == "image" and media_type not in ("image/png", "image/jpeg"):
        kind = "file"
    if kind == "video" and media_type != "video/mp4":
        kind = "file"
    if kind == "record" and media_type not in ("audio/silk", "audio/x-silk"):
        kind = "file"
    return Fragment({"kind": kind, "filename": part.filename}, None, part.attachment.id)


def _failure(answer: PlatformAnswer) -> DeliveryError:
    """Say what a refusal means."""
    value = answer.object
    code = value.get("code", answer.status)
    reason = str(value.get("message") or code)[:200]
    platform_code = str(code)
    if answer.status == 429 or code in _LIMITED:
        after = answer.retry_after or DEFAULT_WAIT
        return RateLimited(f"{PLATFORM} asks to wait {after:g} seconds", after=after, platform_code=platform_code)
    if answer.status == 401 or code in _UNAUTHORIZED:
        return Unauthorized(f"{PLATFORM} does not accept the bot's token: {reason}", platform_code=platform_code)
    if answer.status >= 500:
        return server_failure(answer, PLATFORM)
    if answer.status < 400 and not value:
        return Unknown(f"{PLATFORM}'s answer cannot be read", platform_code=platform_code)
    return Refused(f"{PLATFORM} refused the message: {reason}", platform_code=platform_code)
