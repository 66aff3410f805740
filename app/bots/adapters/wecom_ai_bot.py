"""WeCom's AI bots: over a WebSocket, or with callbacks (https://developer.work.weixin.qq.com/document/path/101463)."""

import asyncio
import base64
import hashlib
import re
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Annotated, Any, Literal
from uuid import uuid4

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
from app.bots.adapters.calls import CallSocket, ClientSocket
from app.bots.adapters.config import PlatformConfig, Url, checked_secret, checked_url, invalid_config
from app.bots.adapters.http import Network, server_failure
from app.bots.adapters.inbound import DoorAnswer, DoorRequest, InboundMedia, Inbox, OfferedContext
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
from app.bots.adapters.wecom_ai_bot_events import deciphered, event_of
from app.bots.adapters.wecom_events import key_of, open_envelope
from app.bots.formatting.splitting import TextLimit, split
from app.bots.umo import invalid_umo
from app.clock import utc_now
from app.errors import BadRequest

ADAPTER = "wecom_ai_bot"
PLATFORM = "WeCom"
WS_URL = "wss://openws.work.weixin.qq.com"
MAX_TEXT = TextLimit(20_480, "utf8")
MAX_UPLOAD_BYTES = 20 * 1024**2
MAX_BYTES = {"image": 10 * 1024**2, "voice": 2 * 1024**2, "video": 10 * 1024**2, "file": MAX_UPLOAD_BYTES}
CHUNK_BYTES = 512 * 1024
PING_SECONDS = 30.0
CONNECTION_SECONDS = 5.0
"""How long a message waits for the connection that is being made."""
REPLY_LIFE = timedelta(hours=24)
RESPONSE_URL_LIFE = timedelta(hours=1)
WAITS = {45009: 60.0, 45033: 1.0}

_SESSION = re.compile(r"[A-Za-z0-9_.@+/=-]{1,128}")
_ASTRBOT_SESSION = "wecom_ai_bot_wecomai_"
_SHOWN_AS = {"image/png": "image", "image/jpeg": "image", "image/gif": "image", "audio/amr": "voice"} | {
    "video/mp4": "video"
}
_EXPIRED = (846605, 846608)
_BUSY = (-1, 6000)
_GONE = (93006, 93008)


