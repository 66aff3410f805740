"""DingTalk: robot messages over HTTP (https://open.dingtalk.com/document)."""

import re
from collections.abc import AsyncIterator, Sequence
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
    Target,
)
from app.bots.adapters.config import PlatformConfig, Url, checked_secret, checked_url
from app.bots.adapters.dingtalk_events import event_of
from app.bots.adapters.http import Network, PlatformAnswer, server_failure
from app.bots.adapters.inbound import InboundMedia, Inbox
from app.bots.adapters.outcomes import DeliveryError, NotSent, RateLimited, Refused, TargetGone, Unauthorized, Unknown
from app.bots.adapters.planning import plan_parts
from app.bots.adapters.tokens import AccessToken, TokenCache
from app.bots.formatting.dialects import SIMPLE_MARKDOWN, render, to_plain
from app.bots.formatting.splitting import TextLimit, split
from app.bots.umo import invalid_umo

ADAPTER = "dingtalk"
PLATFORM = "DingTalk"
API_BASE_URL = "https://api.dingtalk.com"
MEDIA_BASE_URL = "https://oapi.dingtalk.com"
MAX_TEXT = TextLimit(4500)
MAX_UPLOAD_BYTES = 20 * 1024**2
MAX_TITLE_CHARS = 40
FLOW_CONTROL_SECONDS = 30.0
DEFAULT_WAIT = 1.0
ROBOT_TOPIC = "/v1.0/im/bot/messages/get"

_SESSION = re.compile(r"[A-Za-z0-9_+/=.@-]{1,128}")
_TOKEN_CODES = ("invalidauthentication", "forbidden.accesstoken.invalid")
_GONE_CODES = ("robot.notexist", "staffid.notexisted", "conversation.notexist", "resource.not.found")


