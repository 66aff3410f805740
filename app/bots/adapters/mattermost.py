"""Mattermost: the REST API, version 4 (https://developers.mattermost.com/api-documentation)."""

import asyncio
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import timedelta
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
    Repeat,
    Target,
)
from app.bots.adapters.config import PlatformConfig, Url, checked_secret, checked_url, invalid_config
from app.bots.adapters.http import Network, PlatformAnswer, server_failure
from app.bots.adapters.inbound import InboundEvent, InboundMedia, Inbox
from app.bots.adapters.mattermost_events import event_of
from app.bots.adapters.outcomes import DeliveryError, EditImpossible, RateLimited, Refused, TargetGone, Unauthorized
from app.bots.adapters.planning import plan_parts
from app.bots.formatting.splitting import TextLimit, split
from app.bots.umo import invalid_umo

ADAPTER = "mattermost"
PLATFORM = "Mattermost"
MAX_TEXT = TextLimit(16_383)
MAX_UPLOAD_BYTES = 100 * 1024**2
REPEATS = timedelta(seconds=25)
"""A server remembers a pending post's id for 30 seconds."""
DEFAULT_WAIT = 1.0
TYPING_SECONDS = 5.0
PING_SECONDS = 30.0

_ID = re.compile("[a-z0-9]{26}")
_MENTION_OF_ALL = re.compile(r"(?<!\w)@(?=(all|channel|here)\b)", re.IGNORECASE)