class WeComAiBotConfig(PlatformConfig, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`wecomaibot_ws_bot_id` and `_secret` are for the long connection, token and key for callbacks.

    `api_base_url`, or AstrBot's `wecomaibot_ws_url`, is another address of the long connection.
    """

    wecom_ai_bot_connection_mode: Literal["long_connection", "webhook"] = "long_connection"
    wecom_ai_bot_name: Annotated[str, Meta(max_length=100)] = ""
    wecomaibot_ws_bot_id: Annotated[str, Meta(max_length=255)] = ""
    wecomaibot_ws_secret: Annotated[str, Meta(max_length=255)] = ""
    wecomaibot_ws_url: Url | None = None
    wecomaibot_token: Annotated[str, Meta(max_length=255)] = ""
    wecomaibot_encoding_aes_key: Annotated[str, Meta(max_length=64)] = ""
    wecomaibot_friend_message_welcome_text: Annotated[str, Meta(max_length=2000)] = ""
    webhook_uuid: Annotated[str, Meta(max_length=64)] | None = None

    def __repr__(self) -> str:
        return f"WeComAiBotConfig(wecomaibot_ws_bot_id={self.wecomaibot_ws_bot_id!r})"


def wecom_ai_bot_factory(network: Network) -> AdapterFactory[WeComAiBotConfig]:
    """Describe the kind `wecom_ai_bot`."""
    return AdapterFactory(
        name=ADAPTER,
        config_type=WeComAiBotConfig,
        build=lambda _bot_id, config: _build(config, network),
        secret_fields=frozenset({"wecomaibot_ws_secret", "wecomaibot_token", "wecomaibot_encoding_aes_key"}),
    )


def _build(config: WeComAiBotConfig, network: Network) -> "WeComAiBot":
    is_connected = config.wecom_ai_bot_connection_mode == "long_connection"
    return ConnectedAiBot(config, network) if is_connected else CalledAiBot(config, network)


class WeComAiBot(ABC):
    """What the two ways of an AI bot have in common."""

    capabilities: Capabilities

    def __init__(self, config: WeComAiBotConfig, network: Network) -> None:
        self._name = config.wecom_ai_bot_name
        self._allow_private = network.allow_private
        self._client = network.client(PLATFORM)
        self._key: bytes | None = None
        if config.wecomaibot_encoding_aes_key:
            try:
                self._key = key_of(config.wecomaibot_encoding_aes_key)
            except ValueError as error:
                raise invalid_config(f"wecomaibot_encoding_aes_key: {error}") from None

    def plan(self, target: Target, parts: Sequence[OutgoingPart]) -> list[Fragment]:
        _receiver(target)
        return plan_parts(parts, _plan_text, _plan_media)

    @abstractmethod
    async def deliver(self, call: Call) -> Receipt: ...

    async def fetch(self, media: InboundMedia) -> AsyncIterator[bytes]:
        url = self._checked(str(media.reference.get("url", "")))
        try:
            # A callback's files have the key of the callbacks.
            key = key_of(text) if (text := str(media.reference.get("key", ""))) else self._key
            if key is None:
                raise Refused(f"{PLATFORM} named no key for the file")
            async for chunk in deciphered(self._client.download(url), key):
                yield chunk
        except ValueError as error:
            raise Refused(f"{PLATFORM}'s file cannot be decrypted") from error

    async def close(self) -> None:
        await self._client.close()

    def _checked(self, text: str) -> URL:
        """Check an address that the platform named. Raises Refused."""
        with suppress(BadRequest):
            url = checked_url(text, "url", allow_private=self._allow_private)
            if url.scheme == "https" or self._allow_private:
                return url
        raise Refused(f"{PLATFORM} named an address that is not allowed")


class ConnectedAiBot(WeComAiBot):
    """A bot on a WebSocket of ours. A bot has one, so that its messages are sent on the one that is listened to."""

    capabilities = Capabilities(
        text=MAX_TEXT,
        replies=False,
        edits=True,
        live_seconds=2.0,
        proactive="if_known",
        uses_contexts=True,
        max_upload_bytes=MAX_UPLOAD_BYTES,
    )
    silence_seconds = 2.5 * PING_SECONDS

    def __init__(self, config: WeComAiBotConfig, network: Network) -> None:
        super().__init__(config, network)
        self._bot_id = checked_secret(config.wecomaibot_ws_bot_id, "wecomaibot_ws_bot_id")
        self._secret = checked_secret(config.wecomaibot_ws_secret, "wecomaibot_ws_secret")
        self._welcome = config.wecomaibot_friend_message_welcome_text
        url = config.api_base_url or config.wecomaibot_ws_url or WS_URL
        # The two schemes that the guard of addresses knows.
        self._url = checked_url(re.sub("^ws", "http", url), "api_base_url", allow_private=network.allow_private)
        self._link: CallSocket | None = None
        self._failure: DeliveryError | None = None
        self._settled = asyncio.Event()

    async def prepare(self, call: Call) -> str:
        assert call.file is not None
        content = await call.file.read()
        chunks = [content[start : start + CHUNK_BYTES] for start in range(0, len(content), CHUNK_BYTES)]
        file = {"type": call.fragment.payload["kind"], "filename": call.fragment.payload["filename"]}
        digest = hashlib.md5(content, usedforsecurity=False).hexdigest()
        sizes = {"total_size": len(content), "total_chunks": len(chunks), "md5": digest}
        upload_id = (await self._call("aibot_upload_media_init", {**file, **sizes}))["upload_id"]
        for index, chunk in enumerate(chunks):
            piece = {"chunk_index": index, "base64_data": base64.b64encode(chunk).decode()}
            await self._call("aibot_upload_media_chunk", {"upload_id": upload_id, **piece})
        return str((await self._call("aibot_upload_media_finish", {"upload_id": upload_id}))["media_id"])

    async def deliver(self, call: Call) -> Receipt:
        fragment = call.fragment
        if fragment.action != "send":
            # A stream cannot be taken back: it ends with what stands for nothing.
            text = str(fragment.payload["text"]) if fragment.action == "edit" else "…"
            stream_id, _, request_id = (fragment.platform_id or "").partition("@")
            await self._stream(request_id, stream_id, text, is_over=not call.is_live)
            return Receipt(fragment.platform_id)
        if call.file is None and call.context is not None:
            request_id = call.context.token
            try:
                await self._stream(request_id, call.wire_key, str(fragment.payload["text"]), is_over=not call.is_live)
            except EditImpossible:  # the right to reply is gone with its connection
                if call.is_live:
                    raise
            else:
                return Receipt(f"{call.wire_key}@{request_id}")
        elif call.is_live:
            raise Refused(f"{PLATFORM} shows one message while it is made")
        kind, chat = str(fragment.payload["kind"]), _receiver(call.target)
        content = {"content": fragment.payload["text"]} if kind == "markdown" else {"media_id": call.handle}
        chat_type = 2 if call.target.is_group else 1
        await self._call("aibot_send_msg", {"chatid": chat, "chat_type": chat_type, "msgtype": kind, kind: content})
        return Receipt()

    # Receiving

    async def listen(self, inbox: Inbox) -> None:
        failure: DeliveryError = NotSent(f"{PLATFORM}'s connection has ended")
        try:
            await self._hold(inbox)
        except DeliveryError as error:
            is_final = isinstance(error, (Unauthorized, Refused))
            failure = error if is_final else NotSent(error.message, platform_code=error.platform_code)
            raise
        finally:
            self._link, self._failure = None, failure
            self._settled.set()

    async def _hold(self, inbox: Inbox) -> None:
        """Keep the connection until it ends. Raises DeliveryError."""
        # A second cancellation must not keep the socket open.
        async with await self._client.websocket(self._url, max_bytes=MAX_UPLOAD_BYTES) as socket:
            link = CallSocket(ClientSocket(socket), PLATFORM)
            reader = asyncio.create_task(link.serve(partial(self._take, link, inbox)))
            try:
                async with asyncio.timeout(CONNECTION_SECONDS):
                    credentials = {"bot_id": self._bot_id, "secret": self._secret}
                    answer = await link.call(*_command("aibot_subscribe", credentials))
                if (code := answer.get("errcode")) in _BUSY:
                    raise NotSent(f"{PLATFORM} is busy", platform_code=str(code))
                if code != 0:
                    reason = str(answer.get("errmsg", ""))[:200]
                    raise Unauthorized(f"{PLATFORM} does not accept the bot: {reason}", platform_code=str(code))
                await inbox.connected(BotIdentity(self._bot_id, self._name or self._bot_id))
                self._link = link
                self._settled.set()
                while not link.is_closed:
                    await link.ended(PING_SECONDS)
                    if not link.is_closed:  # the answer says that the connection lives
                        await link.tell(_command("ping")[1])
                await reader
            finally:
                reader.cancel()
                await asyncio.gather(reader, return_exceptions=True)
        if link.failure is not None:
            raise link.failure

    async def _take(self, link: CallSocket, inbox: Inbox, frame: dict[str, Any]) -> None:
        inbox.alive()
        command, body = frame.get("cmd"), frame.get("body")
        headers = frame.get("headers")
        request_id = str(headers.get("req_id", "")) if isinstance(headers, dict) else ""
        if command == "aibot_msg_callback" and isinstance(body, dict):
            at = _time_of(body)
            event = event_of(body, self._name, at, OfferedContext(request_id, at + REPLY_LIFE))
            await inbox.accept([event] if event is not None else [])
        elif command == "aibot_event_callback" and isinstance(body, dict):
            event_body = body.get("event")
            kind = event_body.get("eventtype") if isinstance(event_body, dict) else None
            if kind == "disconnected_event":
                # Whoever connects takes the bot away from the other; coming back would begin a war.
                link.failure = Refused(f"Another program has connected as this bot, and {PLATFORM} allows one only")
                raise ConnectionError("the bot was taken over")
            if kind == "enter_chat" and self._welcome:
                welcome = {"msgtype": "text", "text": {"content": self._welcome}}
                await link.tell(_command("aibot_respond_welcome_msg", welcome, request_id)[1])
        else:
            link.answer(request_id, frame)

    # Calls

    async def _stream(self, request_id: str, stream_id: str, text: str, *, is_over: bool) -> None:
        """Show a text as the answer to a message, in place of what the stream showed before."""
        stream = {"id": stream_id, "finish": is_over, "content": text}
        await self._call("aibot_respond_msg", {"msgtype": "stream", "stream": stream}, request_id)

    async def _call(self, command: str, body: Mapping[str, Any], request_id: str = "") -> dict[str, Any]:
        """Give a command, and return what the answer says. Raises DeliveryError."""
        with suppress(TimeoutError):
            async with asyncio.timeout(CONNECTION_SECONDS):
                await self._settled.wait()
        if self._link is None:
            raise self._failure or NotSent(f"{PLATFORM}'s connection is not open on this server")
        answer = await self._link.call(*_command(command, body, request_id))
        if not isinstance(code := answer.get("errcode"), int):
            raise Unknown(f"{PLATFORM}'s answer cannot be read")
        if code != 0:
            raise _failure(code, str(answer.get("errmsg", "")))
        value = answer.get("body")
        return value if isinstance(value, dict) else {}


class CalledAiBot(WeComAiBot):
    """A bot that WeCom tells of messages at a URL; each names an address, at which it can be answered once."""

    capabilities = Capabilities(
        parts=frozenset({"plain"}), text=MAX_TEXT, replies=False, proactive="reply_only", uses_contexts=True
    )

    def __init__(self, config: WeComAiBotConfig, network: Network) -> None:
        super().__init__(config, network)
        self._token = checked_secret(config.wecomaibot_token, "wecomaibot_token")
        if self._key is None:
            raise invalid_config("wecomaibot_encoding_aes_key is required")

    async def deliver(self, call: Call) -> Receipt:
        if call.context is None:
            raise Refused(f"{PLATFORM} takes an answer to a message only, one within an hour")
        body = {"msgtype": "markdown", "markdown": {"content": call.fragment.payload["text"]}}
        answer = await self._client.request("POST", self._checked(call.context.token), json=body)
        if not isinstance(code := answer.object.get("errcode"), int):
            raise server_failure(answer, PLATFORM)
        if code != 0:
            raise _failure(code, str(answer.object.get("errmsg", "")))
        return Receipt()

    async def receive(self, request: DoorRequest) -> DoorAnswer:
        try:
            if request.method == "GET":  # the console's question whether this is the right place
                encrypted = request.query.get("echostr", "")
            else:
                encrypted = str(msgspec.json.decode(request.body, type=dict[str, Any])["encrypt"])
            assert self._key is not None
            message = open_envelope(request.query, encrypted, self._token, self._key, "")
            if message is None:
                return DoorAnswer(401)
            if request.method == "GET":
                return DoorAnswer(body=message, content_type="text/plain")
            body = msgspec.json.decode(message, type=dict[str, Any])
        except (ValueError, KeyError, msgspec.DecodeError):
            return DoorAnswer(400)
        at, url = _time_of(body), body.get("response_url")
        context = OfferedContext(str(url), at + RESPONSE_URL_LIFE) if url else None
        event = event_of(body, self._name, at, context)
        return DoorAnswer(content_type="text/plain", events=[] if event is None else [event])


def _receiver(target: Target) -> str:
    """Raises BadRequest."""
    id = target.session_id.removeprefix(_ASTRBOT_SESSION)
    if not _SESSION.fullmatch(id):
        raise invalid_umo("a WeCom session is a member's userid, and in groups the chat's id")
    return id


def _plan_text(text: str) -> list[Fragment]:
    # WeCom reads Markdown itself.
    return [Fragment({"kind": "markdown", "text": piece}) for piece in split(text, MAX_TEXT, str)]


def _plan_media(part: Attached) -> Fragment:
    kind = _SHOWN_AS.get(part.attachment.media_type, "file")
    if part.media.kind == "file" or part.attachment.size > MAX_BYTES[kind]:
        kind = "file"
    file = {"kind": "file", "filename": part.filename}
    return Fragment({**file, "kind": kind}, None if kind == "file" else file, part.attachment.id)


def _command(name: str, body: Mapping[str, Any] | None = None, request_id: str = "") -> tuple[str, dict[str, Any]]:
    """A command and the id by which its answer is told: that of the message it answers, or one of its own."""
    id = request_id or f"{name}_{uuid4().hex}"
    return id, {"cmd": name, "headers": {"req_id": id}, **({} if body is None else {"body": body})}


def _time_of(body: Mapping[str, Any]) -> datetime:
    at = body.get("create_time")
    return datetime.fromtimestamp(at, UTC) if isinstance(at, int) and at > 0 else utc_now()


def _failure(code: int, text: str) -> DeliveryError:
    """Say what an error code means."""
    message = f"{PLATFORM} refused the message: {text[:200] or code}"
    if (after := WAITS.get(code)) is not None:
        return RateLimited(f"{PLATFORM} asks to wait", after=after, platform_code=str(code))
    if code in _BUSY:
        return NotSent(message, platform_code=str(code))
    if code in _EXPIRED:
        return EditImpossible(message, platform_code=str(code))
    if code in _GONE:
        return TargetGone(message, platform_code=str(code))
    return Refused(message, platform_code=str(code), formatting=code == 40008)
