"""OneBot v11, the protocol of NapCat, Lagrange and other QQ clients, over a WebSocket (https://11.onebot.dev)."""

import asyncio
import base64
import itertools
import re
from collections.abc import Mapping, Sequence
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
from app.bots.adapters.config import PlatformConfig, checked_secret, checked_url, invalid_config
from app.bots.adapters.http import Network
from app.bots.adapters.outcomes import DeliveryError, NotSent, Refused, Unauthorized, Unknown
from app.bots.adapters.planning import plan_parts
from app.bots.formatting.dialects import to_plain
from app.bots.formatting.splitting import TextLimit, split
from app.bots.umo import invalid_umo

ADAPTER = "aiocqhttp"
PLATFORM = "OneBot"
MAX_TEXT = TextLimit(4000)
MAX_UPLOAD_BYTES = 20 * 1024**2
MAX_FRAME_BYTES = 64 * 1024**2
PING_SECONDS = 30.0

_NUMBER = re.compile(r"[1-9][0-9]{0,18}")
_UNAUTHORIZED = frozenset({1401, 1403})


class OneBotConfig(PlatformConfig, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The WebSocket server of a OneBot client is `api_base_url`, and takes the token."""

    access_token: Annotated[str, Meta(max_length=255)] = ""

    def __repr__(self) -> str:
        return f"OneBotConfig(api_base_url={self.api_base_url!r})"


def onebot_factory(network: Network) -> AdapterFactory[OneBotConfig]:
    """Describe the kind `aiocqhttp`."""
    return AdapterFactory(
        name=ADAPTER,
        config_type=OneBotConfig,
        build=lambda _bot_id, config: OneBotAdapter(config, network),
        secret_fields=frozenset({"access_token"}),
    )


class OneBotAdapter:
    """One QQ account behind a OneBot client."""

    capabilities = Capabilities(text=MAX_TEXT, max_upload_bytes=MAX_UPLOAD_BYTES)

    def __init__(self, config: OneBotConfig, network: Network) -> None:
        if config.api_base_url is None:
            raise invalid_config("api_base_url is required: the address of the client's WebSocket server")
        url = re.sub("^ws", "http", config.api_base_url)  # the two schemes that the guard of addresses knows
        self._url = checked_url(url, "api_base_url", allow_private=network.allow_private)
        self._headers: dict[str, str] = {}
        if config.access_token:
            self._headers["Authorization"] = f"Bearer {checked_secret(config.access_token, 'access_token')}"
        self._client = network.client(PLATFORM)
        self._opening = asyncio.Lock()
        self._link: _Link | None = None

    def plan(self, target: Target, parts: Sequence[OutgoingPart]) -> list[Fragment]:
        _destination(target)
        return plan_parts(parts, _texts, _media)

    async def deliver(self, call: Call) -> Receipt:
        fragment = call.fragment
        link = await self._linked()
        if fragment.action == "delete":
            await link.call("delete_msg", {"message_id": int(fragment.platform_id or 0)})
            return Receipt(fragment.platform_id)
        action, where = _destination(call.target)
        segments = await _segments(call)
        data = await link.call(action, {**where, "message": segments})
        return Receipt(str(data["message_id"]) if "message_id" in data else None)

    async def check(self) -> BotIdentity:
        link = await self._linked()
        me = await link.call("get_login_info", {})
        return BotIdentity(str(me.get("user_id", "")), str(me.get("nickname", "")))

    async def close(self) -> None:
        if self._link is not None:
            await self._link.close()
        await self._client.close()

    async def _linked(self) -> "_Link":
        """The open connection; one is opened if there is none. Raises DeliveryError."""
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
                self._link = _Link(socket)
            return self._link


class _Link:
    """A connection to a OneBot client: calls, whose answers are told by their `echo`."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._numbers = itertools.count(1)
        self._waiting: dict[str, asyncio.Future[dict[str, Any]]] = {}
        self._failure: DeliveryError | None = None
        self._reader = asyncio.create_task(self._read())

    @property
    def is_closed(self) -> bool:
        return self._reader.done()

    async def call(self, action: str, params: Mapping[str, Any]) -> dict[str, Any]:
        """Call an action, and return its data. Raises DeliveryError."""
        echo = str(next(self._numbers))
        answer = self._waiting[echo] = asyncio.get_running_loop().create_future()
        try:
            if self.is_closed:
                raise self._failure or NotSent(f"{PLATFORM}'s connection is closed")
            text = msgspec.json.encode({"action": action, "params": params, "echo": echo}).decode()
            try:
                await self._socket.send_str(text)
            except (aiohttp.ClientError, OSError) as error:
                raise Unknown(f"{PLATFORM} cut the connection before it answered") from error
            return _data(await answer)
        finally:
            del self._waiting[echo]

    async def close(self) -> None:
        await self._socket.close()
        self._reader.cancel()
        await asyncio.gather(self._reader, return_exceptions=True)

    async def _read(self) -> None:
        try:
            async for message in self._socket:
                if message.type is aiohttp.WSMsgType.TEXT:
                    self._take(message.data)
        finally:
            for answer in self._waiting.values():
                if not answer.done():
                    answer.set_exception(self._failure or Unknown(f"{PLATFORM} cut the connection before it answered"))

    def _take(self, text: str) -> None:
        try:
            value = msgspec.json.decode(text)
        except (msgspec.DecodeError, RecursionError):
            return
        if not isinstance(value, dict):
            return
        if value.get("retcode") in _UNAUTHORIZED and not value.get("echo"):  # and the connection is closed
            self._failure = _unauthorized(str(value["retcode"]))
        answer = self._waiting.get(str(value.get("echo")))
        if answer is not None and not answer.done():
            answer.set_result(value)


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
