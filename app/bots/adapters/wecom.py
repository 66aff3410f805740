"""WeCom: messages of an application over HTTP (https://developer.work.weixin.qq.com/document)."""

import re
from collections.abc import AsyncIterator, Mapping, Sequence
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
from app.bots.adapters.config import PlatformConfig, checked_secret, checked_url, invalid_config
from app.bots.adapters.http import Network, PlatformAnswer, server_failure
from app.bots.adapters.inbound import DoorAnswer, DoorRequest, InboundMedia
from app.bots.adapters.outcomes import DeliveryError, NotSent, RateLimited, Refused, TargetGone, Unauthorized, Unknown
from app.bots.adapters.planning import plan_parts
from app.bots.adapters.tokens import AccessToken, TokenCache
from app.bots.adapters.wecom_events import event_of, fields_of, key_of, open_envelope
from app.bots.formatting.dialects import to_plain
from app.bots.formatting.splitting import TextLimit, split
from app.bots.umo import invalid_umo

ADAPTER = "wecom"
PLATFORM = "WeCom"
API_BASE_URL = "https://qyapi.weixin.qq.com"
MAX_TEXT = TextLimit(2048, "utf8")
MAX_UPLOAD_BYTES = 20 * 1024**2
MAX_BYTES = {"image": 10 * 1024**2, "voice": 2 * 1024**2, "video": 10 * 1024**2, "file": MAX_UPLOAD_BYTES}
MIN_UPLOAD_BYTES = 5
WAITS = {45009: 60.0, 45033: 1.0}

_SESSION = re.compile(r"[A-Za-z0-9_.@-]{1,64}")
_TOKEN_CODES = (40014, 41001, 42001, 42007, 42009)
_CREDENTIALS_CODES = (40001, 40013, 40056, 40091, 41002, 41004, 60020, 301002)
_GONE_CODES = (40003, 60111, 81013, 86001, 86003, 86007, 86008)
_SHOWN_AS = {
    "image/png": "image",
    "image/jpeg": "image",
    "audio/amr": "voice",
    "video/mp4": "video",
}