class DingTalkConfig(PlatformConfig, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`client_id` and `client_secret` are the app's; `media_base_url` is another server for uploads."""

    client_id: Annotated[str, Meta(max_length=255)]
    client_secret: Annotated[str, Meta(max_length=255)]
    media_base_url: Url | None = None

    def __repr__(self) -> str:
        return f"DingTalkConfig(client_id={self.client_id!r})"


def dingtalk_factory(network: Network) -> AdapterFactory[DingTalkConfig]:
    """Describe the kind `dingtalk`."""
    return AdapterFactory(
        name=ADAPTER,
        config_type=DingTalkConfig,
        build=lambda _bot_id, config: DingTalkAdapter(config, network),
        secret_fields=frozenset({"client_secret"}),
    )


class DingTalkAdapter:
    """One app's robot on DingTalk."""

    capabilities = Capabilities(text=MAX_TEXT, replies=False, max_upload_bytes=MAX_UPLOAD_BYTES)

    def __init__(self, config: DingTalkConfig, network: Network) -> None:
        self._client_id = checked_secret(config.client_id, "client_id")
        self._secret = checked_secret(config.client_secret, "client_secret")
        private = self._allow_private = network.allow_private
        self._base = checked_url(config.api_base_url or API_BASE_URL, "api_base_url", allow_private=private)
        media = config.media_base_url or config.api_base_url or MEDIA_BASE_URL
        self._media = checked_url(media, "media_base_url", allow_private=private)
        self._client = network.client(PLATFORM)
        self._tokens = TokenCache(self._fetch_token)

    def plan(self, target: Target, parts: Sequence[OutgoingPart]) -> list[Fragment]:
        _receiver(target)
        return plan_parts(parts, _plan_text, _plan_media)

    async def prepare(self, call: Call) -> str:
        """Upload to the older API, which has the token in the query and answers 200 to everything."""
        assert call.file is not None
        token = await self._tokens.get()
        kind = "image" if call.fragment.payload["key"] == "sampleImageMsg" else "file"
        form = aiohttp.FormData()
        media_type = call.file.attachment.media_type
        form.add_field("media", await call.file.read(), filename=call.fragment.payload["name"], content_type=media_type)
        url = (self._media / "media/upload").with_query(access_token=token, type=kind)
        answer = await self._client.request("POST", url, data=form, seconds=120.0)
        value = answer.object
        if value.get("errcode") == 0:
            return str(value["media_id"])
        if value.get("errcode") in (40014, 42001, 41001):
            self._tokens.discard(token)
            raise NotSent(f"{PLATFORM}'s token has expired")
        if not value:
            raise server_failure(answer, PLATFORM)
        raise Refused(
            f"{PLATFORM} refused the file: {str(value.get('errmsg'))[:200]}", platform_code=str(value.get("errcode"))
        )

    async def deliver(self, call: Call) -> Receipt:
        kind, id = _receiver(call.target)
        payload = call.fragment.payload
        body = {
            "robotCode": self._client_id,
            "msgKey": payload["key"],
            # The parameters are JSON in JSON.
            "msgParam": msgspec.json.encode(_parameters(payload, call.handle)).decode(),
        }
        if kind == "group":
            value = await self._call("v1.0/robot/groupMessages/send", {**body, "openConversationId": id})
        else:
            value = await self._call("v1.0/robot/oToMessages/batchSend", {**body, "userIds": [id]})
            _check_lists(value, id)
        key = value.get("processQueryKey")
        return Receipt(None if key is None else str(key))

    # Receiving

    silence_seconds = 600.0

    async def listen(self, inbox: Inbox) -> None:
        await self._tokens.get()  # so that wrong credentials are said
        socket = await self._client.websocket(await self._open_connection())
        try:
            await inbox.connected(BotIdentity(self._client_id, self._client_id))
            async for message in socket:
                inbox.alive()
                if message.type is not aiohttp.WSMsgType.TEXT:
                    continue
                frame = msgspec.json.decode(message.data, type=dict[str, Any])
                headers = frame.get("headers") or {}
                answer = str(frame.get("data") or "{}")
                if frame.get("type") == "SYSTEM" and headers.get("topic") == "disconnect":
                    return
                if frame.get("type") == "CALLBACK" and headers.get("topic") == ROBOT_TOPIC:
                    event = event_of(msgspec.json.decode(frame["data"], type=dict[str, Any]))
                    await inbox.accept([event] if event.dedupe_key else [])
                    answer = '{"response":null}'
                acknowledgement = {"messageId": headers.get("messageId"), "contentType": "application/json"}
                await socket.send_json({"code": 200, "headers": acknowledgement, "message": "OK", "data": answer})
        finally:
            await socket.close()

    async def fetch(self, media: InboundMedia) -> AsyncIterator[bytes]:
        body = {"downloadCode": media.reference["code"], "robotCode": self._client_id}
        value = await self._call("v1.0/robot/messageFiles/download", body)
        url = self._checked(str(value.get("downloadUrl", "")), "https", "http")
        async for chunk in self._client.download(url):  # on another server, which gets no token
            yield chunk

    async def _open_connection(self) -> URL:
        """Ask for the address of a connection, which is good for one use."""
        body = {
            "clientId": self._client_id,
            "clientSecret": self._secret,
            "subscriptions": [{"type": "CALLBACK", "topic": ROBOT_TOPIC}],
            "ua": "palaver",
        }
        answer = await self._client.request("POST", self._base / "v1.0/gateway/connections/open", json=body)
        value = answer.object
        if answer.status != 200 or "endpoint" not in value:
            raise _failure(answer)
        return self._checked(str(value["endpoint"]), "wss", "ws").update_query(ticket=str(value.get("ticket", "")))

    def _checked(self, text: str, scheme: str, private_scheme: str) -> URL:
        """Check an address that the platform named."""
        url = URL(text)
        if url.scheme != scheme and not (url.scheme == private_scheme and self._allow_private):
            raise Refused(f"{PLATFORM} named an address that is not {scheme}://")
        return url

    async def close(self) -> None:
        await self._client.close()

    async def _call(self, path: str, body: Any) -> dict[str, Any]:
        for is_last in (False, True):
            token = await self._tokens.get()
            headers = {"x-acs-dingtalk-access-token": token}
            answer = await self._client.request("POST", self._base.joinpath(path), json=body, headers=headers)
            if answer.status == 200:
                if not answer.object:
                    raise Unknown(f"{PLATFORM}'s answer cannot be read")
                return answer.object
            failure = _failure(answer)
            if not isinstance(failure, Unauthorized) or is_last:
                raise failure
            self._tokens.discard(token)
        raise AssertionError("the last answer is a result or a failure")

    async def _fetch_token(self) -> AccessToken:
        body = {"appKey": self._client_id, "appSecret": self._secret}
        answer = await self._client.request("POST", self._base / "v1.0/oauth2/accessToken", json=body)
        value = answer.object
        if answer.status == 200 and value.get("accessToken"):
            return AccessToken(str(value["accessToken"]), float(value.get("expireIn", 7200)))
        failure = _failure(answer)
        # Whatever else is refused here, it is the app's credentials.
        raise (
            Unauthorized(failure.message, platform_code=failure.platform_code) if type(failure) is Refused else failure
        )


def _receiver(target: Target) -> tuple[Literal["user", "group"], str]:
    """Raises BadRequest."""
    id = target.session_id
    if id.startswith("$:LWCP"):
        raise invalid_umo("DingTalk needs the user's staff id, not the encrypted id of a message")
    if not _SESSION.fullmatch(id) or target.is_group != id.startswith("cid"):
        raise invalid_umo("a DingTalk session is a user's staff id, and in groups a conversation's id (cid...)")
    return ("group" if target.is_group else "user"), id


def _check_lists(value: dict[str, Any], id: str) -> None:
    """Raises what a 200 says that has the receiver in a list of those who got nothing."""
    if id in (value.get("invalidStaffIdList") or ()):
        raise TargetGone(f"{PLATFORM} does not know this user", platform_code="invalidStaffId")
    if id in (value.get("flowControlledStaffIdList") or ()):
        raise RateLimited(
            f"{PLATFORM} did not deliver the message: too many for this user",
            after=FLOW_CONTROL_SECONDS,
            platform_code="flowControlled",
        )


def _plan_text(text: str) -> list[Fragment]:
    return [
        Fragment({"key": "sampleMarkdown", "text": _markdown(piece)}, {"key": "sampleText", "text": to_plain(piece)})
        for piece in split(text, MAX_TEXT, _markdown)
    ]


def _markdown(source: str) -> str:
    return render(source, SIMPLE_MARKDOWN)


def _plan_media(part: Attached) -> Fragment:
    name, media_type = part.filename, part.attachment.media_type
    file = {"key": "sampleFile", "name": name, "type": name.rpartition(".")[2].lower() if "." in name else "bin"}
    if part.media.kind == "image" and media_type in ("image/png", "image/jpeg", "image/gif", "image/bmp"):
        return Fragment({"key": "sampleImageMsg", "name": name}, file, part.attachment.id)
    # Recordings and videos need their length and a picture, which nobody has told us.
    return Fragment(file, None, part.attachment.id)


def _parameters(payload: Any, handle: str | None) -> dict[str, Any]:
    match payload["key"]:
        case "sampleMarkdown":
            title = next((line.strip("*#>-` ") for line in to_plain(payload["text"]).split("\n") if line.strip()), "")
            return {"title": title[:MAX_TITLE_CHARS] or "…", "text": payload["text"]}
        case "sampleText":
            return {"content": payload["text"]}
        case "sampleImageMsg":
            return {"photoURL": handle}
        case _:
            return {"mediaId": handle, "fileName": payload["name"], "fileType": payload["type"]}


def _failure(answer: PlatformAnswer) -> DeliveryError:
    """Say what a refusal of the open platform means."""
    value, status = answer.object, answer.status
    code, lower = str(value.get("code", status)), str(value.get("code", "")).lower()
    message = f"{PLATFORM} refused the message: {str(value.get('message') or code)[:200]}"
    if status == 429 or "qpslimit" in lower or "flowcontrol" in lower or "throttling" in lower:
        after = answer.retry_after or DEFAULT_WAIT
        return RateLimited(f"{PLATFORM} asks to wait {after:g} seconds", after=after, scope="bot", platform_code=code)
    if status >= 500 or not value:
        return server_failure(answer, PLATFORM)
    if status == 401 or lower in _TOKEN_CODES:
        return Unauthorized(f"{PLATFORM} does not accept the app's credentials", platform_code=code)
    if any(each in lower for each in _GONE_CODES):
        return TargetGone(message, platform_code=code)
    return Refused(message, platform_code=code, formatting="msgparam" in lower)
