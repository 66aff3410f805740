"""Slack: its Web API, Socket Mode and the Events API (https://docs.slack.dev/apis)."""

import asyncio
import re
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Annotated, Any, Literal

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
from app.bots.adapters.config import PlatformConfig, checked_secret, checked_url
from app.bots.adapters.http import Network, PlatformAnswer, server_failure
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
from app.bots.adapters.slack_events import event_of, is_signed
from app.bots.formatting.dialects import to_mrkdwn
from app.bots.formatting.splitting import TextLimit, split
from app.bots.umo import invalid_umo
from app.errors import BadRequest

ADAPTER = "slack"
PLATFORM = "Slack"
API_BASE_URL = "https://slack.com/api"
MAX_TEXT = TextLimit(3900)
"""A message may be longer, but is then not taken when it is edited."""
MAX_UPLOAD_BYTES = 1024**3
DEFAULT_WAIT = 30.0
PING_SECONDS = 30.0
MAX_KNOWN_CHANNELS = 10_000
EVENT_TYPE = "palaver_message"
CLOCK_SKEW = timedelta(seconds=30)

_SESSION = re.compile(r"([A-Z0-9]+_)?(?P<id>[CDGUW][A-Z0-9]{2,20})(#(?P<thread>[0-9]{1,12}\.[0-9]{1,8}))?")
_TIMESTAMP = re.compile(r"[0-9]{1,12}\.[0-9]{1,8}")
_UNAUTHORIZED = frozenset(
    {"invalid_auth", "not_authed", "account_inactive", "token_revoked", "token_expired", "not_allowed_token_type"}
)
_GONE = frozenset(
    {
        "channel_not_found",
        "is_archived",
        "not_in_channel",
        "user_not_found",
        "users_not_found",
        "user_disabled",
        "cannot_dm_bot",
        "channel_is_archived",
    }
)
_NOT_EDITABLE = frozenset({"message_not_found", "cant_update_message", "edit_window_closed", "msg_too_long"})
# Of these, Slack itself says that part of the work may have been done.
_DOUBTFUL = frozenset({"internal_error", "fatal_error", "service_unavailable", "request_timeout"})


