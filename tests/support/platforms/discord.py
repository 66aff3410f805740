"""Discord's REST API, as far as Palaver speaks it."""

from datetime import UTC, datetime
from typing import Any

import msgspec
from aiohttp import web

from tests.support.platforms.base import FakePlatform, Fault, Seen, Written
from tests.support.platforms.gateway import FakeGateway

TOKEN = "discord.test.token"
USER = "900000000000000001"
OWN_ID = "700000000000000007"
_MESSAGE = {
    "type": 0,
    "attachments": [],
    "embeds": [],
    "mentions": [],
    "mention_roles": [],
    "mention_everyone": False,
} | {
    "pinned": False,
    "tts": False,
    "edited_timestamp": None,
    "flags": 0,
}


class DiscordFake(FakePlatform):
    """One bot's API. A nonce with `enforce_nonce` shows a message once; a user is no channel."""

    adapter = "discord"
    session = "100000000000000001"
    group = "200000000000000002"
    limit = 2000
    unit = "utf16"
    bad_session = "general"

    def __init__(self) -> None:
        super().__init__()
        self.channels = {self.session, self.group}
        self.nonces: dict[str, Seen] = {}
        self.limits_all = False
        self.gateway = FakeGateway(TOKEN, self)
        self.gateway.user = _user(OWN_ID, "palaver")
        self.identifies_left = 1000
        self.files: dict[str, bytes] = {}
        self.tokens_of_downloads: list[str | None] = []
        self.typed: list[str] = []
        self.agents: set[str] = set()

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/api/v10/users/@me", self._me),
            web.get("/api/v10/oauth2/applications/@me", self._application),
            web.get("/api/v10/gateway/bot", self._gateway),
            web.get("/gateway", self.gateway.serve),
            web.get("/attachments/{id}", self._download),
            web.post("/api/v10/users/@me/channels", self._open),
            web.post("/api/v10/channels/{channel}/messages", self._create),
            web.patch("/api/v10/channels/{channel}/messages/{id}", self._edit),
            web.delete("/api/v10/channels/{channel}/messages/{id}", self._delete),
            web.post("/api/v10/channels/{channel}/typing", self._typing),
        ]

    def config(self) -> dict[str, Any]:
        return {"discord_token": TOKEN, "api_base_url": f"{self.url}/api/v10"}

    async def pass_on(self, written: Written) -> str:
        id = str(400000000000000000 + self.next_number())
        is_mentioned = written.group and written.addressed
        message: dict[str, Any] = {
            **_MESSAGE,
            "id": id,
            "channel_id": written.session,
            "author": {**_user(written.sender, f"person{written.sender}"), "bot": written.is_bot},
            "content": f"<@{OWN_ID}> {written.text}" if is_mentioned else written.text,
            "mentions": [{"id": OWN_ID}] if is_mentioned else [],
            "timestamp": datetime.fromtimestamp(written.at, UTC).isoformat(),
            **({"guild_id": "600000000000000006"} if written.group else {}),
        }
        if written.quote is not None:
            author = OWN_ID if written.quote in self.messages else "43"
            message["referenced_message"] = {
                "id": written.quote.id,
                "content": written.quote.text,
                "author": {"id": author},
            }
            message["type"] = 19
        if written.file is not None:
            self.files[id] = written.file[1]
            url = f"{self.url}/attachments/{id}"
            message["attachments"] = [{"id": id, "filename": written.file[0], "size": len(written.file[1]), "url": url}]
        for _ in range(written.times):
            await self.gateway.dispatch("MESSAGE_CREATE", message)
        return id

    async def _gateway(self, request: web.Request) -> web.StreamResponse:
        if not self._is_known(request):
            return refuse(401, 0, "401: Unauthorized")
        limit = {"total": 1000, "remaining": self.identifies_left, "reset_after": 60_000, "max_concurrency": 1}
        return _json({"url": f"ws://127.0.0.1:{self.port}/gateway", "session_start_limit": limit})

    async def _download(self, request: web.Request) -> web.StreamResponse:
        self.tokens_of_downloads.append(request.headers.get("Authorization"))
        return web.Response(body=self.files[request.match_info["id"]])

    def _is_known(self, request: web.Request) -> bool:
        self.agents.add(request.headers.get("User-Agent", ""))
        return request.headers.get("Authorization") == f"Bot {TOKEN}"

    async def _me(self, request: web.Request) -> web.StreamResponse:
        if not self._is_known(request):
            return refuse(401, 0, "401: Unauthorized")
        return _json(_user(OWN_ID, "palaver"))

    async def _application(self, request: web.Request) -> web.StreamResponse:
        about = {"description": "", "icon": None, "bot_public": True, "bot_require_code_grant": False}
        owner = {"owner": _user(USER, "owner"), "team": None, "verify_key": "0" * 64, "flags": 0}
        return _json({"id": OWN_ID, "name": "Palaver", **about, **owner})

    async def _open(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        if body.get("recipient_id") != USER:
            return refuse(400, 50033, "Invalid Recipient(s)")
        self.channels.add("300000000000000003")
        return _json({"id": "300000000000000003", "type": 1})

    async def _typing(self, request: web.Request) -> web.StreamResponse:
        self.typed.append(request.match_info["channel"])
        return web.Response(status=204)

    async def _create(self, request: web.Request) -> web.StreamResponse:
        body, file = await _fields(request)
        if not self._is_known(request):
            return refuse(401, 0, "401: Unauthorized")
        channel = request.match_info["channel"]
        if channel not in self.channels:
            return refuse(404, 10003, "Unknown Channel")
        fault = self.next_fault("create", body)
        if (answer := await self._refused(request, fault)) is not None:
            return answer
        if (problem := _problem(body, file, self.limit)) is not None:
            return problem
        message = self.nonces.get(body["nonce"]) if body.get("enforce_nonce") else None
        if message is None:
            message = self._add(channel, body, file)
        return await self.lost(request, fault) or _json(_message(message))

    async def _edit(self, request: web.Request) -> web.StreamResponse:
        body, _ = await _fields(request)
        fault = self.next_fault("edit", body)
        if (answer := await self._refused(request, fault)) is not None:
            return answer
        if (message := self._find(request)) is None:
            return refuse(404, 10008, "Unknown Message")
        if (problem := _problem(body, None, self.limit)) is not None:
            return problem
        message.text, message.edits = _shown(body["content"]), message.edits + 1
        return await self.lost(request, fault) or _json(_message(message))

    async def _delete(self, request: web.Request) -> web.StreamResponse:
        if (message := self._find(request)) is None:
            return refuse(404, 10008, "Unknown Message")
        self.messages.remove(message)
        return web.Response(status=204)

    def _find(self, request: web.Request) -> Seen | None:
        channel, id = request.match_info["channel"], request.match_info["id"]
        return next((each for each in self.messages if (each.session, each.id) == (channel, id)), None)

    def _add(self, channel: str, body: dict[str, Any], file: tuple[str, bytes] | None) -> Seen:
        id = str(400000000000000000 + self.next_number())
        message = Seen(channel, id, _shown(body.get("content", "")))
        message.reply_to = body.get("message_reference", {}).get("message_id")
        message.extra = {"allowed_mentions": body.get("allowed_mentions")}
        if file is not None:
            is_image = file[0].endswith(".png")
            message.kind, message.filename, message.content = "image" if is_image else "file", *file
        self.messages.append(message)
        if body.get("nonce"):
            self.nonces[body["nonce"]] = message
        return message

    async def _refused(self, request: web.Request, fault: Fault | None) -> web.StreamResponse | None:
        match fault.kind if fault is not None else None:
            case "rate_limited":
                assert fault is not None
                body = {"message": "You are being rate limited.", "retry_after": fault.after, "global": self.limits_all}
                headers = {"Retry-After": str(max(round(fault.after), 1)), "X-RateLimit-Scope": "user"}
                return _json(body, status=429, headers=headers)
            case "refused":
                return refuse(403, 50013, "Missing Permissions")
            case "gone":
                return refuse(403, 50007, "Cannot send messages to this user")
            case "unauthorized":
                return refuse(401, 0, "401: Unauthorized")
        return await self.failed_before(request, fault)


def _problem(body: dict[str, Any], file: tuple[str, bytes] | None, limit: int) -> web.Response | None:
    content = body.get("content", "")
    if not content and file is None:
        return refuse(400, 50006, "Cannot send an empty message")
    if len(content.encode("utf-16-le")) // 2 > limit:
        return refuse(400, 50035, "Invalid Form Body: Must be 2000 or fewer in length.")
    if len(str(body.get("nonce", ""))) > 25:
        return refuse(400, 50035, "Invalid Form Body: nonce is too long")
    if file is not None and len(file[1]) > 10 * 1024**2:
        return refuse(413, 40005, "Request entity too large")
    return None


def _user(id: str, name: str) -> dict[str, Any]:
    return {"id": id, "username": name, "discriminator": "0", "avatar": None, "bot": id == OWN_ID}


def _message(message: Seen) -> dict[str, Any]:
    """One of the bot's own, as the API returns it."""
    channel = {"id": message.id, "channel_id": message.session, "author": _user(OWN_ID, "palaver")}
    quoted = None if message.reply_to is None else {"message_id": message.reply_to, "channel_id": message.session}
    more = {} if quoted is None else {"type": 19, "message_reference": quoted}
    return {**_MESSAGE, **channel, "content": message.text, "timestamp": datetime.now(UTC).isoformat(), **more}


def _shown(content: str) -> str:
    return content.replace("\\_", "_").replace("\\*", "*")


def _json(value: Any, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    """An answer whose content type has no parameters, as clients expect of Discord."""
    body = msgspec.json.encode(value)
    return web.Response(body=body, status=status, headers=headers, content_type="application/json")


def refuse(status: int, code: int, message: str) -> web.Response:
    return _json({"code": code, "message": message}, status=status)


async def _fields(request: web.Request) -> tuple[dict[str, Any], tuple[str, bytes] | None]:
    """The body, and the file that came with it."""
    if request.content_type == "application/json":
        return await request.json(), None
    form = await request.post()
    file, payload = form["files[0]"], form["payload_json"]
    assert isinstance(file, web.FileField)
    text = payload if isinstance(payload, str) else bytes(payload).decode()  # type: ignore[arg-type]
    return msgspec.json.decode(text), (file.filename, file.file.read())
