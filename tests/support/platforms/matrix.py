"""A Matrix homeserver, as far as Palaver speaks with one."""

from typing import Any, ClassVar

import msgspec
from aiohttp import web

from tests.support.platforms.base import FakePlatform, Fault, Seen

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
    faults_known: ClassVar[frozenset[str]] = frozenset(
        {"rate_limited", "refused", "gone", "unauthorized", "server_error", "server_error_after"}
        | {"hang_after", "close_after", "close_before"}
    )

    def __init__(self) -> None:
        super().__init__()
        self.encrypted: set[str] = set()
        self.events: dict[str, str] = {}
        self.contents: list[dict[str, Any]] = []
        self.media: dict[str, bytes] = {}
        self.typing_rooms: list[str] = []

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
            if content["msgtype"] != "m.text" and content.get("url") not in self.media:
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


def refuse(status: int, code: str, error: str) -> web.Response:
    return web.json_response({"errcode": code, "error": error}, status=status)
