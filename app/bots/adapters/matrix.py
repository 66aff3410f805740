"""Matrix: the client-server API over HTTP (https://spec.matrix.org), for rooms without encryption."""

import html
import re
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import suppress
from hashlib import sha256
from typing import Annotated, Any
from urllib.parse import quote

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
from app.bots.adapters.config import PlatformConfig, Url, checked_secret, checked_url, invalid_config
from app.bots.adapters.http import Network, PlatformAnswer, server_failure
from app.bots.adapters.inbound import InboundEvent, InboundMedia, Inbox
from app.bots.adapters.matrix_events import event_of
from app.bots.adapters.outcomes import DeliveryError, RateLimited, Refused, TargetGone, Unauthorized
from app.bots.adapters.planning import plan_parts
from app.bots.formatting.dialects import to_html, to_plain
from app.bots.formatting.splitting import TextLimit, split
from app.bots.umo import invalid_umo

ADAPTER = "matrix"
PLATFORM = "Matrix"
MAX_CONTENT = TextLimit(30_000, "utf8")
"""Of an event's content. An event has 64 KiB, and an edit carries the text twice."""
MAX_UPLOAD_BYTES = 50 * 1024**2
DEFAULT_WAIT = 2.0
ENCRYPTION_SECONDS = 600.0
"""How long a room without encryption counts as one."""
TYPING_SECONDS = 20.0
SYNC_SECONDS = 30
ENCRYPTED = "This room is encrypted. I cannot read encrypted messages: please invite me to a room without encryption."

_ROOM = re.compile(r"![^\s!]{1,254}")
_FILTER = msgspec.json.encode(
    {
        "presence": {"types": []},
        "account_data": {"types": []},
        "room": {
            "ephemeral": {"types": []},
            "account_data": {"types": []},
            "timeline": {"types": ["m.room.message", "m.room.encrypted"], "limit": 50},
            "state": {"types": ["m.room.member"], "lazy_load_members": True},
        },
    }
).decode()
_MSGTYPES = {"image": "m.image", "record": "m.audio", "video": "m.video", "file": "m.file"}