class WeComConfig(PlatformConfig, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`corpid` is the enterprise's, `secret` and `agent_id` the application's; the others are for receiving."""

    corpid: Annotated[str, Meta(max_length=255)]
    secret: Annotated[str, Meta(max_length=255)]
    agent_id: Annotated[str, Meta(max_length=32)]
    token: Annotated[str, Meta(max_length=255)] | None = None
    encoding_aes_key: Annotated[str, Meta(max_length=64)] | None = None
    webhook_uuid: Annotated[str, Meta(max_length=64)] | None = None

    def __repr__(self) -> str:
        return f"WeComConfig(corpid={self.corpid!r}, agent_id={self.agent_id!r})"


def wecom_factory(network: Network) -> AdapterFactory[WeComConfig]:
    """Describe the kind `wecom`."""
    return AdapterFactory(
        name=ADAPTER,
        config_type=WeComConfig,
        build=lambda _bot_id, config: WeComAdapter(config, network),
        secret_fields=frozenset({"secret", "token", "encoding_aes_key"}),
    )


class WeComAdapter:
    """One application of an enterprise. A group is a chat that an application has made."""

    capabilities = Capabilities(text=MAX_TEXT, replies=False, max_upload_bytes=MAX_UPLOAD_BYTES)

    def __init__(self, config: WeComConfig, network: Network) -> None:
        self._credentials = {
            "corpid": checked_secret(config.corpid, "corpid"),
            "corpsecret": checked_secret(config.secret, "secret"),
        }
        if not config.agent_id.isdecimal():
            raise invalid_config("agent_id must be the application's number")
        self._agent_id = int(config.agent_id)
        self._token, self._key = config.token, None
        if config.encoding_aes_key is not None:
            try:
                self._key = key_of(config.encoding_aes_key)
            except ValueError as error:
                raise invalid_config(f"encoding_aes_key: {error}") from None
        base = config.api_base_url or API_BASE_URL
        # AstrBot's api_base_url ends in /cgi-bin/.
        base = base.rstrip("/").removesuffix("/cgi-bin")
        self._base = checked_url(base, "api_base_url", allow_private=network.allow_private) / "cgi-bin"
        self._client = network.client(PLATFORM)
        self._tokens = TokenCache(self._fetch_token)

    def plan(self, target: Target, parts: Sequence[OutgoingPart]) -> list[Fragment]:
        _receiver(target)
        return plan_parts(parts, _plan_text, _plan_media)

    async def prepare(self, call: Call) -> str:
        assert call.file is not None
        payload, form = call.fragment.payload, aiohttp.FormData()
        media_type = call.file.attachment.media_type
        form.add_field("media", await call.file.read(), filename=payload["filename"], content_type=media_type)
        token = await self._tokens.get()
        url = (self._base / "media/upload").with_query(access_token=token, type=payload["type"])
        answer = await self._client.request("POST", url, data=form, seconds=120.0)
        if answer.object.get("errcode") in _TOKEN_CODES:
            self._tokens.discard(token)
            raise NotSent(f"{PLATFORM}'s token has expired")  # a form can be sent once only
        return str(_result(answer)["media_id"])

    async def deliver(self, call: Call) -> Receipt:
        payload, kind = call.fragment.payload, str(call.fragment.payload["type"])
        content = {"content": payload["text"]} if kind == "text" else {"media_id": call.handle}
        body = {**_receiver(call.target), "msgtype": kind, kind: content}
        if call.target.is_group:
            await self._call("POST", "appchat/send", body)
            return Receipt()
        value = await self._call("POST", "message/send", {**body, "agentid": self._agent_id})
        if call.target.session_id in str(value.get("invaliduser") or "").split("|"):
            raise TargetGone(f"{PLATFORM} does not know this user, or the application is hidden from them")
        return Receipt(str(value["msgid"]) if "msgid" in value else None)

    async def check(self) -> BotIdentity:
        value = await self._call("GET", "agent/get", query={"agentid": str(self._agent_id)})
        return BotIdentity(str(self._agent_id), str(value.get("name", "")))

    # Receiving

    async def receive(self, request: DoorRequest) -> DoorAnswer:
        query = request.query
        try:
            # A GET is the console's question whether this is the right place; it wants its own text back.
            encrypted = query.get("echostr", "") if request.method == "GET" else fields_of(request.body)["Encrypt"]
        except (ValueError, KeyError):
            return DoorAnswer(400)
        if self._token is None or self._key is None:
            return DoorAnswer(401)
        try:
            message = open_envelope(query, encrypted, self._token, self._key, str(self._credentials["corpid"]))
            if message is None:
                return DoorAnswer(401)
            if request.method == "GET":
                return DoorAnswer(body=message, content_type="text/plain")
            event = event_of(fields_of(message))
        except ValueError:
            return DoorAnswer(400)
        return DoorAnswer(content_type="text/plain", events=[] if event is None else [event])

    async def fetch(self, media: InboundMedia) -> AsyncIterator[bytes]:
        query = {"access_token": await self._tokens.get(), "media_id": str(media.reference["media_id"])}
        async for chunk in self._client.download((self._base / "media/get").with_query(query)):
            yield chunk

    async def close(self) -> None:
        await self._client.close()

    async def _call(
        self, method: str, path: str, body: Any = None, query: Mapping[str, str] | None = None
    ) -> dict[str, Any]:
        """Call the API, and return the answer. Raises DeliveryError."""
        for is_last in (False, True):
            token = await self._tokens.get()
            url = self._base.joinpath(path).with_query({**(query or {}), "access_token": token})
            answer = await self._client.request(method, url, json=body)
            if answer.object.get("errcode") in _TOKEN_CODES and not is_last:
                self._tokens.discard(token)
                continue
            return _result(answer)
        raise AssertionError("the last answer is a result or a failure")

    async def _fetch_token(self) -> AccessToken:
        url = (self._base / "gettoken").with_query(self._credentials)
        answer = await self._client.request("GET", url)
        try:
            value = _result(answer)
        except Refused as error:
            # Whatever else is refused here, it is the application's credentials.
            raise Unauthorized(error.message, platform_code=error.platform_code) from error
        return AccessToken(str(value["access_token"]), float(value.get("expires_in", 7200)))


def _receiver(target: Target) -> dict[str, str]:
    """Raises BadRequest."""
    if not _SESSION.fullmatch(target.session_id) or target.session_id == "@all":
        raise invalid_umo("a WeCom session is a member's userid, and in groups the id of a chat of the application")
    return {"chatid" if target.is_group else "touser": target.session_id}


def _plan_text(text: str) -> list[Fragment]:
    # Members who use WeChat see plain text only.
    return [Fragment({"type": "text", "text": to_plain(piece)}) for piece in split(text, MAX_TEXT, to_plain)]


def _plan_media(part: Attached) -> Fragment:
    kind = _SHOWN_AS.get(part.attachment.media_type, "file")
    if part.media.kind == "file" or part.attachment.size > MAX_BYTES[kind]:
        kind = "file"
    file = {"type": "file", "filename": part.filename}
    return Fragment({**file, "type": kind}, None if kind == "file" else file, part.attachment.id)


def _result(answer: PlatformAnswer) -> dict[str, Any]:
    """Return an answer whose error code is 0; HTTP's status is 200 for all of them."""
    value = answer.object
    code = value.get("errcode")
    if not isinstance(code, int):
        raise (
            server_failure(answer, PLATFORM) if answer.status >= 400 else Unknown(f"{PLATFORM}'s answer cannot be read")
        )
    if code == 0:
        return value
    raise _failure(code, str(value.get("errmsg", "")))


def _failure(code: int, text: str) -> DeliveryError:
    """Say what an error code means."""
    message = f"{PLATFORM} refused the message: {text[:200] or code}"
    if (after := WAITS.get(code)) is not None:
        return RateLimited(f"{PLATFORM} asks to wait", after=after, scope="bot", platform_code=str(code))
    if code == -1:  # "the system is busy, try again later"
        return NotSent(message, platform_code="-1")
    if code in _TOKEN_CODES or code in _CREDENTIALS_CODES:
        reason = "this server's address is not on its list of trusted ones" if code == 60020 else text[:200]
        return Unauthorized(
            f"{PLATFORM} does not accept the application's credentials: {reason}", platform_code=str(code)
        )
    if code in _GONE_CODES:
        return TargetGone(message, platform_code=str(code))
    return Refused(message, platform_code=str(code), formatting=code in (40004, 40005, 40006, 45001))
