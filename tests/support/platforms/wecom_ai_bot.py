"""WeCom's AI bots, as far as Palaver speaks with them: the long connection, and callbacks."""

import base64
import hashlib
from typing import Any

import aiohttp
import msgspec
from aiohttp import web

from tests.support.platforms.base import FakePlatform, Seen, Written
from tests.support.platforms.wecom import AES_KEY, CALLBACK_TOKEN, encrypt, seal

BOT_ID, SECRET = "aib_test", "wecom-ai-bot-secret"
CHUNK_BYTES = 512 * 1024
_KINDS = {"image": "image", "voice": "record", "video": "video", "file": "file"}


class WeComAiBotFake(FakePlatform):
    """One bot. A new connection takes it away from the old one, and with it the right to answer what came there."""

    adapter = "wecom_ai_bot"
    session = "ZhangSan"
    group = "wrGROUP7"
    limit = 20_480
    unit = "utf8"
    bad_session = "no such user"
    faults_missing = frozenset({"rate_limited", "unauthorized", "bad_format", "server_error", "server_error_after"})

    def __init__(self) -> None:
        super().__init__()
        self.subscribed = 0
        self.secret = SECRET
        self.pings = 0
        self.codes: list[int] = []
        self.requests: dict[str, str] = {}
        """The chats of the messages that came on this connection, by their `req_id`."""
        self.streams: dict[str, Seen] = {}
        self.over: set[str] = set()
        self.uploads: dict[str, dict[str, Any]] = {}
        self.files: dict[str, bytes] = {}
        self.welcomes: list[str] = []

    def routes(self) -> list[web.RouteDef]:
        return [web.get("/", self._serve), web.get("/files/{file}", self._download)]

    def config(self) -> dict[str, Any]:
        return {"wecomaibot_ws_bot_id": BOT_ID, "wecomaibot_ws_secret": self.secret, "api_base_url": self.url} | {
            "wecom_ai_bot_name": "Palaver"
        }

    async def _serve(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        is_subscribed = False
        try:
            async for message in socket:
                frame = msgspec.json.decode(message.data)
                command, id, body = frame["cmd"], frame["headers"]["req_id"], frame.get("body", {})
                if command == "aibot_subscribe":
                    is_subscribed = body == {"bot_id": BOT_ID, "secret": SECRET}
                    if is_subscribed:
                        await self._take_over(socket)
                    answer = accept() if is_subscribed else refuse(853000, "invalid bot_id or secret")
                elif not is_subscribed:
                    answer = refuse(40013, "not subscribed")
                elif command == "ping":
                    self.pings += 1
                    answer = accept()
                else:
                    found = await self._command(request, command, id, body)
                    if found is None:
                        continue
                    answer = found
                await socket.send_str(encode({"headers": {"req_id": id}, **answer}))
        finally:
            if socket in self.sockets:
                self.sockets.remove(socket)
        return socket

    async def _take_over(self, socket: web.WebSocketResponse) -> None:
        self.subscribed += 1
        for other in self.sockets:
            event = {"msgtype": "event", "event": {"eventtype": "disconnected_event"}}
            await other.send_str(
                encode({"cmd": "aibot_event_callback", "headers": {"req_id": "disconnected"}, "body": event})
            )
            await other.close()
        self.sockets = [socket]
        self.requests.clear()

    async def _command(
        self, request: web.Request, command: str, id: str, body: dict[str, Any]
    ) -> dict[str, Any] | None:
        """Carry a command out; None if no answer comes."""
        if command.startswith("aibot_upload_media"):
            return self._upload(command.rpartition("_")[2], body)
        if command == "aibot_respond_welcome_msg":
            self.welcomes.append(body["text"]["content"])
            return accept()
        fault = self.next_fault(command, body)
        kind = "" if fault is None else fault.kind
        if kind == "close_before":
            await self.cut(request)
            return None
        if self.codes:
            return refuse(self.codes.pop(0), "scripted")
        if kind in ("refused", "gone"):
            return refuse(40058 if kind == "refused" else 93008, "scripted")
        answer = self._respond(id, body) if command == "aibot_respond_msg" else self._send(body)
        if kind == "close_after":
            await self.cut(request)
        return None if kind in ("hang_after", "close_after") else answer

    def _respond(self, id: str, body: dict[str, Any]) -> dict[str, Any]:
        if id not in self.requests:
            return refuse(846605, "invalid req_id")
        stream = body["stream"]
        if stream["id"] in self.over:
            return refuse(846608, "stream message update expired (>6 minutes), cannot update")
        if body["msgtype"] != "stream" or not 0 < len(stream["content"].encode()) <= self.limit:
            return refuse(40058, "invalid content")
        seen = self.streams.get(stream["id"])
        if seen is None:
            seen = self.streams[stream["id"]] = Seen(self.requests[id], f"{stream['id']}@{id}")
            self.messages.append(seen)
        else:
            seen.edits += 1
        seen.text = stream["content"]
        if stream["finish"]:
            self.over.add(stream["id"])
        return accept()

    def _send(self, body: dict[str, Any]) -> dict[str, Any]:
        kind = body["msgtype"]
        if kind != "markdown" and kind not in _KINDS:
            return refuse(40008, "invalid message type")
        if body["chat_type"] != (2 if body["chatid"].startswith("wr") else 1):
            return refuse(93006, "invalid chatid")
        message = Seen(body["chatid"], f"m{self.next_number()}")
        if kind == "markdown":
            message.text = body["markdown"]["content"]
            if len(message.text.encode()) > self.limit:
                return refuse(45002, "content size out of limit")
        else:
            file = self.uploads[body[kind]["media_id"]]
            if file["type"] != kind:
                return refuse(40004, "invalid media type")
            message.kind, message.filename, message.content = _KINDS[kind], file["filename"], file["content"]
        self.messages.append(message)
        return accept()

    def _upload(self, step: str, body: dict[str, Any]) -> dict[str, Any]:
        if step == "init":
            if body["total_size"] < 5 or body["total_chunks"] != -(-body["total_size"] // CHUNK_BYTES):
                return refuse(40006, "invalid file size")
            id = f"upload{self.next_number()}"
            self.uploads[id] = {**body, "chunks": {}}
            return accept(upload_id=id)
        upload = self.uploads[body["upload_id"]]
        if step == "chunk":
            upload["chunks"][body["chunk_index"]] = base64.b64decode(body["base64_data"])
            return accept()
        content = upload["content"] = b"".join(upload["chunks"][index] for index in range(upload["total_chunks"]))
        if (len(content), hashlib.md5(content).hexdigest()) != (upload["total_size"], upload["md5"]):
            return refuse(40006, "md5 mismatch")
        return accept(media_id=body["upload_id"])

    async def _download(self, request: web.Request) -> web.Response:
        return web.Response(body=self.files[request.match_info["file"]])

    async def pass_on(self, written: Written) -> str:
        number = str(self.next_number())
        if written.is_bot or (
            written.group and not written.addressed
        ):  # WeCom reports what people write to the bot only
            return number
        body: dict[str, Any] = {
            "msgid": number,
            "aibotid": BOT_ID,
            "chattype": "group" if written.group else "single",
            "from": {"userid": self.session if written.sender == "42" else written.sender},
            "create_time": int(written.at),
            "msgtype": "text",
            "text": {"content": f"@Palaver {written.text}" if written.group else written.text},
        }
        if written.group:
            body["chatid"] = written.session
        if written.quote is not None:
            body["quote"] = {"msgtype": "text", "text": {"content": written.quote.text}}
        if written.file is not None:
            self.files[number] = encrypt(written.file[1], AES_KEY)
            attached = {"url": f"{self.url}/files/{number}", "aeskey": AES_KEY, "filename": written.file[0]}
            body |= {"msgtype": "file", "file": attached}
        for _ in range(written.times):
            await self.report(body)
        return number

    async def report(self, body: dict[str, Any], command: str = "aibot_msg_callback") -> int:
        """Tell of a message or an event; 200."""
        await self.until(lambda: bool(self.sockets))
        id = f"req{self.next_number()}"
        self.requests[id] = str(body.get("chatid") or body["from"]["userid"])
        await self.sockets[-1].send_str(encode({"cmd": command, "headers": {"req_id": id}, "body": body}))
        return 200


class WeComAiBotCallbackFake(WeComAiBotFake):
    """A bot that posts messages; each can be answered once, at an address of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.door = ""
        self.answer = ""

    def routes(self) -> list[web.RouteDef]:
        return [web.post("/respond/{request}", self._answered), web.get("/files/{file}", self._download)]

    def config(self) -> dict[str, Any]:
        return {
            "wecom_ai_bot_connection_mode": "webhook",
            "wecomaibot_token": CALLBACK_TOKEN,
            "wecomaibot_encoding_aes_key": AES_KEY,
        }

    async def _answered(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        fault = self.next_fault("respond", body)
        if (failure := await self.failed_before(request, fault)) is not None:
            return failure
        session = self.requests.pop(request.match_info["request"], None)
        if session is None:
            return web.json_response(refuse(60140, "response_url invalid or used"))
        if body["msgtype"] != "markdown":
            return web.json_response(refuse(40008, "invalid message type"))
        self.messages.append(Seen(session, f"m{self.next_number()}", body["markdown"]["content"]))
        return await self.lost(request, fault) or web.json_response(accept())

    async def report(
        self,
        body: dict[str, Any],
        command: str = "",
        *,
        token: str = CALLBACK_TOKEN,
        echo: str | None = None,
    ) -> int:
        """Make a callback, or ask with `echo` whether this is the right place; the status, and the text in `answer`."""
        id = f"req{self.next_number()}"
        if "from" in body:
            self.requests[id] = str(body.get("chatid") or body["from"]["userid"])
            body = {**body, "response_url": f"{self.url}/respond/{id}"}
        query, encrypted = seal(encode(body) if echo is None else echo, token, "")
        if echo is not None:
            async with aiohttp.request("GET", self.door, params={**query, "echostr": encrypted}) as response:
                self.answer = await response.text()
                return response.status
        status, text = await self.post_to(self.door, msgspec.json.encode({"encrypt": encrypted}), params=query)
        self.answer = text.decode()
        return status


def encode(value: Any) -> str:
    return msgspec.json.encode(value).decode()


def accept(**body: Any) -> dict[str, Any]:
    return {"errcode": 0, "errmsg": "ok", **({"body": body} if body else {})}


def refuse(code: int, message: str) -> dict[str, Any]:
    return {"errcode": code, "errmsg": message}
