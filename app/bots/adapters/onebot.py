"""OneBot v11, the protocol of NapCat, Lagrange and other QQ clients, over a WebSocket (https://11.onebot.dev)."""

import asyncio
import base64
import hmac
import itertools
import re
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from typing import Annotated, Any

import aiohttp
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
from app.bots.adapters.calls import CallSocket, ClientSocket
from app.bots.adapters.config import PlatformConfig, checked_secret, checked_url, invalid_config
from app.bots.adapters.http import Network
from app.bots.adapters.inbound import DoorRequest, DoorSocket, InboundEvent, InboundMedia, Inbox
from app.bots.adapters.onebot_events import event_of
from app.bots.adapters.outcomes import DeliveryError, NotSent, Refused, Unauthorized, Unknown
from app.bots.adapters.planning import plan_parts
from app.bots.formatting.dialects import to_plain
from app.bots.formatting.splitting import TextLimit, split
from app.bots.umo import invalid_umo
from app.errors import BadRequest

ADAPTER = "aiocqhttp"
PLATFORM = "OneBot"
MAX_TEXT = TextLimit(4000)
MAX_UPLOAD_BYTES = 20 * 1024**2
MAX_FRAME_BYTES = 64 * 1024**2
PING_SECONDS = 30.0

_NUMBER = re.compile(r"[1-9][0-9]{0,18}")
_UNAUTHORIZED = frozenset({1401, 1403})


