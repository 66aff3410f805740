"""Discord's REST API, as far as Palaver speaks it."""

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
from aiohttp import web

from tests.support.platforms.base import FakePlatform, Fault, Seen
from tests.support.platforms.gateway import FakeGateway

TOKEN = "discord.test.token"
USER = "900000000000000001"
OWN_ID = "700000000000000007"


class DiscordFake(FakePlatform):
    """One bot's API. A nonce with `enforce_nonce` shows a message once; a user is no channel."""

    adapter = "discord"
    session = "100000000000000001"
    group = "200000000000000002"
    limit = 2000
    unit = "utf16"
    bad_session = "general"
    faults_known = frozenset(
        {
            "rate_limited",
            "refused",
            "gone",
            "unauthorized",
            "server_error",
            "server_error_after",
            "hang_after",
            "close_after",
            "close_before",
        }
    )

    def __init__(self) -> None:
        super().__init__()
        self.channels = {self.session, self.group}
        self.nonces: dict[str, Seen] = {}
        self.limits_all = False
        self.gateway = FakeGateway(TOKEN, self)
        self.identifies_left = 1000
        self.files: dict[str, bytes] = {}
        self.tokens_of_downloads: list[str | None] = []
        self.typed: list[str] = []
        self.agents: set[str] = set()

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/api/v10/users/@me", self._me),
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

    async def receive(
        self,
        text: str,
        *,
        session: str | None = None,
        sender: str = "42",
        group: bool = False,
        addressed: bool = True,
        is_bot: bool = False,
        age_seconds: float = 0.0,
        quote: Seen | None = None,
        file: tuple[str, bytes] | None = None,
        times: int = 1,
    ) -> str:
        id = str(400000000000000000 + self.next_number())
        is_mentioned = group and addressed
        message: dict[str, Any] = {
            "id": id,
            "type": 0,
            "channel_id": session or (self.group if group else self.session),
            "author": {"id": sender, "username": f"person{sender}", "bot": is_bot},
            "content": f"<@{OWN_ID}> {text}" if is_mentioned else text,
            "mentions": [{"id": OWN_ID}] if is_mentioned else [],
            "timestamp": (datetime.now(UTC) - timedelta(seconds=age_seconds)).isoformat(),
            "attachments": [],
            **({"guild_id": "600000000000000006"} if group else {}),
        }
        if quote is not None:
            author = OWN_ID if quote in self.messages else "43"
            message["referenced_message"] = {"id": quote.id, "content": quote.text, "author": {"id": author}}
            message["type"] = 19
        if file is not None:
            self.files[id] = file[1]
            url = f"{self.url}/attachments/{id}"
            message["attachments"] = [{"id": id, "filename": file[0], "size": len(file[1]), "url": url}]
        for _ in range(times):
            await self.gateway.dispatch("MESSAGE_CREATE", message)
        return id

    async def _gateway(self, request: web.Request) -> web.StreamResponse:
        if not self._is_known(request):
            return refuse(401, 0, "401: Unauthorized")
        limit = {"total": 1000, "remaining": self.identifies_left, "reset_after": 60_000, "max_concurrency": 1}
        return web.json_response({"url": f"ws://127.0.0.1:{self.port}/gateway", "session_start_limit": limit})

    async def _download(self, request: web.Request) -> web.StreamResponse:
        self.tokens_of_downloads.append(request.headers.get("Authorization"))
        return web.Response(body=self.files[request.match_info["id"]])

    def _is_known(self, request: web.Request) -> bool:
        self.agents.add(request.headers.get("User-Agent", ""))
        return request.headers.get("Authorization") == f"Bot {TOKEN}"

    async def _me(self, request: web.Request) -> web.StreamResponse:
        if not self._is_known(request):
            return refuse(401, 0, "401: Unauthorized")
        return web.json_response({"id": OWN_ID, "username": "palaver", "bot": True})

    async def _open(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        if body.get("recipient_id") != USER:
            return refuse(400, 50033, "Invalid Recipient(s)")
        self.channels.add("300000000000000003")
        return web.json_response({"id": "300000000000000003", "type": 1})

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
        if fault is not None and (answer := await self._before(request, fault)) is not None:
            return answer
        if (problem := _problem(body, file, self.limit)) is not None:
            return problem
        message = self.nonces.get(body["nonce"]) if body.get("enforce_nonce") else None
        if message is None:
            message = self._add(channel, body, file)
        return await self._after(request, fault) or web.json_response({"id": message.id, "channel_id": channel})

    async def _edit(self, request: web.Request) -> web.StreamResponse:
        body, _ = await _fields(request)
        fault = self.next_fault("edit", body)
        if fault is not None and (answer := await self._before(request, fault)) is not None:
            return answer
        if (message := self._find(request)) is None:
            return refuse(404, 10008, "Unknown Message")
        if (problem := _problem(body, None, self.limit)) is not None:
            return problem
        message.text, message.edits = _shown(body["content"]), message.edits + 1
        return await self._after(request, fault) or web.json_response({"id": message.id})

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

    async def _before(self, request: web.Request, fault: Fault) -> web.StreamResponse | None:
        match fault.kind:
            case "rate_limited":
                body = {"message": "You are being rate limited.", "retry_after": fault.after, "global": self.limits_all}
                headers = {"Retry-After": str(max(round(fault.after), 1)), "X-RateLimit-Scope": "user"}
                return web.json_response(body, status=429, headers=headers)
            case "refused":
                return refuse(403, 50013, "Missing Permissions")
            case "gone":
                return refuse(403, 50007, "Cannot send messages to this user")
            case "unauthorized":
                return refuse(401, 0, "401: Unauthorized")
            case "server_error":
                return web.Response(status=502, text="<html>Bad Gateway</html>")
            case "close_before":
                return await self.cut(request)
        return None

    async def _after(self, request: web.Request, fault: Fault | None) -> web.StreamResponse | None:
        match None if fault is None else fault.kind:
            case "hang_after":
                return await self.hang()
            case "close_after":
                return await self.cut(request)
            case "server_error_after":
                return web.Response(status=502, text="<html>Bad Gateway</html>")
        return None


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


def _shown(content: str) -> str:
    return content.replace("\\_", "_").replace("\\*", "*")


def refuse(status: int, code: int, message: str) -> web.Response:
    return web.json_response({"code": code, "message": message}, status=status)


async def _fields(request: web.Request) -> tuple[dict[str, Any], tuple[str, bytes] | None]:
    """The body, and the file that came with it."""
    if request.content_type == "application/json":
        return await request.json(), None
    form = await request.post()
    file, payload = form["files[0]"], form["payload_json"]
    assert isinstance(file, web.FileField)
    text = payload if isinstance(payload, str) else bytes(payload).decode()  # type: ignore[arg-type]
    return msgspec.json.decode(text), (file.filename, file.file.read())