class MatrixConfig(PlatformConfig, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`matrix_homeserver` is the URL of the bot's server, `matrix_access_token` a token of its account."""

    matrix_homeserver: Url | None = None
    matrix_access_token: Annotated[str, Meta(max_length=1024)]
    matrix_user_id: Annotated[str, Meta(max_length=255)] | None = None
    matrix_auth_method: Annotated[str, Meta(max_length=16)] = "token"

    def __repr__(self) -> str:
        return f"MatrixConfig(matrix_homeserver={self.matrix_homeserver!r})"


def matrix_factory(network: Network) -> AdapterFactory[MatrixConfig]:
    """Describe the kind `matrix`."""
    return AdapterFactory(
        name=ADAPTER,
        config_type=MatrixConfig,
        build=lambda _bot_id, config: MatrixAdapter(config, network),
        secret_fields=frozenset({"matrix_access_token"}),
    )


class MatrixAdapter:
    """One account on a homeserver."""

    capabilities = Capabilities(
        text=MAX_CONTENT,
        edits=True,
        live_seconds=2.0,
        typing_seconds=TYPING_SECONDS,
        repeat=Repeat("keyed"),
        max_upload_bytes=MAX_UPLOAD_BYTES,
    )

    def __init__(self, config: MatrixConfig, network: Network) -> None:
        token = checked_secret(config.matrix_access_token, "matrix_access_token")
        base = config.api_base_url or config.matrix_homeserver
        if base is None:
            raise invalid_config("matrix_homeserver must be given")
        if config.matrix_auth_method != "token":
            raise invalid_config("matrix_auth_method must be token: give an access token of the account")
        self._base = checked_url(base, "matrix_homeserver", allow_private=network.allow_private) / "_matrix"
        self._client = network.client(PLATFORM, {"Authorization": f"Bearer {token}"})
        self._user_id = config.matrix_user_id or ""
        self._allow, self._pairing = frozenset(config.allow), config.pairing
        self._unencrypted: dict[str, float] = {}
        self._members: dict[str, int] = {}

    def plan(self, target: Target, parts: Sequence[OutgoingPart]) -> list[Fragment]:
        _room(target)
        return plan_parts(parts, _plan_text, _plan_media)

    async def prepare(self, call: Call) -> str:
        assert call.file is not None
        url = (self._base / "media/v3/upload").with_query(filename=call.fragment.payload["content"]["filename"])
        headers = {"Content-Type": call.file.attachment.media_type}
        answer = await self._client.request("POST", url, data=await call.file.read(), headers=headers, seconds=120.0)
        return str(_result(answer)["content_uri"])

    async def deliver(self, call: Call) -> Receipt:
        fragment, room = call.fragment, _room(call.target)
        await self._check_encryption(room)
        if fragment.action == "delete":
            url = self._room_url(room, "redact", str(fragment.platform_id), call.wire_key)
            return Receipt(str((await self._put(url, {}))["event_id"]))
        content = {**fragment.payload["content"], "m.mentions": {}}
        if call.handle is not None:
            content["url"] = call.handle
        if fragment.action == "edit":
            content = {
                **content,
                "body": f"* {content['body']}",
                "m.new_content": content,
                "m.relates_to": {"rel_type": "m.replace", "event_id": fragment.platform_id},
            }
        elif (quoted := str(fragment.payload.get("reply_to", ""))).startswith("$"):
            content["m.relates_to"] = {"m.in_reply_to": {"event_id": quoted}}
        # The key is part of the path: a homeserver answers a repeat with the first event.
        key = call.wire_key if fragment.action == "send" else _key_of(call.wire_key, content)
        event = await self._put(self._room_url(room, "send", "m.room.message", key), content)
        return Receipt(fragment.platform_id if fragment.action == "edit" else str(event["event_id"]))

    async def typing(self, target: Target) -> None:
        url = self._room_url(_room(target), "typing", await self._user())
        await self._put(url, {"typing": True, "timeout": int(TYPING_SECONDS * 1000)})

    async def check(self) -> BotIdentity:
        user_id = self._user_id = await self._whoami()
        answer = await self._client.request("GET", self._url("profile", user_id))
        return BotIdentity(user_id, str(answer.object.get("displayname", "")), (user_id,))

    # Receiving

    silence_seconds = 3.0 * SYNC_SECONDS

    async def listen(self, inbox: Inbox) -> None:
        me = await self.check()
        since = str((await inbox.checkpoint()).get("since", ""))
        if not since:  # what was said before the bot's first connection is not for it
            value = await self._sync("", 0)
            since = str(value["next_batch"])
            await self._read({"rooms": {"invite": (value.get("rooms") or {}).get("invite")}}, me)
            await inbox.accept([], {"since": since})
        await inbox.connected(me)
        while True:
            value = await self._sync(since, SYNC_SECONDS)
            inbox.alive()
            since = str(value["next_batch"])
            await inbox.accept(await self._read(value, me), {"since": since})

    async def fetch(self, media: InboundMedia) -> AsyncIterator[bytes]:
        path = ("client", "v1", "media", "download", str(media.reference["server"]), str(media.reference["id"]))
        url = self._base.joinpath(*(quote(part, safe="") for part in path), encoded=True)
        async for chunk in self._client.download(url):
            yield chunk

    async def _sync(self, since: str, seconds: int) -> dict[str, Any]:
        query = {"timeout": str(seconds * 1000), "filter": _FILTER, **({"since": since} if since else {})}
        url = self._url("sync").with_query(query)
        return _result(await self._client.request("GET", url, seconds=seconds + 20.0, max_bytes=64 * 1024**2))

    async def _read(self, value: Mapping[str, Any], me: BotIdentity) -> list[InboundEvent]:
        """Read the messages of an answer, and join the rooms to which somebody who may talk to the bot invites it."""
        rooms = value.get("rooms") or {}
        events = []
        for room, joined in (rooms.get("join") or {}).items():
            if isinstance(count := (joined.get("summary") or {}).get("m.joined_member_count"), int):
                self._members[room] = count
            for event in (joined.get("timeline") or {}).get("events") or []:
                if event.get("type") == "m.room.encrypted":
                    await self._say_encrypted(room)
                is_direct = await self._count_members(room) <= 2
                if (found := event_of(room, event, me, is_direct=is_direct)) is not None:
                    events.append(found)
        for room, invited in (rooms.get("invite") or {}).items():
            states = (invited.get("invite_state") or {}).get("events") or []
            if any(self._may_invite(state, me) for state in states):
                with suppress(Refused):
                    _result(await self._client.request("POST", self._room_url(room, "join"), json={}))
        return events

    def _may_invite(self, state: Mapping[str, Any], me: BotIdentity) -> bool:
        if state.get("type") != "m.room.member" or state.get("state_key") != me.id:
            return False
        is_direct = (state.get("content") or {}).get("is_direct") is True
        return "*" in self._allow or state.get("sender") in self._allow or (self._pairing and is_direct)

    async def _count_members(self, room: str) -> int:
        if room not in self._members:
            value = _result(await self._client.request("GET", self._room_url(room, "joined_members")))
            self._members[room] = len(value.get("joined") or {})
        return self._members[room]

    async def _say_encrypted(self, room: str) -> None:
        """Say once for all that the room cannot be read: the homeserver knows the transaction."""
        url = self._room_url(room, "send", "m.room.message", _key_of("encrypted", {"room": room}))
        with suppress(DeliveryError):
            await self._put(url, {"msgtype": "m.notice", "body": ENCRYPTED, "m.mentions": {}})

    async def close(self) -> None:
        await self._client.close()

    async def _check_encryption(self, room: str) -> None:
        """Raises Refused for a room whose members could not read what we write."""
        if time.monotonic() < self._unencrypted.get(room, 0.0):
            return
        answer = await self._client.request("GET", self._room_url(room, "state", "m.room.encryption"))
        if answer.status == 200:
            raise Refused("The room is encrypted, and encryption is not supported", platform_code="encrypted")
        if not (answer.status == 404 and answer.object.get("errcode") == "M_NOT_FOUND"):
            raise _failure(answer)
        self._unencrypted[room] = time.monotonic() + ENCRYPTION_SECONDS

    async def _user(self) -> str:
        if not self._user_id:
            self._user_id = await self._whoami()
        return self._user_id

    async def _whoami(self) -> str:
        return str(_result(await self._client.request("GET", self._url("account", "whoami")))["user_id"])

    async def _put(self, url: URL, content: Mapping[str, Any]) -> dict[str, Any]:
        return _result(await self._client.request("PUT", url, json=content))

    def _room_url(self, room: str, *path: str) -> URL:
        return self._url("rooms", room, *path)

    def _url(self, *path: str) -> URL:
        return self._base.joinpath("client", "v3", *(quote(part, safe="") for part in path), encoded=True)


def _room(target: Target) -> str:
    """Raises BadRequest."""
    # user_room is the session of one user in a room, in AstrBot's plugin for Matrix.
    room = target.session_id[max(target.session_id.find("!"), 0) :]
    if not _ROOM.fullmatch(room):
        raise invalid_umo("a Matrix session is a room's id (!...)")
    return room


def _key_of(prefix: str, content: Mapping[str, Any]) -> str:
    """A transaction's id for just this content: edits of one reply share a wire key."""
    return sha256(prefix.encode() + msgspec.json.encode(content)).hexdigest()[:32]


def _plan_text(text: str) -> list[Fragment]:
    return [
        Fragment({"content": _text_content(piece)}, {"content": {"msgtype": "m.text", "body": to_plain(piece)}})
        for piece in split(text, MAX_CONTENT, lambda piece: msgspec.json.encode(_text_content(piece)).decode())
    ]


def _text_content(source: str) -> dict[str, Any]:
    plain, formatted = to_plain(source), to_html(source)
    content = {"msgtype": "m.text", "body": plain}
    if formatted == f"<p>{html.escape(plain)}</p>":
        return content
    return {**content, "format": "org.matrix.custom.html", "formatted_body": formatted}


def _plan_media(part: Attached) -> Fragment:
    attachment = part.attachment
    # By its content, as clients show an m.image only as an image.
    kind = part.media.kind if attachment.type.value == part.media.kind else "file"
    content = {
        "msgtype": _MSGTYPES[kind],
        "body": part.filename,
        "filename": part.filename,
        "info": {"mimetype": attachment.media_type, "size": attachment.size},
    }
    return Fragment({"content": content}, None, attachment.id)


def _result(answer: PlatformAnswer) -> dict[str, Any]:
    if answer.status != 200:
        raise _failure(answer)
    return answer.object


def _failure(answer: PlatformAnswer) -> DeliveryError:
    """Say what a refusal of a homeserver means."""
    value = answer.object
    code = str(value.get("errcode", answer.status))
    message = f"{PLATFORM} refused the message: {str(value.get('error') or code)[:200]}"
    if answer.status == 429 or code == "M_LIMIT_EXCEEDED":
        milliseconds = value.get("retry_after_ms")
        hint = milliseconds / 1000 if isinstance(milliseconds, (int, float)) else DEFAULT_WAIT
        after = answer.retry_after or hint
        return RateLimited(f"{PLATFORM} asks to wait {after:g} seconds", after=after, scope="bot", platform_code=code)
    if answer.status >= 500 or "errcode" not in value:
        return server_failure(answer, PLATFORM)
    if code in ("M_UNKNOWN_TOKEN", "M_MISSING_TOKEN", "M_USER_DEACTIVATED", "M_USER_LOCKED"):
        return Unauthorized(f"{PLATFORM} does not accept the access token", platform_code=code)
    if code in ("M_FORBIDDEN", "M_NOT_FOUND", "M_UNKNOWN_ROOM"):
        return TargetGone(message, platform_code=code)
    return Refused(message, platform_code=code)
