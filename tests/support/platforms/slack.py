"""Slack's Web API, as far as Palaver speaks it."""

import hmac
import html
import math
import time
from typing import Any

import msgspec
from aiohttp import web

from tests.support.platforms.base import FakePlatform, Fault, Seen, Written

TOKEN = "xoxb-slack-test-token"
APP_TOKEN = "xapp-slack-test-token"
SIGNING_SECRET = "8f742231b10e8888abcd99yyyzzz85a5"
OWN_USER = "U0PALAVER"
DIRECT = "D0DIRECT"
VISIBLE = ("chat.postMessage", "chat.update", "files.completeUploadExternal")


class SlackFake(FakePlatform):
    """One workspace. Refusals come with 200; edits are shorter than messages; uploads need no token.

    `scopes` decides whether the history may be read, where messages are found by their metadata.
    """

    adapter = "slack"
    session = "U0ALICE"
    group = "C0GENERAL"
    limit = 4000
    bad_session = "#general"

    def __init__(self) -> None:
        super().__init__()
        self.scopes = {"im:history", "channels:history", "files:read"}
        self.app_token = APP_TOKEN
        self.webhook: str | None = None
        self.answer = b""
        self.tickets: list[str] = []
        self.sockets: list[web.WebSocketResponse] = []
        self.most_sockets = 0
        self.unacknowledged: dict[str, dict[str, Any]] = {}
        self.files: dict[str, bytes] = {}
        self.uploads: dict[str, tuple[str, bytes]] = {}
        self.tokens_uploaded: list[str | None] = []
        self.upload_host: str | None = None

    def routes(self) -> list[web.RouteDef]:
        return [
            web.post("/api/{method}", self._call),
            web.post("/upload/{file}", self._upload),
            web.get("/link", self._serve),
            web.get("/files/{file}", self._download),
        ]

    def config(self) -> dict[str, Any]:
        return {"bot_token": TOKEN, "app_token": APP_TOKEN, "api_base_url": f"{self.url}/api"}

    async def pass_on(self, written: Written) -> str:
        number = self.next_number()
        ts = f"{int(written.at)}.{number:06}"
        is_mention = written.group and written.addressed
        channel, _, thread = written.session.partition("#")
        event: dict[str, Any] = {
            "type": "message",
            "channel": channel if written.group else DIRECT,
            "channel_type": "channel" if written.group else "im",
            "user": f"U{written.sender}" if written.group else self.session,
            "text": f"<@{OWN_USER}> {html.escape(written.text)}" if is_mention else html.escape(written.text),
            "ts": ts,
            **({"bot_id": "B0OTHER"} if written.is_bot else {}),
            **({"thread_ts": thread} if thread else {}),
        }
        if written.file is not None:
            self.files[f"F{number}"] = written.file[1]
            url = f"{self.url}/files/F{number}"
            event["files"] = [
                {"id": f"F{number}", "name": written.file[0], "size": len(written.file[1]), "url_private_download": url}
            ]
            event["subtype"] = "file_share"
        for _ in range(written.times):
            await self.report(event)
            if is_mention:  # which is told of twice, with two ids
                await self.report({**event, "type": "app_mention"})
        return ts

    async def report(self, event: dict[str, Any], timestamp: int | None = None) -> int:
        """Tell of an event: at the webhook, if there is one, or over the socket; the webhook's status."""
        payload = {"type": "event_callback", "event_id": f"Ev{self.next_number()}", "event": event}
        if self.webhook is not None:
            return await self.post(payload, timestamp)
        id = f"envelope-{self.next_number()}"
        await self.until(lambda: bool(self.sockets))
        self.unacknowledged[id] = payload
        await self._tell(self.sockets[-1], id)
        return 0

    async def post(self, payload: dict[str, Any], timestamp: int | None = None) -> int:
        body, at = msgspec.json.encode(payload), str(timestamp or int(time.time()))
        signature = hmac.new(SIGNING_SECRET.encode(), f"v0:{at}:".encode() + body, "sha256").hexdigest()
        headers = {"X-Slack-Request-Timestamp": at, "X-Slack-Signature": f"v0={signature}"}
        status, self.answer = await self.post_to(str(self.webhook), body, headers=headers)
        return status

    async def disconnect(self, reason: str = "refresh_requested") -> None:
        await self.sockets[-1].send_str(msgspec.json.encode({"type": "disconnect", "reason": reason}).decode())

    async def _tell(self, socket: web.WebSocketResponse, id: str) -> None:
        envelope = {"envelope_id": id, "type": "events_api", "payload": self.unacknowledged[id]}
        await socket.send_str(msgspec.json.encode(envelope).decode())

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        ticket = request.query["ticket"]
        if ticket not in self.tickets:  # each is good for one connection
            return web.Response(status=403)
        self.tickets.remove(ticket)
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        await socket.send_str('{"type":"hello","num_connections":1}')
        self.sockets.append(socket)
        self.most_sockets = max(self.most_sockets, len(self.sockets))
        for id in list(self.unacknowledged):
            await self._tell(socket, id)
        try:
            async for message in socket:
                self.unacknowledged.pop(msgspec.json.decode(message.data)["envelope_id"], None)
        finally:
            self.sockets.remove(socket)
        return socket

    async def _download(self, request: web.Request) -> web.StreamResponse:
        if request.headers.get("Authorization") != f"Bearer {TOKEN}" or "files:read" not in self.scopes:
            return web.Response(text="<!DOCTYPE html><title>Sign in</title>", content_type="text/html")
        return web.Response(body=self.files[request.match_info["file"]])

    async def _call(self, request: web.Request) -> web.StreamResponse:
        if request.match_info["method"] == "apps.connections.open":
            if request.headers.get("Authorization") != f"Bearer {self.app_token}":
                return refuse("invalid_auth")
            self.tickets.append(f"t{self.next_number()}")
            return accept(url=f"ws://127.0.0.1:{self.port}/link?ticket={self.tickets[-1]}")
        if request.headers.get("Authorization") != f"Bearer {TOKEN}":
            return refuse("invalid_auth")
        method, fields = request.match_info["method"], await _fields(request)
        if method in VISIBLE:
            return await self._visible(request, method, fields)
        match method:
            case "auth.test":
                return accept(user_id=OWN_USER, user="palaver", bot_id="B0PALAVER", team_id="T0")
            case "conversations.open":
                return accept(channel={"id": DIRECT}) if fields["users"] == self.session else refuse("user_not_found")
            case "conversations.history" | "conversations.replies":
                return self._history(fields)
            case "files.getUploadURLExternal" if request.content_type != "application/json":
                file = f"F{self.next_number()}"
                self.uploads[file] = (fields["filename"], b"")
                return accept(upload_url=f"{self.upload_host or self.url}/upload/{file}", file_id=file)
            case "files.getUploadURLExternal":
                return refuse("invalid_arguments")
            case "chat.delete":
                if (message := self._find(fields)) is None:
                    return refuse("message_not_found")
                self.messages.remove(message)
                return accept(ts=message.id)
        return refuse("unknown_method")

    async def _upload(self, request: web.Request) -> web.StreamResponse:
        self.tokens_uploaded.append(request.headers.get("Authorization"))
        file = request.match_info["file"]
        self.uploads[file] = (self.uploads[file][0], await request.read())
        return web.Response(text="OK - 4")

    def _history(self, fields: dict[str, Any]) -> web.Response:
        if not any(scope.endswith(":history") for scope in self.scopes):
            return refuse("missing_scope", needed="channels:history")
        messages = [
            {"ts": each.id, "text": each.text, "metadata": each.extra.get("metadata")}
            for each in reversed(self.seen(_session(fields["channel"])))
        ]
        return accept(messages=messages, has_more=False)

    async def _visible(self, request: web.Request, method: str, fields: dict[str, Any]) -> web.StreamResponse:
        fault = self.next_fault(method, fields)
        if fault is not None and (answer := await self._before(request, fault)) is not None:
            return answer
        match method:
            case "chat.postMessage":
                answer = self._post(fields)
            case "chat.update":
                answer = self._update(fields)
            case _:
                answer = self._complete(fields)
        match None if fault is None else fault.kind:
            case "hang_after":
                return await self.hang()
            case "close_after":
                return await self.cut(request)
            case "server_error_after":
                return web.Response(status=503, text="<html>unavailable</html>")
        return answer

    async def _before(self, request: web.Request, fault: Fault) -> web.StreamResponse | None:
        match fault.kind:
            case "rate_limited":
                after = str(math.ceil(fault.after))
                body = {"ok": False, "error": "ratelimited"}
                return web.json_response(body, status=429, headers={"Retry-After": after})
            case "refused":
                return refuse("restricted_action")
            case "gone":
                return refuse("is_archived")
            case "unauthorized":
                return refuse("token_revoked")
            case "server_error":
                return web.Response(status=503, text="<html>unavailable</html>")
            case "close_before":
                return await self.cut(request)
        return None

    def _post(self, fields: dict[str, Any]) -> web.Response:
        if fields["channel"] not in (DIRECT, self.group):
            return refuse("channel_not_found")
        if not fields.get("text"):
            return refuse("no_text")
        message = Seen(_session(fields["channel"]), f"1700000000.{self.next_number():06}", _shown(fields["text"]))
        message.reply_to, message.extra = fields.get("thread_ts"), {"metadata": fields.get("metadata")}
        self.messages.append(message)
        return accept(channel=fields["channel"], ts=message.id)

    def _update(self, fields: dict[str, Any]) -> web.Response:
        if (message := self._find(fields)) is None:
            return refuse("message_not_found")
        if len(fields["text"]) > self.limit:
            return refuse("msg_too_long")
        message.text, message.edits = _shown(fields["text"]), message.edits + 1
        return accept(ts=message.id)

    def _complete(self, fields: dict[str, Any]) -> web.Response:
        if fields["channel_id"] not in (DIRECT, self.group):
            return refuse("channel_not_found")
        for file in fields["files"]:
            name, content = self.uploads[file["id"]]
            message = Seen(_session(fields["channel_id"]), file["id"], "", "image" if name.endswith("png") else "file")
            message.filename, message.content, message.reply_to = name, content, fields.get("thread_ts")
            self.messages.append(message)
        return accept(files=[{"id": file["id"], "title": file["title"]} for file in fields["files"]])

    def _find(self, fields: dict[str, Any]) -> Seen | None:
        place = (_session(fields["channel"]), fields["ts"])
        return next((each for each in self.messages if (each.session, each.id) == place), None)


def _session(channel: str) -> str:
    return SlackFake.session if channel == DIRECT else channel


def _shown(text: str) -> str:
    return html.unescape(text)


def accept(**fields: Any) -> web.Response:
    return web.json_response({"ok": True, **fields})


def refuse(error: str, **fields: Any) -> web.Response:
    return web.json_response({"ok": False, "error": error, **fields})


async def _fields(request: web.Request) -> dict[str, Any]:
    """The arguments of a JSON body or of a form."""
    if request.content_type == "application/json":
        value = await request.json()
        return value if isinstance(value, dict) else {}
    form = {**request.query, **await request.post()}
    fields = {name: value for name, value in form.items() if isinstance(value, str)}
    return {name: msgspec.json.decode(value) if value[:1] in "{[" else value for name, value in fields.items()}
