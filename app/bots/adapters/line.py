"""LINE: the Messaging API over HTTP (https://developers.line.biz/en/reference/messaging-api)."""

import asyncio
import base64
import hmac
import re
from collections.abc import AsyncIterator, Sequence
from datetime import timedelta
from typing import Annotated, Any
from uuid import UUID

import msgspec
from msgspec import Meta
from yarl import URL

from app.bots.adapters.base import (
    AdapterFactory,
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
from app.bots.adapters.inbound import DoorAnswer, DoorRequest, InboundMedia
from app.bots.adapters.line_events import event_of
from app.bots.adapters.outcomes import DeliveryError, NotSent, RateLimited, Refused, TargetGone, Unauthorized, Unknown
from app.bots.formatting.dialects import to_plain
from app.bots.formatting.splitting import TextLimit, split
from app.bots.umo import invalid_umo
from app.chat.parts import Text
from app.clock import utc_now

ADAPTER = "line"
PLATFORM = "LINE"
API_BASE_URL = "https://api.line.me"
DATA_BASE_URL = "https://api-data.line.me"
MAX_TEXT = TextLimit(5000, "utf16")
MAX_MESSAGES = 5
"""The messages of one call; they count as one in the channel's quota."""
REPEATS = timedelta(hours=23)
DEFAULT_WAIT = 2.0
LOADING_SECONDS = 20
SURELY_VALID = timedelta(seconds=20)
"""A reply token that still has so much of its time has not expired."""
TRANSCODING_POLLS = 20

_SESSION = re.compile("[UCR][0-9a-f]{32}")
_GONE = ("failed to send messages", "'to', in the request body is invalid", "not found")


class LineConfig(PlatformConfig, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`channel_access_token` is a long-lived token of the channel; `channel_secret` signs its webhooks."""

    channel_access_token: Annotated[str, Meta(max_length=1024)]
    channel_secret: Annotated[str, Meta(max_length=255)]
    webhook_uuid: Annotated[str, Meta(max_length=64)] | None = None

    def __repr__(self) -> str:
        return f"LineConfig(api_base_url={self.api_base_url!r})"


def line_factory(network: Network) -> AdapterFactory[LineConfig]:
    """Describe the kind `line`."""
    return AdapterFactory(
        name=ADAPTER,
        config_type=LineConfig,
        build=lambda _bot_id, config: LineAdapter(config, network),
        secret_fields=frozenset({"channel_access_token", "channel_secret"}),
    )


class LineAdapter:
    """One channel on LINE. Files are left out: LINE fetches them at public URLs only, and has no call for uploads."""

    capabilities = Capabilities(
        parts=frozenset({"plain"}),
        text=MAX_TEXT,
        replies=False,
        repeat=Repeat("keyed", REPEATS),
        typing_seconds=float(LOADING_SECONDS),
        uses_contexts=True,
    )

    def __init__(self, config: LineConfig, network: Network) -> None:
        token = checked_secret(config.channel_access_token, "channel_access_token")
        self._secret = checked_secret(config.channel_secret, "channel_secret").encode()
        base = config.api_base_url or API_BASE_URL
        self._base = checked_url(base, "api_base_url", allow_private=network.allow_private) / "v2/bot"
        data = config.api_base_url or DATA_BASE_URL
        self._data = checked_url(data, "api_base_url", allow_private=network.allow_private) / "v2/bot/message"
        self._client = network.client(PLATFORM, {"Authorization": f"Bearer {token}"})

    def plan(self, target: Target, parts: Sequence[OutgoingPart]) -> list[Fragment]:
        _receiver(target)
        texts = [
            to_plain(piece)
            for part in parts
            if isinstance(part, Text)
            for piece in split(part.text, MAX_TEXT, to_plain)
        ]
        return [Fragment({"texts": texts[at : at + MAX_MESSAGES]}) for at in range(0, len(texts), MAX_MESSAGES)]

    async def deliver(self, call: Call) -> Receipt:
        messages = [{"type": "text", "text": text} for text in call.fragment.payload["texts"]]
        if call.context is not None and (receipt := await self._reply(call, messages)) is not None:
            return receipt
        body = {"to": _receiver(call.target), "messages": messages}
        headers = {"X-Line-Retry-Key": str(UUID(hex=call.wire_key))}
        answer = await self._client.request("POST", self._base / "message/push", json=body, headers=headers)
        # 409: an earlier call with this key was accepted.
        if answer.status != 200 and not (answer.status == 409 and "x-line-accepted-request-id" in answer.headers):
            raise _failure(answer)
        return _receipt(answer)

    async def _reply(self, call: Call, messages: list[dict[str, str]]) -> Receipt | None:
        """Answer with a reply token, which costs nothing of the quota; None if the token cannot be used any more.

        A token is good for one call, and a retry key is not allowed: a token that an earlier try has used up has
        delivered the message.
        """
        assert call.context is not None
        if call.context.expires_at <= utc_now() and call.tries == 0:
            return None
        body = {"replyToken": call.context.token, "messages": messages}
        answer = await self._client.request("POST", self._base / "message/reply", json=body)
        if answer.status == 200:
            return _receipt(answer)
        if "invalid reply token" not in str(answer.object.get("message", "")).lower():
            raise _failure(answer)
        if call.tries == 0:
            return None
        if utc_now() < call.context.expires_at - SURELY_VALID:
            return Receipt()
        raise Unknown(f"{PLATFORM} does not say whether the reply arrived")

    async def typing(self, target: Target) -> None:
        if not target.is_group:
            await self._call(
                "POST", "chat/loading/start", {"chatId": _receiver(target), "loadingSeconds": LOADING_SECONDS}
            )

    async def check(self) -> BotIdentity:
        me = await self._call("GET", "info")
        return BotIdentity(str(me.get("userId", "")), str(me.get("displayName", "")), (str(me.get("basicId", "")),))

    # Receiving

    async def receive(self, request: DoorRequest) -> DoorAnswer:
        signature = base64.b64encode(hmac.digest(self._secret, request.body, "sha256"))
        if not hmac.compare_digest(request.headers.get("x-line-signature", "").encode(), signature):
            return DoorAnswer(401)
        try:
            events = msgspec.json.decode(request.body, type=dict[str, Any]).get("events")
        except msgspec.DecodeError:
            return DoorAnswer(400)
        found = [event_of(each) for each in events if isinstance(each, dict)] if isinstance(events, list) else []
        return DoorAnswer(events=[event for event in found if event.dedupe_key])

    async def fetch(self, media: InboundMedia) -> AsyncIterator[bytes]:
        url = self._data / str(media.reference["id"]) / "content"
        if media.reference["type"] in ("video", "audio"):
            await self._wait_for_transcoding(url / "transcoding")
        async for chunk in self._client.download(url):
            yield chunk

    async def _wait_for_transcoding(self, url: URL) -> None:
        for _ in range(TRANSCODING_POLLS):
            answer = await self._client.request("GET", url)
            if answer.object.get("status") != "processing":
                return
            await asyncio.sleep(1.0)
        raise NotSent(f"{PLATFORM} is still preparing the file")

    async def close(self) -> None:
        await self._client.close()

    async def _call(self, method: str, path: str, body: Any = None) -> dict[str, Any]:
        answer = await self._client.request(method, self._base / path, json=body)
        if answer.status >= 300:
            raise _failure(answer)
        return answer.object


def _receiver(target: Target) -> str:
    """Raises BadRequest."""
    id = target.session_id
    if not _SESSION.fullmatch(id) or target.is_group == id.startswith("U"):
        raise invalid_umo("a LINE session is a user's id (U...), and in groups a group's (C...) or a room's (R...)")
    return id


def _receipt(answer: PlatformAnswer) -> Receipt:
    sent = answer.object.get("sentMessages")
    ids = [str(each["id"]) for each in sent if isinstance(each, dict)] if isinstance(sent, list) else []
    return Receipt(ids[0] if ids else None, {"ids": ids} if len(ids) > 1 else {})


def _failure(answer: PlatformAnswer) -> DeliveryError:
    """Say what a refusal of the Messaging API means."""
    text, code = str(answer.object.get("message", ""))[:200], str(answer.status)
    message, lower = f"{PLATFORM} refused the message: {text or code}", text.lower()
    if answer.status == 429 and "monthly limit" not in lower:
        after = answer.retry_after or DEFAULT_WAIT
        return RateLimited(f"{PLATFORM} asks to wait {after:g} seconds", after=after, scope="bot", platform_code=code)
    if answer.status >= 500:
        return server_failure(answer, PLATFORM)
    if answer.status == 401:
        return Unauthorized(f"{PLATFORM} does not accept the channel access token", platform_code=code)
    if any(phrase in lower for phrase in _GONE):
        return TargetGone(message, platform_code=code)
    return Refused(message, platform_code=code)