class OneBotConfig(PlatformConfig, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where the connection comes from.

    With `api_base_url`, the address of the client's WebSocket server, it is opened by Palaver, with `access_token`.
    Otherwise the client opens it, with `ws_reverse_token`.
    """

    access_token: Annotated[str, Meta(max_length=255)] = ""
    ws_reverse_token: Annotated[str, Meta(max_length=255)] = ""

    def __repr__(self) -> str:
        return f"OneBotConfig(api_base_url={self.api_base_url!r})"


def onebot_factory(network: Network) -> AdapterFactory[OneBotConfig]:
    """Describe the kind `aiocqhttp`."""
    return AdapterFactory(
        name=ADAPTER,
        config_type=OneBotConfig,
        build=lambda _bot_id, config: _build(config, network),
        secret_fields=frozenset({"access_token", "ws_reverse_token"}),
    )


def _build(config: OneBotConfig, network: Network) -> "OneBotAdapter":
    return ReverseOneBot(config, network) if config.api_base_url is None else ForwardOneBot(config, network)


class OneBotAdapter(ABC):
    """One QQ account behind a OneBot client; how the connection comes about is the derived classes'."""

    capabilities = Capabilities(text=MAX_TEXT, max_upload_bytes=MAX_UPLOAD_BYTES)

    def __init__(self, network: Network) -> None:
        self._allow_private = network.allow_private
        self._client = network.client(PLATFORM)

    @abstractmethod
    async def _linked(self) -> "_Link":
        """The open connection. Raises DeliveryError if there is none."""

    def plan(self, target: Target, parts: Sequence[OutgoingPart]) -> list[Fragment]:
        _destination(target)
        return plan_parts(parts, _texts, _media)

    async def deliver(self, call: Call) -> Receipt:
        fragment = call.fragment
        link = await self._linked()
        if fragment.action == "delete":
            await link.act("delete_msg", {"message_id": int(fragment.platform_id or 0)})
            return Receipt(fragment.platform_id)
        action, where = _destination(call.target)
        segments = await _segments(call)
        data = await link.act(action, {**where, "message": segments})
        return Receipt(str(data["message_id"]) if "message_id" in data else None)

    async def check(self) -> BotIdentity:
        return await _identity(await self._linked())

    async def fetch(self, media: InboundMedia) -> AsyncIterator[bytes]:
        url = str(media.reference.get("url", ""))
        if not url.startswith(("http://", "https://")):
            file = media.reference.get("file_id") or media.reference.get("file")
            data = await (await self._linked()).act("get_file", {"file_id": file, "file": file})
            if encoded := data.get("base64"):
                yield base64.b64decode(str(encoded))
                return
            url = str(data.get("url", ""))
        try:
            address = checked_url(url, "url", allow_private=self._allow_private)
        except BadRequest as error:
            raise Refused(f"{PLATFORM} named an address for the file that is not allowed") from error
        async for chunk in self._client.download(address):
            yield chunk

    async def close(self) -> None:
        await self._client.close()


class ForwardOneBot(OneBotAdapter):
    """A client that runs a WebSocket server."""

    silence_seconds = 3 * PING_SECONDS

    def __init__(self, config: OneBotConfig, network: Network) -> None:
        super().__init__(network)
        url = re.sub("^ws", "http", config.api_base_url or "")  # the two schemes that the guard of addresses knows
        self._url = checked_url(url, "api_base_url", allow_private=network.allow_private)
        self._headers: dict[str, str] = {}
        if config.access_token:
            self._headers["Authorization"] = f"Bearer {checked_secret(config.access_token, 'access_token')}"
        self._opening = asyncio.Lock()
        self._link: _Link | None = None
        self._reader: asyncio.Task[None] | None = None
        self._inbox: Inbox | None = None

    async def listen(self, inbox: Inbox) -> None:
        self._inbox = inbox
        try:
            link = await self._linked()
            await inbox.connected(await self.check())
            while not link.is_closed:
                # The connection answers pings, or is closed.
                inbox.alive()
                await link.ended(PING_SECONDS)
        finally:
            self._inbox = None
        if link.failure is not None:
            raise link.failure

    async def close(self) -> None:
        if self._reader is not None:
            self._reader.cancel()
            await asyncio.gather(self._reader, return_exceptions=True)
        await super().close()

    async def _linked(self) -> "_Link":
        async with self._opening:
            if self._link is None or self._link.is_closed:
                try:
                    socket = await self._client.websocket(
                        self._url, headers=self._headers, max_bytes=MAX_FRAME_BYTES, ping_seconds=PING_SECONDS
                    )
                except Refused as error:
                    if error.platform_code in ("401", "403"):
                        raise _unauthorized(error.platform_code) from error
                    raise
                self._link = _Link(ClientSocket(socket), self._accept)
                self._reader = asyncio.create_task(self._read(self._link, socket))
            return self._link

    @staticmethod
    async def _read(link: "_Link", socket: aiohttp.ClientWebSocketResponse) -> None:
        try:
            await link.serve(link.take)
        finally:
            await socket.close()

    async def _accept(self, event: InboundEvent) -> None:
        if self._inbox is not None:
            self._inbox.alive()
            await self._inbox.accept([event])


class ReverseOneBot(OneBotAdapter):
    """A client that opens the WebSocket to us. Of several connections, the last one takes calls."""

    def __init__(self, config: OneBotConfig, network: Network) -> None:
        super().__init__(network)
        if not config.ws_reverse_token:
            raise invalid_config("ws_reverse_token is required, or api_base_url: the client's WebSocket server")
        self._token = checked_secret(config.ws_reverse_token, "ws_reverse_token")
        self._links: list[_Link] = []

    def admits(self, request: DoorRequest) -> bool:
        given = request.headers.get("authorization", "").partition(" ")[2] or request.query.get("access_token", "")
        is_whole = request.headers.get("x-client-role", "universal").lower() == "universal"
        return hmac.compare_digest(given.encode(), self._token.encode()) and is_whole

    async def serve(self, socket: DoorSocket, inbox: Inbox) -> None:
        link = _Link(socket, lambda event: inbox.accept([event]))
        self._links.append(link)
        try:
            async with asyncio.TaskGroup() as group:
                naming = group.create_task(self._name(link, inbox))
                await link.serve(link.take)
                naming.cancel()
        finally:
            self._links.remove(link)

    @staticmethod
    async def _name(link: "_Link", inbox: Inbox) -> None:
        with suppress(DeliveryError):
            await inbox.connected(await _identity(link))

    async def _linked(self) -> "_Link":
        if not self._links:
            raise NotSent(f"{PLATFORM}'s client is not connected")
        return self._links[-1]


class _Link(CallSocket):
    """A connection to a OneBot client."""

    def __init__(self, socket: DoorSocket, accept: Callable[[InboundEvent], Awaitable[None]]) -> None:
        super().__init__(socket, PLATFORM)
        self._accept = accept
        self._numbers = itertools.count(1)

    async def act(self, action: str, params: Mapping[str, Any]) -> dict[str, Any]:
        """Call an action, and return its data. Raises DeliveryError."""
        echo = str(next(self._numbers))
        return _data(await self.call(echo, {"action": action, "params": params, "echo": echo}))

    async def take(self, value: dict[str, Any]) -> None:
        if "post_type" in value:
            if (event := event_of(value)) is not None:
                await self._accept(event)
            return
        if value.get("retcode") in _UNAUTHORIZED and not value.get("echo"):  # and the connection is closed
            self.failure = _unauthorized(str(value["retcode"]))
        self.answer(str(value.get("echo")), value)


async def _identity(link: _Link) -> BotIdentity:
    me = await link.act("get_login_info", {})
    return BotIdentity(str(me.get("user_id", "")), str(me.get("nickname", "")))


def _destination(target: Target) -> tuple[str, dict[str, int]]:
    """The action that sends to a target, and its number. Raises BadRequest."""
    # AstrBot's sessions of one user in a group are `user_group`.
    number = target.session_id.rpartition("_")[2] if target.is_group else target.session_id
    if not _NUMBER.fullmatch(number):
        raise invalid_umo("a OneBot session is the number of a user, or of a group")
    return (
        ("send_group_msg", {"group_id": int(number)})
        if target.is_group
        else (
            "send_private_msg",
            {"user_id": int(number)},
        )
    )


def _texts(text: str) -> list[Fragment]:
    return [Fragment({"text": to_plain(piece)}) for piece in split(text, MAX_TEXT, to_plain)]


def _media(part: Attached) -> Fragment:
    payload = {"segment": part.media.kind, "filename": part.filename}
    return Fragment(payload, None, part.attachment.id)


async def _segments(call: Call) -> list[dict[str, Any]]:
    payload = call.fragment.payload
    segments: list[dict[str, Any]] = []
    if re.fullmatch("-?[0-9]{1,18}", quoted := str(payload.get("reply_to", ""))):
        segments.append({"type": "reply", "data": {"id": quoted}})
    if call.file is None:
        return [*segments, {"type": "text", "data": {"text": payload["text"]}}]
    content = base64.b64encode(await call.file.read()).decode()
    data = {"file": f"base64://{content}", "name": payload["filename"]}
    # Clients refuse a file or a recording that is not alone in its message.
    alone = payload["segment"] in ("file", "record", "video")
    return [*([] if alone else segments), {"type": payload["segment"], "data": data}]


def _data(answer: Mapping[str, Any]) -> dict[str, Any]:
    """The data of an answer. Raises DeliveryError."""
    code = answer.get("retcode")
    if answer.get("status") == "async" or code == 1:
        raise Unknown(f"{PLATFORM} has not said whether the message was sent", platform_code="async")
    if answer.get("status") == "ok" or code == 0:
        data = answer.get("data")
        return data if isinstance(data, dict) else {}
    reason = str(answer.get("wording") or answer.get("message") or answer.get("msg") or code)[:200]
    if code in _UNAUTHORIZED:
        raise _unauthorized(str(code))
    if "timeout" in reason.lower():  # NapCat's word for a message whose way it has lost sight of: most arrive
        raise Unknown(f"{PLATFORM} did not see whether the message arrived: {reason}", platform_code=str(code))
    raise Refused(f"{PLATFORM} refused the message: {reason}", platform_code=str(code))


def _unauthorized(code: str) -> Unauthorized:
    return Unauthorized(f"{PLATFORM} does not accept the bot's token", platform_code=code)