class MattermostConfig(PlatformConfig, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`mattermost_url` is the URL of the server, `mattermost_bot_token` the access token of a bot account."""

    mattermost_url: Url | None = None
    mattermost_bot_token: Annotated[str, Meta(max_length=255)]

    def __repr__(self) -> str:
        return f"MattermostConfig(mattermost_url={self.mattermost_url!r})"


def mattermost_factory(network: Network) -> AdapterFactory[MattermostConfig]:
    """Describe the kind `mattermost`."""
    return AdapterFactory(
        name=ADAPTER,
        config_type=MattermostConfig,
        build=lambda _bot_id, config: MattermostAdapter(config, network),
        secret_fields=frozenset({"mattermost_bot_token"}),
    )


class MattermostAdapter:
    """One bot account on a server."""

    capabilities = Capabilities(
        text=MAX_TEXT,
        edits=True,
        live_seconds=1.0,
        typing_seconds=TYPING_SECONDS,
        repeat=Repeat("keyed", REPEATS),
        max_upload_bytes=MAX_UPLOAD_BYTES,
    )

    def __init__(self, config: MattermostConfig, network: Network) -> None:
        token = checked_secret(config.mattermost_bot_token, "mattermost_bot_token")
        base = config.api_base_url or config.mattermost_url
        if base is None:
            raise invalid_config("mattermost_url must be given")
        self._base = checked_url(base, "mattermost_url", allow_private=network.allow_private) / "api/v4"
        self._client = network.client(PLATFORM, {"Authorization": f"Bearer {token}"})
        self._me: BotIdentity | None = None

    def plan(self, target: Target, parts: Sequence[OutgoingPart]) -> list[Fragment]:
        _channel(target)
        return plan_parts(parts, _plan_text, _plan_media)

    async def prepare(self, call: Call) -> str:
        assert call.file is not None
        url = (self._base / "files").with_query(
            channel_id=_channel(call.target), filename=call.fragment.payload["filename"]
        )
        answer = await self._client.request(
            "POST",
            url,
            data=await call.file.read(),
            headers={"Content-Type": call.file.attachment.media_type},
            seconds=120.0,
        )
        return str(_result(answer)["file_infos"][0]["id"])

    async def deliver(self, call: Call) -> Receipt:
        fragment, channel = call.fragment, _channel(call.target)
        text = str(fragment.payload.get("text", ""))
        if fragment.action == "delete":
            await self._call("DELETE", f"posts/{fragment.platform_id}")
            return Receipt(fragment.platform_id)
        if fragment.action == "edit":
            try:
                await self._call("PUT", f"posts/{fragment.platform_id}/patch", {"message": text})
            except Refused as error:
                if error.platform_code in ("403", "404"):
                    raise EditImpossible(error.message, platform_code=error.platform_code) from error
                raise
            return Receipt(fragment.platform_id)
        me = await self._identity()
        body: dict[str, Any] = {"channel_id": channel, "message": text, "pending_post_id": f"{me.id}:{call.wire_key}"}
        if root := await self._root(str(fragment.payload.get("reply_to", "")), channel):
            body["root_id"] = root
        if call.handle is not None:
            body["file_ids"] = [call.handle]
        return Receipt(str((await self._call("POST", "posts", body))["id"]))

    async def typing(self, target: Target) -> None:
        await self._call("POST", "users/me/typing", {"channel_id": _channel(target)})

    async def check(self) -> BotIdentity:
        me = await self._call("GET", "users/me")
        name = str(me.get("username", ""))
        self._me = BotIdentity(str(me["id"]), name, (name,))
        return self._me

    # Receiving

    silence_seconds = 3.0 * PING_SECONDS

    async def listen(self, inbox: Inbox) -> None:
        me = await self.check()
        base = self._base
        url = base.with_scheme("wss" if base.scheme == "https" else "ws") / "websocket"
        socket = await self._client.websocket(url)  # the token is in the client's headers
        try:
            since = int((await inbox.checkpoint()).get("since", 0))
            await inbox.connected(me)
            if since:  # the socket does not repeat what was said while nobody listened
                await self._catch_up(inbox, me, since)
            async with asyncio.TaskGroup() as group:
                pings = group.create_task(_ping(socket))
                async for frame in socket:
                    inbox.alive()
                    if frame.type is aiohttp.WSMsgType.TEXT:
                        await self._take(inbox, frame.data, me)
                pings.cancel()
        finally:
            await socket.close()

    async def fetch(self, media: InboundMedia) -> AsyncIterator[bytes]:
        async for chunk in self._client.download(self._base / "files" / str(media.reference["id"])):
            yield chunk

    async def _take(self, inbox: Inbox, frame: str, me: BotIdentity) -> None:
        value = msgspec.json.decode(frame, type=dict[str, Any])
        data = value.get("data")
        if value.get("event") != "posted" or not isinstance(data, dict):
            return
        post = msgspec.json.decode(data["post"], type=dict[str, Any])  # JSON in JSON
        event = event_of(
            post, me, is_direct=data.get("channel_type") == "D", sender_name=str(data.get("sender_name") or "")
        )
        await inbox.accept([] if event is None else [event], {"since": int(post.get("create_at", 0))})

    async def _catch_up(self, inbox: Inbox, me: BotIdentity, since: int) -> None:
        """Fetch what was posted in the bot's channels since the last event."""
        answer = await self._client.request("GET", self._base / "users" / me.id / "channels")
        _result(answer)
        events: list[InboundEvent] = []
        for channel in answer.json or []:
            if int(channel.get("last_post_at", 0)) < since:
                continue
            url = (self._base / "channels" / str(channel["id"]) / "posts").with_query(since=str(since))
            posts: Mapping[str, Any] = _result(await self._client.request("GET", url)).get("posts") or {}
            for post in posts.values():
                event = event_of(post, me, is_direct=channel.get("type") == "D")
                if event is not None and int(post.get("create_at", 0)) >= since and not post.get("delete_at"):
                    events.append(event)
        await inbox.accept(sorted(events, key=lambda event: event.happened_at))

    async def close(self) -> None:
        await self._client.close()

    async def _identity(self) -> BotIdentity:
        return self._me or await self.check()

    async def _root(self, quoted: str, channel: str) -> str | None:
        """The beginning of the quoted post's thread: nothing else can be replied to. None if it is not here."""
        if not _ID.fullmatch(quoted):
            return None
        try:
            post = await self._call("GET", f"posts/{quoted}")
        except Refused:
            return None
        return str(post.get("root_id") or post["id"]) if post.get("channel_id") == channel else None

    async def _call(self, method: str, path: str, body: Any = None) -> dict[str, Any]:
        return _result(await self._client.request(method, self._base.joinpath(path), json=body))


async def _ping(socket: aiohttp.ClientWebSocketResponse) -> None:
    """Have the server answer now and then, so that a silent connection is noticed."""
    number = 0
    while True:
        await asyncio.sleep(PING_SECONDS)
        number += 1
        await socket.send_json({"seq": number, "action": "ping"})


def _channel(target: Target) -> str:
    """Raises BadRequest."""
    if not _ID.fullmatch(target.session_id):
        raise invalid_umo("a Mattermost session is a channel's id, of 26 letters and digits")
    return target.session_id


def _plan_text(text: str) -> list[Fragment]:
    return [Fragment({"text": _written(piece)}) for piece in split(text, MAX_TEXT, _written)]


def _written(text: str) -> str:
    """Markdown as it is, except that nobody is called by it."""
    return _MENTION_OF_ALL.sub("@\u200b", text)


def _plan_media(part: Attached) -> Fragment:
    return Fragment({"filename": part.filename}, None, part.attachment.id)


def _result(answer: PlatformAnswer) -> dict[str, Any]:
    if answer.status >= 300:
        raise _failure(answer)
    return answer.object


def _failure(answer: PlatformAnswer) -> DeliveryError:
    """Say what a refusal of the server means."""
    value, status = answer.object, answer.status
    id, code = str(value.get("id", "")), str(status)
    message = f"{PLATFORM} refused the message: {str(value.get('message') or status)[:200]}"
    if status == 429:
        reset = answer.headers.get("X-RateLimit-Reset", "")
        after = float(reset) if reset.replace(".", "", 1).isdecimal() else answer.retry_after or DEFAULT_WAIT
        after = max(after, 0.1)
        return RateLimited(f"{PLATFORM} asks to wait {after:g} seconds", after=after, scope="bot", platform_code=code)
    if status >= 500:
        return server_failure(answer, PLATFORM)
    if status == 401:
        return Unauthorized(f"{PLATFORM} does not accept the bot's token", platform_code=code)
    if status in (403, 404) or "deleted" in id:
        return TargetGone(message, platform_code=code)
    return Refused(message, platform_code=code)
