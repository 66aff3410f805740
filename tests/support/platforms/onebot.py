"""A OneBot v11 client such as NapCat, as far as Palaver speaks with it."""

import asyncio
import base64
from typing import Any

import aiohttp
import msgspec
from aiohttp import web

from tests.support.platforms.base import FakePlatform, Seen, Written

TOKEN = "onebot-test-token"
OWN_NUMBER = 10001
Socket = web.WebSocketResponse | aiohttp.ClientWebSocketResponse
_MEDIA = {"image": "image", "record": "record", "video": "video", "file": "file"}


class OneBotFake(FakePlatform):
    """One account's WebSocket server. Files and recordings must be alone in their messages; there are no keys."""

    adapter = "aiocqhttp"
    session = "20002"
    group = "30003"
    limit = 4500
    bad_session = "not a number"
    faults_missing = frozenset(
        {"rate_limited", "gone", "unauthorized", "bad_format", "server_error", "server_error_after"}
    )

    def __init__(self) -> None:
        super().__init__()
        self.connections: list[Socket] = []
        self.files: dict[str, bytes] = {}
        self.opened = 0
        self.answers: list[dict[str, Any]] = []
        """Answers to send instead of the next ones; the messages are taken."""

    def routes(self) -> list[web.RouteDef]:
        return [web.get("/", self._serve), web.get("/files/{file}", self._download)]

    def config(self) -> dict[str, Any]:
        return {"api_base_url": self.url, "access_token": TOKEN}

    async def pass_on(self, written: Written) -> str:
        await self.until(lambda: bool(self.connections))
        number = self.next_number()
        user = OWN_NUMBER if written.is_bot else int(written.sender if written.group else written.session)
        segments: list[dict[str, Any]] = []
        if written.quote is not None:
            segments.append({"type": "reply", "data": {"id": written.quote.id}})
        if written.group and written.addressed:
            segments.append({"type": "at", "data": {"qq": str(OWN_NUMBER)}})
        segments.append({"type": "text", "data": {"text": f" {written.text}" if written.group else written.text}})
        if written.file is not None:
            self.files[f"f{number}"] = written.file[1]
            url = f"{self.url}/files/f{number}"
            segments.append(
                {"type": "file", "data": {"file": written.file[0], "file_size": str(len(written.file[1])), "url": url}}
            )
        event = {
            "post_type": "message_sent" if written.is_bot else "message",
            "message_type": "group" if written.group else "private",
            "time": int(written.at),
            "self_id": OWN_NUMBER,
            "user_id": user,
            "message_id": number,
            "sender": {"user_id": user, "nickname": f"Person {written.sender}"},
            "message": segments,
            **({"group_id": int(written.session)} if written.group else {}),
        }
        for _ in range(written.times):
            await self.connections[-1].send_str(encode(event))
        return str(number)

    async def dial(self, url: str, token: str = TOKEN, role: str = "Universal") -> None:
        """Open the WebSocket to the bot, and serve it until it is closed."""
        headers = {"Authorization": f"Bearer {token}", "X-Self-ID": str(OWN_NUMBER), "X-Client-Role": role}
        async with aiohttp.ClientSession() as session, session.ws_connect(url, headers=headers) as socket:
            self.opened += 1
            self.connections.append(socket)
            try:
                async for message in socket:
                    await self._answer(None, socket, msgspec.json.decode(message.data))
            finally:
                self.connections.remove(socket)

    async def _download(self, request: web.Request) -> web.StreamResponse:
        return web.Response(body=self.files[request.match_info["file"]])

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        if request.headers.get("Authorization") != f"Bearer {TOKEN}":
            return web.Response(status=401)
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        self.opened += 1
        self.connections.append(socket)
        try:
            await socket.send_str(
                encode({"post_type": "meta_event", "meta_event_type": "lifecycle", "self_id": OWN_NUMBER})
            )
            async with asyncio.TaskGroup() as tasks:
                async for message in socket:
                    tasks.create_task(self._answer(request, socket, msgspec.json.decode(message.data)))
        finally:
            self.connections.remove(socket)
        return socket

    async def _answer(self, request: web.Request | None, socket: Socket, call: dict[str, Any]) -> None:
        action, params = call["action"], call["params"]
        if action == "get_login_info":
            answer = accept({"user_id": OWN_NUMBER, "nickname": "Palaver"})
        else:
            fault = self.next_fault(action, params)
            kind = "" if fault is None else fault.kind
            if kind == "close_before":
                await self._cut(request, socket)
                return
            answer = refuse(100, "SEND_MSG_API_ERROR") if kind == "refused" else self.apply(action, params)
            if kind == "hang_after":
                return
            if kind == "close_after":
                await self._cut(request, socket)
                return
            if self.answers:
                answer = self.answers.pop(0)
        await socket.send_str(encode({**answer, "echo": call["echo"]}))

    async def _cut(self, request: web.Request | None, socket: Socket) -> None:
        if request is None:
            await socket.close()
        else:
            await self.cut(request)

    def apply(self, action: str, params: dict[str, Any]) -> dict[str, Any]:
        if action == "delete_msg":
            found = next((each for each in self.messages if each.id == str(params["message_id"])), None)
            if found is None:
                return refuse(1404, "消息不存在")
            self.messages.remove(found)
            return accept(None)
        if action not in ("send_private_msg", "send_group_msg"):
            return refuse(1404, "不支持的API")
        session = params.get("group_id" if action == "send_group_msg" else "user_id")
        if not isinstance(session, int):
            return refuse(1400, "参数错误")
        message = Seen(str(session), str(self.next_number()))
        if (problem := _read(message, params["message"])) is not None:
            return refuse(100, problem)
        if len(message.text) > self.limit:
            return refuse(100, "消息过长")
        self.messages.append(message)
        return accept({"message_id": int(message.id)})


def _read(message: Seen, segments: list[dict[str, Any]]) -> str | None:
    """Read the segments into a message; the problem, if there is one."""
    for segment in segments:
        kind, data = segment["type"], segment["data"]
        if kind == "reply":
            message.reply_to = data["id"]
        elif kind == "text":
            message.text += data["text"]
        elif kind in _MEDIA and data["file"].startswith("base64://"):
            if kind in ("file", "record", "video") and len(segments) > 1:
                return "此消息不能与其他消息一起发送"
            message.kind, message.filename = _MEDIA[kind], data.get("name")
            message.content = base64.b64decode(data["file"].removeprefix("base64://"))
        else:
            return "消息段错误"
    return None


def encode(value: Any) -> str:
    return msgspec.json.encode(value).decode()


def accept(data: Any) -> dict[str, Any]:
    return {"status": "ok", "retcode": 0, "data": data}


def refuse(code: int, reason: str) -> dict[str, Any]:
    return {"status": "failed", "retcode": code, "data": None, "message": reason, "wording": reason}
