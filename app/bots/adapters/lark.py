"""Lark and Feishu: the Open Platform's messages over HTTP (https://open.feishu.cn/document)."""

import asyncio
import hmac
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Annotated, Any, Literal

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
    Repeat,
    Target,
)
from app.bots.adapters.config import PlatformConfig, checked_secret, checked_url
from app.bots.adapters.http import Network, PlatformAnswer, server_failure
from app.bots.adapters.inbound import DoorAnswer, DoorRequest, InboundMedia, Inbox
from app.bots.adapters.lark_events import Frame, decode, decrypt, encode, event_of, signature_of
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
from app.bots.adapters.tokens import AccessToken, TokenCache
from app.bots.formatting.dialects import SIMPLE_MARKDOWN, render, to_plain
from app.bots.formatting.splitting import TextLimit, split
from app.bots.umo import invalid_umo

ADAPTER = "lark"
PLATFORM = "Lark"
DOMAINS = {"feishu": "https://open.feishu.cn", "lark": "https://open.larksuite.com"}
MAX_POST = TextLimit(29_000, "utf8")
"""Of a message's content, as it is written in the request; the limit is 30 KB for the whole request."""
MAX_UPLOAD_BYTES = 30 * 1024**2
MAX_IMAGE_BYTES = 10 * 1024**2
DEFAULT_WAIT = 1.0
PING_SECONDS = 60.0
MAX_PIECES = 64
REPEATS = timedelta(minutes=55)

_SESSION = re.compile(r"[A-Za-z0-9_.+-]{1,128}(@[A-Za-z0-9.-]{1,128})?")
_TOKEN_CODES = (99991661, 99991663, 99991664, 99991665, 99991668)
_CREDENTIALS_CODES = (10003, 10013, 10014, 10015, 99991543)
_GONE_CODES = (230002, 230013, 230029, 230053, 232009)
_NOT_EDITABLE_CODES = (230011, 230031, 230050, 230071, 230072, 230075, 230110)
_FORMAT_CODES = (230001, 230099)
_IN_PROGRESS = 230049
_FILE_TYPES = {
    "application/pdf": "pdf",
    "application/msword": "doc",
    "application/vnd.openxmlformats-officedocument.wordprocessingml.document": "doc",
    "application/vnd.ms-excel": "xls",
    "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet": "xls",
    "application/vnd.ms-powerpoint": "ppt",
    "application/vnd.openxmlformats-officedocument.presentationml.presentation": "ppt",
}
_AT = re.compile(r"<(?=/?at\b)", re.IGNORECASE)


