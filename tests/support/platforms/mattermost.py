"""A Mattermost server, as far as Palaver speaks with one."""

import time
from typing import Any

import msgspec
from aiohttp import web

from tests.support.platforms.base import FakePlatform, Fault, Seen, Written

TOKEN, BOT_ID = "mattermost-test-token", "b" * 26
PENDING_SECONDS = 30.0


class MattermostFake(FakePlatform):
    """A server. A pending post's id makes one post within thirty seconds; a reply's root is the first of its thread."""

    adapter = "mattermost"
    session = "d" * 26
    group = "g" * 26
    limit = 16_383
    bad_session = "town-square"

    def __init__(self) -> None:
        super().__init__()
        self.pending: dict[str, tuple[float, Seen]] = {}
        self.files: dict[str, tuple[str, bytes]] = {}
        self.posts: list[dict[str, Any]] = []

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/api/v4/users/me", self._identity),
            web.post("/api/v4/users/me/typing", self._typing),
            web.post("/api/v4/files", self._upload),
            web.get("/api/v4/files/{id}", self._download),
            web.get("/api/v4/websocket", self._websocket),
            web.get("/api/v4/users/{id}/channels", self._channels),
            web.get("/api/v4/channels/{id}/posts", self._posts),
            web.post("/api/v4/posts", self._create),
            web.get("/api/v4/posts/{id}", self._get),
            web.put("/api/v4/posts/{id}/patch", self._patch),
            web.delete("/api/v4/posts/{id}", self._delete),
        ]

    def config(self) -> dict[str, Any]:
        return {"mattermost_bot_token": TOKEN, "api_base_url": self.url}

    def new_id(self) -> str:
        return str(self.next_number()).rjust(26, "p")

    async def _identity(self, request: web.Request) -> web.Response:
        return self._problem(request) or web.json_response({"id": BOT_ID, "username": "palaver", "is_bot": True})

    async def _typing(self, request: web.Request) -> web.Response:
        self.typing += 1
        return self._problem(request) or web.json_response({"status": "OK"})

    async def _upload(self, request: web.Request) -> web.Response:
        if (problem := self._problem(request)) is not None:
            return problem
        id = self.new_id()
        self.files[id] = (request.query["filename"], await request.read())
        return web.json_response({"file_infos": [{"id": id}], "client_ids": []}, status=201)

    async def _create(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        fault = self.next_fault("create", body)
        if (answer := await self._refused(request, fault)) is not None:
            return answer
        pending = body.get("pending_post_id", "")
        at, message = self.pending.get(pending, (0.0, None))
        if message is None or time.monotonic() - at > PENDING_SECONDS:
            problem, message = self._read(body)
            if problem is not None:
                return refuse(400, problem)
            self.messages.append(message)
            self.pending[pending] = (time.monotonic(), message)
        return await self.lost(request, fault) or web.json_response(post_of(message), status=201)

    def _read(self, body: dict[str, Any]) -> tuple[str | None, Seen]:
        message = Seen(body["channel_id"], self.new_id(), body["message"], reply_to=body.get("root_id"))
        if len(message.text) > self.limit:
            return "model.post.is_valid.message_length.app_error", message
        if not message.text and not body.get("file_ids"):
            return "model.post.is_valid.msg.app_error", message
        if not body.get("pending_post_id", f"{BOT_ID}:").startswith(f"{BOT_ID}:"):
            return "model.post.is_valid.pending_post_id.app_error", message
        if message.reply_to is not None:
            root = self.find(message.reply_to)
            if root is None or root.session != message.session or root.reply_to is not None:
                return "api.post.create_post.root_id.app_error", message
        for id in body.get("file_ids", []):
            if id not in self.files:
                return "api.post.create_post.file.app_error", message
            message.kind = "image" if self.files[id][0].endswith(".png") else "file"
            message.filename, message.content = self.files[id]
        return None, message

    async def _get(self, request: web.Request) -> web.Response:
        if (problem := self._problem(request)) is not None:
            return problem
        message = self.find(request.match_info["id"])
        return refuse(404, "app.post.get.app_error") if message is None else web.json_response(post_of(message))

    async def _patch(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        fault = self.next_fault("patch", body)
        if (answer := await self._refused(request, fault)) is not None:
            return answer
        message = self.find(request.match_info["id"])
        if message is None:
            return refuse(404, "app.post.get.app_error")
        message.text, message.edits = body["message"], message.edits + 1
        return await self.lost(request, fault) or web.json_response(post_of(message))

    async def _delete(self, request: web.Request) -> web.Response:
        if (problem := self._problem(request)) is not None:
            return problem
        self.messages = [each for each in self.messages if each.id != request.match_info["id"]]
        return web.json_response({"status": "OK"})

    async def _download(self, request: web.Request) -> web.Response:
        return self._problem(request) or web.Response(body=self.files[request.match_info["id"]][1])

    async def _channels(self, request: web.Request) -> web.Response:
        now = int(time.time() * 1000)
        channels = [{"id": self.session, "type": "D"}, {"id": self.group, "type": "O"}]
        return self._problem(request) or web.json_response([{**each, "last_post_at": now} for each in channels])

    async def _posts(self, request: web.Request) -> web.Response:
        since = int(request.query["since"])
        here = [each for each in self.posts if each["channel_id"] == request.match_info["id"]]
        return web.json_response({"posts": {each["id"]: each for each in here if each["create_at"] >= since}})

    async def _websocket(self, request: web.Request) -> web.StreamResponse:
        if (problem := self._problem(request)) is not None:
            return problem
        async with self.socket_of(request) as socket:
            await socket.send_json({"event": "hello", "data": {"server_version": "10.0.0"}, "seq": 0})
            async for _ in socket:
                pass
        return socket

    async def pass_on(self, written: Written) -> str:
        await self.until(lambda: bool(self.sockets))
        post = self.new_post(
            written.text if not (written.group and written.addressed) else f"@palaver: {written.text}",
            group=written.group,
        )
        post["user_id"] = written.sender.rjust(26, "u")
        post["create_at"] = int(written.at * 1000)
        post["root_id"] = "" if written.quote is None else written.quote.id
        if written.is_bot:
            post["props"] = {"from_bot": "true"}
        if written.file is not None:
            id = self.new_id()
            self.files[id] = written.file
            post["metadata"] = {
                "files": [{"id": id, "name": written.file[0], "size": len(written.file[1]), "mime_type": "text/plain"}]
            }
        for _ in range(written.times):
            await self.report(post)
        return str(post["id"])

    def new_post(self, text: str, *, group: bool = False, **fields: Any) -> dict[str, Any]:
        post = {
            "id": self.new_id(),
            "channel_id": self.group if group else self.session,
            "user_id": "42".rjust(26, "u"),
            "message": text,
            "create_at": int(time.time() * 1000),
            "type": "",
            **fields,
        }
        self.posts.append(post)
        return post

    async def report(self, post: dict[str, Any]) -> None:
        kind = "D" if post["channel_id"] == self.session else "O"
        data = {"channel_type": kind, "sender_name": "@somebody", "post": msgspec.json.encode(post).decode()}
        for socket in self.sockets:
            await socket.send_json({"event": "posted", "data": data, "broadcast": {}, "seq": self.next_number()})

    def find(self, id: str) -> Seen | None:
        return next((message for message in self.messages if message.id == id), None)

    async def _refused(self, request: web.Request, fault: Fault | None) -> web.StreamResponse | None:
        if (answer := await self.failed_before(request, fault)) is not None:
            return answer
        match fault.kind if fault is not None else None:
            case "rate_limited":
                assert fault is not None
                headers = {"X-RateLimit-Limit": "10", "X-RateLimit-Remaining": "0"}
                return web.Response(
                    status=429, text="limit exceeded", headers={**headers, "X-RateLimit-Reset": f"{fault.after:g}"}
                )
            case "refused":
                return refuse(400, "api.post.create_post.plugin.rejected")
            case "gone":
                return refuse(403, "api.context.permissions.app_error")
            case "unauthorized":
                return refuse(401, "api.context.session_expired.app_error")
        return self._problem(request)

    def _problem(self, request: web.Request) -> web.Response | None:
        if request.headers.get("Authorization") != f"Bearer {TOKEN}":
            return refuse(401, "api.context.session_expired.app_error")
        return None


def post_of(message: Seen) -> dict[str, Any]:
    return {
        "id": message.id,
        "channel_id": message.session,
        "message": message.text,
        "root_id": message.reply_to or "",
        "user_id": BOT_ID,
    }


def refuse(status: int, id: str) -> web.Response:
    return web.json_response({"id": id, "message": f"Refused: {id}", "status_code": status}, status=status)