class SlackConfig(PlatformConfig, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`bot_token` is the app's `xoxb-...`.

    With `app_token` (`xapp-...`) events come over Socket Mode; with `signing_secret` Slack may post them.
    """

    bot_token: Annotated[str, Meta(max_length=255)]
    app_token: Annotated[str, Meta(max_length=255)] = ""
    signing_secret: Annotated[str, Meta(max_length=255)] = ""
    slack_connection_mode: Literal["socket", "webhook"] = "socket"
    webhook_uuid: Annotated[str, Meta(max_length=64)] | None = None

    def __repr__(self) -> str:
        return f"SlackConfig(api_base_url={self.api_base_url!r})"


def slack_factory(network: Network) -> AdapterFactory[SlackConfig]:
    """Describe the kind `slack`."""
    return AdapterFactory(
        name=ADAPTER,
        config_type=SlackConfig,
        build=lambda _bot_id, config: _build(config, network),
        secret_fields=frozenset({"bot_token", "app_token", "signing_secret"}),
    )


def _build(config: SlackConfig, network: Network) -> "SlackAdapter":
    uses_socket = config.app_token and config.slack_connection_mode == "socket"
    return SocketModeSlack(config, network) if uses_socket else SlackAdapter(config, network)


class SlackAdapter:
    """One app in a Slack workspace."""

    capabilities = Capabilities(text=MAX_TEXT, edits=True, live_seconds=1.5, max_upload_bytes=MAX_UPLOAD_BYTES)

    def __init__(self, config: SlackConfig, network: Network) -> None:
        self._token = checked_secret(config.bot_token, "bot_token")
        self._secret = config.signing_secret and checked_secret(config.signing_secret, "signing_secret")
        self._base = checked_url(
            config.api_base_url or API_BASE_URL, "api_base_url", allow_private=network.allow_private
        )
        self._allow_private = network.allow_private
        self._client = network.client(PLATFORM)
        self._channels: dict[str, str] = {}
        self._me: BotIdentity | None = None

    def plan(self, target: Target, parts: Sequence[OutgoingPart]) -> list[Fragment]:
        _session(target)
        fragments = plan_parts(parts, _texts, _media)
        quoted = [fragment.payload["reply_to"] for fragment in fragments if "reply_to" in fragment.payload]
        # A quotation is a thread, and all of the message belongs into it.
        return [_quoting(fragment, quoted[0]) for fragment in fragments] if quoted else fragments

    async def prepare(self, call: Call) -> str:
        """Upload the call's file; nobody sees it before it is completed."""
        assert call.file is not None
        content = await call.file.read()
        form = {"filename": call.fragment.payload["filename"], "length": len(content)}
        place = await self._call("files.getUploadURLExternal", form=form)
        try:
            url = checked_url(str(place["upload_url"]), "upload_url", allow_private=self._allow_private)
        except (BadRequest, KeyError) as error:
            raise Refused(f"{PLATFORM} named an address for the file that is not allowed") from error
        # Without the token: the address is the permission.
        answer = await self._client.request(
            "POST", url, data=content, headers={"Content-Type": "application/octet-stream"}, seconds=120.0
        )
        if answer.status != 200:
            raise NotSent(f"{PLATFORM} did not take the file ({answer.status})", platform_code=str(answer.status))
        return str(place["file_id"])

    async def deliver(self, call: Call) -> Receipt:
        fragment, payload = call.fragment, call.fragment.payload
        channel, thread = await self._channel(call.target)
        if fragment.action == "delete":
            await self._call("chat.delete", {"channel": channel, "ts": fragment.platform_id})
            return Receipt(fragment.platform_id)
        if fragment.action == "edit":
            await self._call(
                "chat.update", {"channel": channel, "ts": fragment.platform_id, "text": payload["text"]}, is_edit=True
            )
            return Receipt(fragment.platform_id)
        place = _in_thread(payload, thread)
        if call.handle is not None:
            files = [{"id": call.handle, "title": payload["filename"]}]
            await self._call("files.completeUploadExternal", {"files": files, "channel_id": channel, **place})
            return Receipt(None, {"file_id": call.handle})
        metadata = {"event_type": EVENT_TYPE, "event_payload": {"key": call.wire_key}}
        message = await self._call(
            "chat.postMessage",
            {
                "channel": channel,
                "text": payload["text"],
                "metadata": metadata,
                "unfurl_links": False,
                "unfurl_media": False,
                **place,
            },
        )
        return Receipt(str(message["ts"]))

    async def find(self, call: Call, since: datetime) -> Receipt | None:
        """Look for the message by the key in its metadata, which takes a scope for the channel's history."""
        channel, thread = await self._channel(call.target)
        if call.handle is not None or call.file is not None:
            raise Unknown(f"{PLATFORM} does not tell where a file was shown")
        options = {
            "channel": channel,
            "oldest": f"{(since - CLOCK_SKEW).timestamp():.6f}",
            "limit": 100,
            "include_all_metadata": "true",
        }
        thread = _in_thread(call.fragment.payload, thread).get("thread_ts")
        method = "conversations.history" if thread is None else "conversations.replies"
        try:
            found = await self._call(method, form={**options, **({} if thread is None else {"ts": thread})})
        except (Refused, Unauthorized) as error:
            raise Unknown(f"{PLATFORM} does not let the bot look for its message ({error.platform_code})") from error
        for message in found.get("messages", []):
            if message.get("metadata", {}).get("event_payload", {}).get("key") == call.wire_key:
                return Receipt(str(message["ts"]))
        if found.get("has_more"):
            raise Unknown(f"{PLATFORM} shows too many messages to find this one among them")
        return None

    async def check(self) -> BotIdentity:
        me = await self._call("auth.test", {})
        return BotIdentity(str(me.get("user_id", "")), str(me.get("user", "")))

    # Receiving

    async def receive(self, request: DoorRequest) -> DoorAnswer:
        timestamp = request.headers.get("x-slack-request-timestamp", "")
        signature = request.headers.get("x-slack-signature", "")
        if not self._secret or not is_signed(self._secret, timestamp, request.body, signature, time.time()):
            return DoorAnswer(401)
        try:
            payload = msgspec.json.decode(request.body, type=dict[str, Any])
        except msgspec.DecodeError:
            return DoorAnswer(400)
        if payload.get("type") == "url_verification":
            return DoorAnswer(body=msgspec.json.encode({"challenge": payload.get("challenge")}))
        event = event_of(payload, await self._identity())
        return DoorAnswer(events=[] if event is None else [event])

    async def fetch(self, media: InboundMedia) -> AsyncIterator[bytes]:
        try:
            url = checked_url(str(media.reference.get("url", "")), "url", allow_private=self._allow_private)
        except BadRequest as error:
            raise Refused(f"{PLATFORM} named an address for the file that is not allowed") from error
        is_slacks = url.scheme == "https" and f".{url.host}".endswith(".slack.com")
        if not is_slacks and url.origin() != self._base.origin():
            raise Refused(f"{PLATFORM} named an address for the file that is not its own")  # and gets no token
        is_first = True
        async for chunk in self._client.download(url, headers={"Authorization": f"Bearer {self._token}"}):
            if is_first and chunk[:15].lower() == b"<!doctype html>" and not media.filename.endswith((".html", ".htm")):
                raise Refused(f"{PLATFORM} shows the file to nobody without the scope files:read")
            is_first = False
            yield chunk

    async def close(self) -> None:
        await self._client.close()

    async def _identity(self) -> BotIdentity:
        if self._me is None:
            self._me = await self.check()
        return self._me

    async def _channel(self, target: Target) -> tuple[str, str | None]:
        """The channel of a target, and the thread in it; a user's is opened, as edits and files need it."""
        id, thread = _session(target)
        if id[0] not in "UW":
            return id, thread
        if id not in self._channels:
            opened = await self._call("conversations.open", {"users": id})
            if len(self._channels) >= MAX_KNOWN_CHANNELS:
                self._channels.clear()
            self._channels[id] = str(opened["channel"]["id"])
        return self._channels[id], thread

    async def _call(
        self,
        method: str,
        body: Mapping[str, Any] | None = None,
        *,
        form: Mapping[str, Any] | None = None,
        is_edit: bool = False,
        token: str | None = None,
    ) -> dict[str, Any]:
        """Call a method, and return its answer. Raises DeliveryError."""
        headers = {"Authorization": f"Bearer {token or self._token}"}
        data = None if form is None else {name: str(value) for name, value in form.items()}
        if body is not None:
            headers["Content-Type"] = "application/json; charset=utf-8"
        answer = await self._client.request("POST", self._base / method, json=body, data=data, headers=headers)
        value = answer.object
        if answer.status == 200 and value.get("ok") is True:
            return value
        raise _failure(answer, is_edit=is_edit)


class SocketModeSlack(SlackAdapter):
    """An app whose events come over a WebSocket of ours."""

    silence_seconds = 3 * PING_SECONDS

    def __init__(self, config: SlackConfig, network: Network) -> None:
        super().__init__(config, network)
        self._app_token = checked_secret(config.app_token, "app_token")

    async def listen(self, inbox: Inbox) -> None:
        me = self._me = await self.check()
        socket = await self._open()
        try:
            await inbox.connected(me)
            while True:
                try:
                    async with asyncio.timeout(PING_SECONDS):
                        message = await socket.receive()
                except TimeoutError:  # the connection answers pings, or is closed
                    inbox.alive()
                    continue
                inbox.alive()
                if message.type is not aiohttp.WSMsgType.TEXT:
                    return
                envelope = msgspec.json.decode(message.data, type=dict[str, Any])
                if envelope.get("type") == "disconnect":
                    if envelope.get("reason") == "link_disabled":
                        raise Refused(f"Socket Mode is turned off for the app at {PLATFORM}")
                    # The next one is open before this one ends, so that nothing falls in between.
                    old, socket = socket, await self._open()
                    await old.close()
                    continue
                event = event_of(envelope.get("payload") or {}, me) if envelope.get("type") == "events_api" else None
                if event is not None:
                    await inbox.accept([event])
                if "envelope_id" in envelope:
                    await socket.send_str(msgspec.json.encode({"envelope_id": envelope["envelope_id"]}).decode())
        finally:
            await socket.close()

    async def _open(self) -> aiohttp.ClientWebSocketResponse:
        opened = await self._call("apps.connections.open", {}, token=self._app_token)
        address = re.sub("^ws", "http", str(opened.get("url", "")))
        url = checked_url(address, "socket", allow_private=self._allow_private)
        return await self._client.websocket(url, ping_seconds=PING_SECONDS)


def _session(target: Target) -> tuple[str, str | None]:
    """The id of a channel or user, and the thread. Raises BadRequest."""
    match = _SESSION.fullmatch(target.session_id)
    if match is None:
        raise invalid_umo("a Slack session is the id of a channel or of a user, with #thread_ts for a thread")
    return match["id"], match["thread"]


def _texts(text: str) -> list[Fragment]:
    return [Fragment({"text": to_mrkdwn(piece)}) for piece in split(text, MAX_TEXT, to_mrkdwn)]


def _media(part: Attached) -> Fragment:
    return Fragment({"filename": part.filename}, None, part.attachment.id)


def _quoting(fragment: Fragment, message: str) -> Fragment:
    return Fragment({**fragment.payload, "reply_to": message}, None, fragment.attachment_id)


def _in_thread(payload: Mapping[str, Any], thread: str | None) -> dict[str, Any]:
    """The thread of a message: the target's, or that of the message which is quoted."""
    quoted = str(payload.get("reply_to", ""))
    thread = thread or (quoted if _TIMESTAMP.fullmatch(quoted) else None)
    return {} if thread is None else {"thread_ts": thread}


def _failure(answer: PlatformAnswer, *, is_edit: bool) -> DeliveryError:
    """Say what an answer without `ok` means."""
    error = str(answer.object.get("error", ""))[:100]
    if answer.status == 429 or error in ("ratelimited", "rate_limited"):
        after = answer.retry_after or DEFAULT_WAIT
        return RateLimited(f"{PLATFORM} asks to wait {after:g} seconds", after=after, platform_code="ratelimited")
    if answer.status >= 500 or error in _DOUBTFUL:
        return (
            Unknown(f"{PLATFORM} failed: {error}", platform_code=error) if error else server_failure(answer, PLATFORM)
        )
    if not error:
        return Unknown(f"{PLATFORM}'s answer cannot be read", platform_code=str(answer.status))
    if error in _UNAUTHORIZED:
        return Unauthorized(f"{PLATFORM} does not accept the bot's token ({error})", platform_code=error)
    message = f"{PLATFORM} refused the message: {error}"
    if needed := answer.object.get("needed"):
        message += f" (needed: {str(needed)[:100]})"
    if error in _GONE:
        return TargetGone(message, platform_code=error)
    if is_edit and error in _NOT_EDITABLE:
        return EditImpossible(message, platform_code=error)
    return Refused(message, platform_code=error)