class LarkConfig(PlatformConfig, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`app_id` and `app_secret` are the app's; `domain` is `feishu`, `lark`, or the URL of the open platform."""

    app_id: Annotated[str, Meta(max_length=255)]
    app_secret: Annotated[str, Meta(max_length=255)]
    domain: Annotated[str, Meta(max_length=2048)] = "feishu"
    lark_connection_mode: Literal["socket", "webhook"] = "socket"
    lark_encrypt_key: Annotated[str, Meta(max_length=255)] | None = None
    lark_verification_token: Annotated[str, Meta(max_length=255)] | None = None
    webhook_uuid: Annotated[str, Meta(max_length=64)] | None = None

    def __repr__(self) -> str:
        return f"LarkConfig(app_id={self.app_id!r})"


def lark_factory(network: Network) -> AdapterFactory[LarkConfig]:
    """Describe the kind `lark`."""
    return AdapterFactory(
        name=ADAPTER,
        config_type=LarkConfig,
        build=lambda _bot_id, config: LarkAdapter(config, network),
        secret_fields=frozenset({"app_secret", "lark_encrypt_key", "lark_verification_token"}),
    )


class LarkAdapter:
    """One app on Lark or Feishu."""

    capabilities = Capabilities(
        text=MAX_POST,
        edits=True,
        live_seconds=1.5,
        repeat=Repeat("keyed", REPEATS),
        max_upload_bytes=MAX_UPLOAD_BYTES,
    )

    def __init__(self, config: LarkConfig, network: Network) -> None:
        self._app = {
            "app_id": checked_secret(config.app_id, "app_id"),
            "app_secret": checked_secret(config.app_secret, "app_secret"),
        }
        self._is_webhook = config.lark_connection_mode == "webhook"
        self._encrypt_key, self._verification = config.lark_encrypt_key, config.lark_verification_token
        self._allow_private = network.allow_private
        self._me: BotIdentity | None = None
        base = config.api_base_url or DOMAINS.get(config.domain, config.domain)
        self._root = checked_url(base, "domain", allow_private=network.allow_private)
        self._base = self._root / "open-apis"
        self._client = network.client(PLATFORM)
        self._tokens = TokenCache(self._fetch_token)

    def plan(self, target: Target, parts: Sequence[OutgoingPart]) -> list[Fragment]:
        _receiver(target)
        return plan_parts(parts, _plan_text, _plan_media)

    async def prepare(self, call: Call) -> str:
        assert call.file is not None
        content, payload, form = await call.file.read(), call.fragment.payload, aiohttp.FormData()
        media_type = call.file.attachment.media_type
        if payload["type"] == "audio" and b"OpusHead" not in content[:128]:
            raise Refused(f"{PLATFORM} plays Opus only", formatting=True)
        if payload["type"] == "image":
            form.add_field("image_type", "message")
            form.add_field("image", content, filename=payload["filename"], content_type=media_type)
            return str((await self._call("POST", "im/v1/images", form=form, seconds=120.0))["image_key"])
        form.add_field("file_type", payload["file_type"])
        form.add_field("file_name", payload["filename"])
        form.add_field("file", content, filename=payload["filename"], content_type=media_type)
        return str((await self._call("POST", "im/v1/files", form=form, seconds=120.0))["file_key"])

    async def deliver(self, call: Call) -> Receipt:
        fragment = call.fragment
        if fragment.action == "delete":
            await self._call("DELETE", f"im/v1/messages/{fragment.platform_id}")
            return Receipt(fragment.platform_id)
        if fragment.action == "edit":
            card = {"content": _card(fragment.payload["text"])}
            await self._call("PATCH", f"im/v1/messages/{fragment.platform_id}", json=card)
            return Receipt(fragment.platform_id)
        body: dict[str, Any] = _content(fragment.payload, call.handle)
        if call.is_live:
            # A post can be edited twenty times, a card as often as one likes.
            body = {"msg_type": "interactive", "content": _card(fragment.payload["text"])}
        kind, receiver = _receiver(call.target)
        body["uuid"] = call.wire_key
        quoted = str(fragment.payload.get("reply_to", ""))
        if quoted.startswith("om_") and await self._is_there(quoted, receiver):
            data = await self._call("POST", f"im/v1/messages/{quoted}/reply", json=body)
        else:
            body["receive_id"] = receiver
            data = await self._call("POST", "im/v1/messages", json=body, query={"receive_id_type": kind})
        return Receipt(str(data["message_id"]))

    async def check(self) -> BotIdentity:
        answer = await self._answer("GET", "bot/v3/info")
        bot = answer.object.get("bot") or {}
        self._me = BotIdentity(str(bot.get("open_id", "")), str(bot.get("app_name", "")))
        return self._me

    # Receiving

    silence_seconds = 3.0 * PING_SECONDS

    async def listen(self, inbox: Inbox) -> None:
        me = await self.check()
        if self._is_webhook:
            await inbox.connected(me)
            while True:
                await asyncio.sleep(PING_SECONDS)
                inbox.alive()
        url = await self._open_connection()
        socket = await self._client.websocket(url)
        service = int(url.query.get("service_id", "0"))
        try:
            await inbox.connected(me)
            async with asyncio.TaskGroup() as group:
                pings = group.create_task(_ping(socket, service))
                pieces: dict[str, dict[int, bytes]] = {}
                async for message in socket:
                    inbox.alive()
                    if message.type is aiohttp.WSMsgType.BINARY:
                        await self._take(inbox, socket, decode(message.data), pieces, me)
                pings.cancel()
        finally:
            await socket.close()

    async def receive(self, request: DoorRequest) -> DoorAnswer:
        body, headers = request.body, request.headers
        try:
            value = msgspec.json.decode(body, type=dict[str, Any])
            if self._encrypt_key is not None:
                value = msgspec.json.decode(decrypt(str(value["encrypt"]), self._encrypt_key), type=dict[str, Any])
        except (msgspec.DecodeError, KeyError, ValueError):
            return DoorAnswer(401 if self._encrypt_key is not None else 400)
        is_question = value.get("type") == "url_verification"
        token = str(value.get("token") if is_question else (value.get("header") or {}).get("token"))
        if self._encrypt_key is None and self._verification is None:
            return DoorAnswer(401)
        if self._verification is not None and not hmac.compare_digest(token.encode(), self._verification.encode()):
            return DoorAnswer(401)
        if is_question:  # which is not signed, only encrypted
            return DoorAnswer(body=msgspec.json.encode({"challenge": value.get("challenge")}))
        if self._encrypt_key is not None:
            signature = signature_of(
                headers.get("x-lark-request-timestamp", ""),
                headers.get("x-lark-request-nonce", ""),
                self._encrypt_key,
                body,
            )
            if not hmac.compare_digest(headers.get("x-lark-signature", "").encode(), signature.encode()):
                return DoorAnswer(401)
        event = event_of(value, self._me or await self.check())
        return DoorAnswer(body=b"{}", events=[] if event is None else [event])

    async def fetch(self, media: InboundMedia) -> AsyncIterator[bytes]:
        reference = media.reference
        path = f"im/v1/messages/{reference['message_id']}/resources/{reference['key']}"
        url = self._base.joinpath(path).with_query(type=reference["type"])
        headers = {"Authorization": f"Bearer {await self._tokens.get()}"}
        async for chunk in self._client.download(url, headers=headers):
            yield chunk

    async def _open_connection(self) -> URL:
        """Ask for the address of a long connection, and check it."""
        body = {"AppID": self._app["app_id"], "AppSecret": self._app["app_secret"]}
        answer = await self._client.request("POST", self._root / "callback/ws/endpoint", json=body)
        value = answer.object
        if value.get("code") != 0:
            failure = _failure(answer)
            # 514 and 1000040343 are the app's, or those of its connections; 1 and 1000040350 pass.
            if value.get("code") in (1, 1000040350):
                raise NotSent(failure.message, platform_code=failure.platform_code)
            raise failure
        url = URL(str((value.get("data") or {}).get("URL", "")))
        if url.scheme != "wss" and not (url.scheme == "ws" and self._allow_private):
            raise Refused(f"{PLATFORM} named an address that is not wss://")
        return url

    async def _take(
        self,
        inbox: Inbox,
        socket: aiohttp.ClientWebSocketResponse,
        frame: Frame,
        pieces: dict[str, dict[int, bytes]],
        me: BotIdentity,
    ) -> None:
        """Take a frame: join it with the others of its event, store the event, and acknowledge it."""
        if frame.method != 1 or frame.headers.get("type") != "event":
            return
        count, payload = int(frame.headers.get("sum", "1")), frame.payload
        if count > 1:
            parts = pieces.setdefault(frame.headers.get("message_id", ""), {})
            parts[int(frame.headers.get("seq", "0"))] = payload
            if len(parts) < count:
                while len(pieces) > MAX_PIECES:
                    pieces.pop(next(iter(pieces)))
                return
            payload = b"".join(parts[number] for number in sorted(parts))
            del pieces[frame.headers.get("message_id", "")]
        event = event_of(msgspec.json.decode(payload, type=dict[str, Any]), me)
        if event is not None:
            await inbox.accept([event])
        await socket.send_bytes(encode(replace(frame, payload=b'{"code":200}')))

    async def close(self) -> None:
        await self._client.close()

    async def _is_there(self, message_id: str, receiver: str) -> bool:
        """Check that a message is of this chat: Lark would reply in whichever chat it is."""
        if not re.fullmatch("om_[A-Za-z0-9_]{1,100}", message_id):
            return False
        try:
            data = await self._call("GET", f"im/v1/messages/{message_id}")
        except Refused:
            return False
        items = data.get("items")
        item = items[0] if isinstance(items, list) and items else {}
        return receiver in (item.get("chat_id"), (item.get("sender") or {}).get("id"))

    async def _call(self, method: str, path: str, **options: Any) -> dict[str, Any]:
        """Call the API, and return the answer's data. Raises DeliveryError."""
        data = (await self._answer(method, path, **options)).object.get("data")
        return data if isinstance(data, dict) else {}

    async def _answer(
        self,
        method: str,
        path: str,
        *,
        json: Any = None,
        form: aiohttp.FormData | None = None,
        query: Mapping[str, str] | None = None,
        seconds: float = 20.0,
    ) -> PlatformAnswer:
        url = self._base.joinpath(path).with_query(query)
        for is_last in (False, True):
            token = await self._tokens.get()
            headers = {"Authorization": f"Bearer {token}"}
            answer = await self._client.request(method, url, json=json, data=form, headers=headers, seconds=seconds)
            code = answer.object.get("code")
            if code == 0:
                return answer
            if code in _TOKEN_CODES:
                self._tokens.discard(token)
                # A form can be sent once only; the outbox comes back with another one.
                if form is not None and not is_last:
                    raise NotSent(f"{PLATFORM}'s token has expired")
                if not is_last:
                    continue
            raise _failure(answer)
        raise AssertionError("the last answer is a result or a failure")

    async def _fetch_token(self) -> AccessToken:
        url = self._base / "auth/v3/tenant_access_token/internal"
        answer = await self._client.request("POST", url, json=self._app)
        value = answer.object
        if value.get("code") == 0 and value.get("tenant_access_token"):
            return AccessToken(str(value["tenant_access_token"]), float(value.get("expire", 7200)))
        failure = _failure(answer)
        # Whatever else is refused here, it is the app's credentials.
        raise (
            Unauthorized(failure.message, platform_code=failure.platform_code) if type(failure) is Refused else failure
        )


async def _ping(socket: aiohttp.ClientWebSocketResponse, service: int) -> None:
    while True:
        await asyncio.sleep(PING_SECONDS)
        await socket.send_bytes(encode(Frame(service=service, headers={"type": "ping"})))


def _receiver(target: Target) -> tuple[str, str]:
    """The kind of the receiver's id, and the id. Raises BadRequest."""
    id = target.session_id.rpartition("%")[2]  # user%chat is AstrBot's form of a user's session in a chat
    if not _SESSION.fullmatch(id):
        raise invalid_umo("a Lark session is an open_id (ou_...), a chat_id (oc_...), a user's id or address")
    kinds = {"oc_": "chat_id", "ou_": "open_id", "on_": "union_id"}
    if (kind := kinds.get(id[:3])) is not None:
        return kind, id
    if target.is_group:
        raise invalid_umo("a Lark group's session is its chat_id (oc_...)")
    return ("email" if "@" in id else "user_id"), id


def _plan_text(text: str) -> list[Fragment]:
    return [
        Fragment(
            {"type": "post", "text": _markdown(piece)}, {"type": "text", "text": _without_mentions(to_plain(piece))}
        )
        for piece in split(text, MAX_POST, lambda piece: msgspec.json.encode(_post(_markdown(piece))).decode())
    ]


def _plan_media(part: Attached) -> Fragment:
    media_type, size, name = part.attachment.media_type, part.attachment.size, part.filename
    file = {"type": "file", "filename": name, "file_type": _FILE_TYPES.get(media_type, "stream")}
    payload: dict[str, Any] = file
    if part.media.kind == "image" and media_type.startswith("image/") and 0 < size <= MAX_IMAGE_BYTES:
        payload = {"type": "image", "filename": name}
    elif part.media.kind == "record" and media_type in ("audio/ogg", "application/ogg"):
        payload = {"type": "audio", "filename": name, "file_type": "opus"}
    elif part.media.kind == "video" and media_type == "video/mp4":
        payload = {"type": "media", "filename": name, "file_type": "mp4"}
    # What Lark cannot show as such, it takes as a file.
    return Fragment(payload, None if payload is file else file, part.attachment.id)


def _content(payload: Mapping[str, Any], handle: str | None) -> dict[str, Any]:
    """The type and the content of a message; the content is JSON in JSON."""
    match payload["type"]:
        case "post":
            content = _post(payload["text"])
        case "text":
            content = msgspec.json.encode({"text": payload["text"]}).decode()
        case "image":
            content = msgspec.json.encode({"image_key": handle}).decode()
        case _:
            content = msgspec.json.encode({"file_key": handle}).decode()
    return {"msg_type": payload["type"], "content": content}


def _post(text: str) -> str:
    return msgspec.json.encode({"zh_cn": {"content": [[{"tag": "md", "text": text}]]}}).decode()


def _card(text: str) -> str:
    card = {
        "config": {"update_multi": True, "wide_screen_mode": True},
        "elements": [{"tag": "markdown", "content": text}],
    }
    return msgspec.json.encode(card).decode()


def _without_mentions(text: str) -> str:
    """Take the sense from `<at user_id="all">`, which a model must not be able to write."""
    return _AT.sub("<\u200b", text)


_STYLE = replace(SIMPLE_MARKDOWN, escape=_without_mentions)


def _markdown(source: str) -> str:
    return render(source, _STYLE)


def _failure(answer: PlatformAnswer) -> DeliveryError:
    """Say what a refusal of the open platform means."""
    value = answer.object
    code = value.get("code")
    message = f"{PLATFORM} refused the message: {str(value.get('msg') or code)[:200]}"
    if code in (99991400, 230020) or answer.status == 429:
        after = answer.retry_after or DEFAULT_WAIT
        if (reset := answer.headers.get("x-ogw-ratelimit-reset", "")).replace(".", "", 1).isdecimal():
            after = max(float(reset), 0.1)
        scope: Literal["target", "bot"] = "target" if code == 230020 else "bot"
        return RateLimited(
            f"{PLATFORM} asks to wait {after:g} seconds", after=after, scope=scope, platform_code=str(code)
        )
    if not isinstance(code, int):
        if answer.status >= 400:
            return server_failure(answer, PLATFORM)
        return Unknown(f"{PLATFORM}'s answer cannot be read")
    if code in _TOKEN_CODES or code in _CREDENTIALS_CODES:
        return Unauthorized(f"{PLATFORM} does not accept the app's credentials", platform_code=str(code))
    if code == _IN_PROGRESS or answer.status >= 500:
        return Unknown(message, platform_code=str(code))
    if code in _GONE_CODES:
        return TargetGone(message, platform_code=str(code))
    if code in _NOT_EDITABLE_CODES:
        return EditImpossible(message, platform_code=str(code))
    return Refused(message, platform_code=str(code), formatting=code in _FORMAT_CODES)
