"""A Matrix homeserver, as far as Palaver speaks with one."""

import asyncio
import time
from typing import Any

import msgspec
from aiohttp import web

from tests.support.platforms.base import FakePlatform, Fault, Seen, Written

TOKEN, USER = "syt_matrix_test_token", "@palaver:example.org"
MAX_EVENT_BYTES = 65_536


class MatrixFake(FakePlatform):
    """A homeserver. A whole event has 64 KiB; a transaction id makes one event, however often it comes."""

    adapter = "matrix"
    session = "!direct:example.org"
    group = "!room:example.org"
    limit = 30_000
    unit = "utf8"
    bad_session = "#alias:example.org"

    def __init__(self) -> None:
        super().__init__()
        self.encrypted: set[str] = set()
        self.events: dict[str, str] = {}
        self.contents: list[dict[str, Any]] = []
        self.media: dict[str, bytes] = {}
        self.typing_rooms: list[str] = []
        self.members = {self.session: 2, self.group: 5}
        self.timeline: list[tuple[str, dict[str, Any]]] = [(self.session, self.message_of("before the bot came"))]
        self.invited: dict[str, dict[str, Any]] = {}
        self.joined: list[str] = []
        self.is_followed = False
        self._new = asyncio.Event()

    def routes(self) -> list[web.RouteDef]:
        client = "/_matrix/client/v3"
        return [
            web.get(client + "/account/whoami", self._whoami),
            web.get(client + "/profile/{user}", self._profile),
            web.get(client + "/rooms/{room}/state/m.room.encryption", self._encryption),
            web.put(client + "/rooms/{room}/send/m.room.message/{txn}", self._send),
            web.put(client + "/rooms/{room}/redact/{event}/{txn}", self._redact),
            web.put(client + "/rooms/{room}/typing/{user}", self._typing),
            web.post("/_matrix/media/v3/upload", self._upload),
            web.get("/_matrix/client/v1/media/download/{server}/{id}", self._download),
            web.get(client + "/sync", self._sync),
            web.get(client + "/rooms/{room}/joined_members", self._joined_members),
            web.post(client + "/rooms/{room}/join", self._join),
        ]

    def config(self) -> dict[str, Any]:
        return {"matrix_access_token": TOKEN, "api_base_url": self.url}

    async def _whoami(self, request: web.Request) -> web.Response:
        return self._problem(request) or web.json_response({"user_id": USER, "device_id": "PALAVER"})

    async def _profile(self, _request: web.Request) -> web.Response:
        return web.json_response({"displayname": "Palaver"})

    async def _encryption(self, request: web.Request) -> web.Response:
        if (problem := self._problem(request)) is not None:
            return problem
        if request.match_info["room"] in self.encrypted:
            return web.json_response({"algorithm": "m.megolm.v1.aes-sha2"})
        return refuse(404, "M_NOT_FOUND", "Event not found.")

    async def _typing(self, request: web.Request) -> web.Response:
        if (problem := self._problem(request)) is not None:
            return problem
        if request.match_info["user"] != USER:
            return refuse(403, "M_FORBIDDEN", "Cannot set another user's typing state")
        self.typing += 1
        self.typing_rooms.append(request.match_info["room"])
        return web.json_response({})

    async def _upload(self, request: web.Request) -> web.Response:
        if (problem := self._problem(request)) is not None:
            return problem
        uri = f"mxc://example.org/{self.next_number()}"
        self.media[uri] = await request.read()
        return web.json_response({"content_uri": uri})

    async def _redact(self, request: web.Request) -> web.Response:
        if (problem := self._problem(request)) is not None:
            return problem
        self.messages = [each for each in self.messages if each.id != request.match_info["event"]]
        return web.json_response({"event_id": f"$redaction{self.next_number()}"})

    async def _send(self, request: web.Request) -> web.StreamResponse:
        content = await request.json()
        fault = self.next_fault("send", content)
        if (answer := await self._refused(request, fault)) is not None:
            return answer
        room, key = request.match_info["room"], request.path
        if key not in self.events:
            if len(msgspec.json.encode(content)) + 2000 > MAX_EVENT_BYTES:
                return refuse(413, "M_TOO_LARGE", "event too large")
            if content["msgtype"] not in ("m.text", "m.notice") and content.get("url") not in self.media:
                return refuse(400, "M_BAD_JSON", "no such media")
            self.events[key] = self._add(room, content)
            self.contents.append(content)
        return await self.lost(request, fault) or web.json_response({"event_id": self.events[key]})

    def _add(self, room: str, content: dict[str, Any]) -> str:
        relation = content.get("m.relates_to", {})
        if relation.get("rel_type") == "m.replace":
            for message in self.messages:
                if message.id == relation["event_id"]:
                    message.text, message.edits = content["m.new_content"]["body"], message.edits + 1
            return f"$edit{self.next_number()}"
        kinds = {"m.image": "image", "m.audio": "record", "m.video": "video", "m.file": "file"}
        kind = kinds.get(content["msgtype"], "text")
        message = Seen(room, f"$event{self.next_number()}", "" if kind != "text" else content["body"], kind)
        message.reply_to = relation.get("m.in_reply_to", {}).get("event_id")
        if kind != "text":
            message.filename, message.content = content["filename"], self.media[content["url"]]
        self.messages.append(message)
        return message.id

    async def _download(self, request: web.Request) -> web.Response:
        uri = f"mxc://{request.match_info['server']}/{request.match_info['id']}"
        return self._problem(request) or web.Response(body=self.media[uri])

    async def _joined_members(self, request: web.Request) -> web.Response:
        joined: dict[str, Any] = {f"@u{n}:example.org": {} for n in range(self.members[request.match_info["room"]])}
        return self._problem(request) or web.json_response({"joined": joined})

    async def _join(self, request: web.Request) -> web.Response:
        if request.match_info["room"] not in self.invited:
            return refuse(403, "M_FORBIDDEN", "You are not invited to this room.")
        del self.invited[request.match_info["room"]]
        self.joined.append(request.match_info["room"])
        return web.json_response({"room_id": request.match_info["room"]})

    async def _sync(self, request: web.Request) -> web.Response:
        if (problem := self._problem(request)) is not None:
            return problem
        if "since" not in request.query:
            return web.json_response({"next_batch": f"s{len(self.timeline)}", "rooms": {}})
        self.is_followed = True
        since = int(request.query["since"][1:])
        try:
            async with asyncio.timeout(min(int(request.query["timeout"]) / 1000, 5.0)):
                while len(self.timeline) <= since and not self.invited:
                    self._new.clear()
                    await self._new.wait()
        except TimeoutError:
            pass
        join: dict[str, Any] = {}
        for room, event in self.timeline[since:]:
            join.setdefault(room, _joined())["timeline"]["events"].append(event)
        invite = {room: {"invite_state": {"events": [state]}} for room, state in self.invited.items()}
        body = {"next_batch": f"s{len(self.timeline)}", "rooms": {"join": join, "invite": invite}}
        return web.json_response(body)

    def message_of(self, text: str, **content: Any) -> dict[str, Any]:
        return {
            "type": "m.room.message",
            "event_id": f"$in{self.next_number()}",
            "sender": "@u42:example.org",
            "origin_server_ts": int(time.time() * 1000),
            "content": {"msgtype": "m.text", "body": text, **content},
        }

    def report(self, room: str, event: dict[str, Any]) -> None:
        self.timeline.append((room, event))
        self._new.set()

    async def pass_on(self, written: Written) -> str:
        await self.until(lambda: self.is_followed)
        event = self.message_of(written.text)
        event["sender"] = f"@u{written.sender}:example.org"
        event["origin_server_ts"] = int(written.at * 1000)
        content = event["content"]
        if written.is_bot:
            content["msgtype"] = "m.notice"
        if written.group and written.addressed:
            content["body"] = f"Palaver: {written.text}"
        if written.group:
            content["m.mentions"] = {"user_ids": [USER] if written.addressed else []}
        if written.quote is not None:
            content["m.relates_to"] = {"m.in_reply_to": {"event_id": written.quote.id}}
            content["body"] = f"> <{USER}> {written.quote.text}\n\n{content['body']}"
        if written.file is not None:
            name, data = written.file
            uri = f"mxc://example.org/{self.next_number()}"
            self.media[uri] = data
            content.update(msgtype="m.file", filename=name, url=uri, info={"size": len(data)})
        for _ in range(written.times):
            self.report(written.session, event)
        return str(event["event_id"])

    async def _refused(self, request: web.Request, fault: Fault | None) -> web.StreamResponse | None:
        if (answer := await self.failed_before(request, fault)) is not None:
            return answer
        match fault.kind if fault is not None else None:
            case "rate_limited":
                assert fault is not None
                body = {"errcode": "M_LIMIT_EXCEEDED", "error": "Too many", "retry_after_ms": int(fault.after * 1000)}
                return web.json_response(body, status=429)
            case "refused":
                return refuse(400, "M_BAD_STATE", "The room's history is closed")
            case "gone":
                return refuse(403, "M_FORBIDDEN", "User @palaver:example.org not in room")
            case "unauthorized":
                return refuse(401, "M_UNKNOWN_TOKEN", "Invalid access token passed.")
        return self._problem(request)

    def _problem(self, request: web.Request) -> web.Response | None:
        if request.headers.get("Authorization") != f"Bearer {TOKEN}":
            return refuse(401, "M_UNKNOWN_TOKEN", "Invalid access token passed.")
        return None


def _joined() -> dict[str, Any]:
    """What is new in a room: nothing yet."""
    timeline = {"events": [], "limited": False, "prev_batch": "p0"}
    return {"timeline": timeline, **{name: {"events": []} for name in ("state", "ephemeral", "account_data")}}


def refuse(status: int, code: str, error: str) -> web.Response:
    return web.json_response({"errcode": code, "error": error}, status=status)
