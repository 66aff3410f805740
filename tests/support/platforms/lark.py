"""Lark's open platform, as far as Palaver speaks it."""

import hashlib
import os
import time
from base64 import b64encode
from typing import Any

import msgspec
from aiohttp import web
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from app.bots.adapters.lark_events import Frame, decode, encode
from tests.support.platforms.base import FakePlatform, Fault, Seen, Written

APP_ID, APP_SECRET = "cli_test", "lark-test-secret"
VERIFICATION, ENCRYPT_KEY = "lark-verification", "lark-encrypt-key"
MAX_REQUEST_BYTES = 30 * 1024
MAX_EDITS = 20


class LarkFake(FakePlatform):
    """One app's API. A post counts in bytes of the request; a `uuid` is taken once, and an edit twenty times."""

    adapter = "lark"
    session = "ou_42"
    group = "oc_7"
    limit = 30_000
    unit = "utf8"
    bad_session = "not a chat"
    faults_missing = frozenset()

    def __init__(self) -> None:
        super().__init__()
        self.tokens: list[str] = []
        self.expired: set[str] = set()
        self.keys: dict[str, Seen] = {}
        self.uploads: dict[str, tuple[str, bytes]] = {}
        self.acknowledged: list[str] = []
        self.pieces = 1
        self.received: list[Seen] = []

    def routes(self) -> list[web.RouteDef]:
        return [
            web.post("/open-apis/auth/v3/tenant_access_token/internal", self._token),
            web.get("/open-apis/bot/v3/info", self._info),
            web.post("/open-apis/im/v1/images", self._upload),
            web.post("/open-apis/im/v1/files", self._upload),
            web.post("/open-apis/im/v1/messages", self._create),
            web.post("/open-apis/im/v1/messages/{id}/reply", self._create),
            web.get("/open-apis/im/v1/messages/{id}", self._get),
            web.put("/open-apis/im/v1/messages/{id}", self._edit),
            web.patch("/open-apis/im/v1/messages/{id}", self._edit),
            web.get("/open-apis/im/v1/messages/{id}/resources/{key}", self._resource),
            web.post("/callback/ws/endpoint", self._endpoint),
            web.get("/ws", self._websocket),
            web.delete("/open-apis/im/v1/messages/{id}", self._delete),
        ]

    def config(self) -> dict[str, Any]:
        return {"app_id": APP_ID, "app_secret": APP_SECRET, "api_base_url": self.url}

    async def _token(self, request: web.Request) -> web.Response:
        if await request.json() != {"app_id": APP_ID, "app_secret": APP_SECRET}:
            return refuse(10014, "app secret invalid", 200)
        token = f"t-{self.next_number()}"
        self.tokens.append(token)
        return web.json_response({"code": 0, "msg": "ok", "tenant_access_token": token, "expire": 7200})

    def _problem(self, request: web.Request) -> web.Response | None:
        token = request.headers.get("Authorization", "").removeprefix("Bearer ")
        if token not in self.tokens or token in self.expired:
            return refuse(99991663, "Invalid access token for authorization. Please make a test with support token")
        return None

    async def _info(self, request: web.Request) -> web.Response:
        if (problem := self._problem(request)) is not None:
            return problem
        return web.json_response({"code": 0, "msg": "ok", "bot": {"open_id": "ou_bot", "app_name": "Palaver"}})

    async def _upload(self, request: web.Request) -> web.Response:
        if (problem := self._problem(request)) is not None:
            return problem
        form = await request.post()
        is_image = request.path.endswith("images")
        file = form.get("image" if is_image else "file")
        if not isinstance(file, web.FileField):
            return refuse(234001, "Invalid request param.")
        key = f"{'img' if is_image else 'file'}_{self.next_number()}"
        self.uploads[key] = (str(form.get("file_name", file.filename)), file.file.read())
        return accept({"image_key" if is_image else "file_key": key})

    async def _create(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        quoted = request.match_info.get("id")
        fault = self.next_fault("reply" if quoted else "create", body)
        if (answer := await self._refused(request, fault, body)) is not None:
            return answer
        session = str(body.get("receive_id"))
        if quoted is not None:
            original = self._find(quoted)
            if original is None:
                return refuse(230011, "The message was withdrawn.")
            session = self.session if original.session == "oc_p2p" else original.session
        elif (kind := id_type(session)) != request.query.get("receive_id_type"):
            return refuse(230001, f"Your request contains an invalid request parameter: receive_id is no {kind}")
        key = f"{session} {body.get('uuid')}"
        if "uuid" in body and len(body["uuid"]) > 50:
            return refuse(230001, "Your request contains an invalid request parameter: uuid is too long")
        if (message := self.keys.get(key)) is None:
            problem, message = self._read(session, body)
            if problem is not None:
                return problem
            message.reply_to = quoted
            self.messages.append(message)
            if "uuid" in body:
                self.keys[key] = message
        if (answer := await self.lost(request, fault)) is not None:
            return answer
        return accept({"message_id": message.id, "chat_id": session})

    async def _refused(
        self, request: web.Request, fault: Fault | None, body: dict[str, Any]
    ) -> web.StreamResponse | None:
        if (answer := await self.failed_before(request, fault)) is not None:
            return answer
        match fault.kind if fault is not None else None:
            case "rate_limited":
                assert fault is not None
                reset = {"x-ogw-ratelimit-limit": "50", "x-ogw-ratelimit-reset": f"{fault.after:g}"}
                return refuse(99991400, "request trigger frequency limit", 429, reset)
            case "refused":
                return refuse(230028, "The message audit is not passed.")
            case "gone":
                return refuse(230002, "The bot can not be outside the group.")
            case "unauthorized":
                return refuse(99991663, "Invalid access token for authorization.")
            case "bad_format" if body.get("msg_type") == "post":
                return refuse(230001, "Your request contains an invalid request parameter: content")
        return self._problem(request)

    def _read(self, session: str, body: dict[str, Any]) -> tuple[web.Response | None, Seen]:
        message = Seen(session, f"om_{self.next_number()}", extra={"type": body.get("msg_type")})
        if not isinstance(body.get("content"), str):
            return refuse(9499, "Invalid parameter type in json: content"), message
        content = msgspec.json.decode(body["content"])
        match body["msg_type"]:
            case "text":
                message.text = content["text"]
            case "post":
                if len(msgspec.json.encode(body)) > MAX_REQUEST_BYTES:
                    return refuse(230025, "The length of the message content reaches its limit."), message
                message.text = "\n".join("".join(each["text"] for each in line) for line in content["zh_cn"]["content"])
            case "interactive":
                if len(msgspec.json.encode(body)) > MAX_REQUEST_BYTES:
                    return refuse(230025, "The length of the message content reaches its limit."), message
                message.text = "\n".join(each["content"] for each in content["elements"])
            case "image" | "file" | "audio" | "media":
                key = content.get("image_key") or content.get("file_key")
                if key not in self.uploads:
                    return refuse(230001, "Your request contains an invalid request parameter: file key"), message
                message.filename, message.content = self.uploads[key]
                message.kind = {"audio": "record", "media": "video"}.get(body["msg_type"], body["msg_type"])
            case _:
                return refuse(230001, "Your request contains an invalid request parameter: msg_type"), message
        if message.kind == "text" and not message.text.strip():
            return refuse(230001, "Your request contains an invalid request parameter: content is empty"), message
        return None, message

    async def _get(self, request: web.Request) -> web.Response:
        if (problem := self._problem(request)) is not None:
            return problem
        message = self._find(request.match_info["id"])
        if message is None:
            return refuse(230011, "The message was withdrawn.")
        item = {"message_id": message.id, "chat_id": message.session, "sender": {"id": message.extra.get("sender", "")}}
        return accept({"items": [item]})

    async def _edit(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        fault = self.next_fault("edit", body)
        if (answer := await self._refused(request, fault, body)) is not None:
            return answer
        message = self._find(request.match_info["id"])
        if message is None:
            return refuse(230011, "The message was withdrawn.")
        is_card = message.extra["type"] == "interactive"
        if is_card != (request.method == "PATCH"):
            return refuse(230054, "This operation is not supported for this message type.")
        body = {"msg_type": message.extra["type"], **body}
        if message.edits >= MAX_EDITS and not is_card:
            return refuse(230072, "The message has reached the number of times it can be edited.")
        problem, new = self._read(message.session, body)
        if problem is not None:
            return problem
        message.text, message.edits = new.text, message.edits + 1
        return await self.lost(request, fault) or accept({"message_id": message.id})

    async def _delete(self, request: web.Request) -> web.StreamResponse:
        if (problem := self._problem(request)) is not None:
            return problem
        if (message := self._find(request.match_info["id"])) is not None:
            self.messages.remove(message)
        return accept({})

    async def _resource(self, request: web.Request) -> web.Response:
        return self._problem(request) or web.Response(body=self.uploads[request.match_info["key"]][1])

    async def _endpoint(self, request: web.Request) -> web.Response:
        if await request.json() != {"AppID": APP_ID, "AppSecret": APP_SECRET}:
            return refuse(514, "auth failed", 200)
        url = f"ws://127.0.0.1:{self.port}/ws?device_id=d&service_id=33"
        return accept({"URL": url, "ClientConfig": {"PingInterval": 120}})

    async def _websocket(self, request: web.Request) -> web.StreamResponse:
        async with self.socket_of(request) as socket:
            async for message in socket:
                frame = decode(message.data)
                if frame.method == 1 and frame.payload == b'{"code":200}':
                    self.acknowledged.append(frame.headers["message_id"])
        return socket

    async def pass_on(self, written: Written) -> str:
        await self.until(lambda: bool(self.sockets))
        event = self.event_of(written.text, sender=written.sender, group=written.group, addressed=written.addressed)
        message = event["event"]["message"]
        message["create_time"] = str(int((written.at) * 1000))
        if written.is_bot:
            event["event"]["sender"]["sender_type"] = "app"
        if written.quote is not None:
            message["parent_id"] = written.quote.id
        if written.file is not None:
            key = f"file_{self.next_number()}"
            self.uploads[key] = written.file
            image = {"tag": "img", "image_key": key}
            message["message_type"] = "post"
            message["content"] = msgspec.json.encode(
                {"content": [[{"tag": "text", "text": written.text}], [image]]}
            ).decode()
        for _ in range(written.times):
            await self.report(event)
        return str(message["message_id"])

    def event_of(self, text: str, *, sender: str = "42", group: bool = False, addressed: bool = True) -> dict[str, Any]:
        mentions = []
        if group and addressed:
            text = f"@_user_1 {text}"
            mentions = [{"key": "@_user_1", "id": {"open_id": "ou_bot"}, "name": "Palaver"}]
        number = self.next_number()
        message = {
            "message_id": f"om_in{number}",
            "create_time": str(int(time.time() * 1000)),
            "chat_id": self.group if group else "oc_p2p",
            "chat_type": "group" if group else "p2p",
            "message_type": "text",
            "content": msgspec.json.encode({"text": text}).decode(),
            "mentions": mentions,
        }
        kept = Seen(message["chat_id"], message["message_id"], text, extra={"sender": f"ou_{sender}"})  # type: ignore[arg-type]
        self.received.append(kept)
        sender_of = {"sender_id": {"open_id": f"ou_{sender}"}, "sender_type": "user"}
        header = {"event_id": f"e{number}", "event_type": "im.message.receive_v1", "token": VERIFICATION}
        return {"schema": "2.0", "header": header, "event": {"sender": sender_of, "message": message}}

    async def report(self, event: dict[str, Any]) -> None:
        """Report an event over the long connection, in as many pieces as are set."""
        data, count = msgspec.json.encode(event), self.pieces
        size = -(-len(data) // count)
        for seq in range(count):
            headers = {"type": "event", "message_id": f"f{event['header']['event_id']}"}
            headers |= {"sum": str(count), "seq": str(seq), "trace_id": "t"}
            piece = data[seq * size : (seq + 1) * size]
            for socket in self.sockets:
                await socket.send_bytes(
                    encode(Frame(seq=seq + 300, service=33, method=1, headers=headers, payload=piece))
                )

    async def post(self, url: str, event: dict[str, Any], key: str | None, **headers: str) -> tuple[int, bytes]:
        """Post an event to a webhook as Lark does: encrypted and signed if there is a key."""
        body = msgspec.json.encode(event)
        if key is not None:
            iv, pad = os.urandom(16), 16 - len(body) % 16
            cipher = Cipher(algorithms.AES(hashlib.sha256(key.encode()).digest()), modes.CBC(iv)).encryptor()
            encrypted = iv + cipher.update(body + bytes([pad]) * pad) + cipher.finalize()
            body = msgspec.json.encode({"encrypt": b64encode(encrypted).decode()})
            signature = hashlib.sha256(b"1700000000" + b"nonce" + key.encode() + body).hexdigest()
            signed = {"X-Lark-Request-Timestamp": "1700000000", "X-Lark-Request-Nonce": "nonce"}
            headers = {**signed, "X-Lark-Signature": signature, **headers}
        return await self.post_to(url, body, headers=headers)

    def _find(self, id: str) -> Seen | None:
        return next((message for message in [*self.messages, *self.received] if message.id == id), None)


def id_type(id: str) -> str:
    types = {"ou_": "open_id", "oc_": "chat_id", "on_": "union_id"}
    return types.get(id[:3], "email" if "@" in id else "user_id")


def accept(data: dict[str, Any]) -> web.Response:
    return web.json_response({"code": 0, "msg": "success", "data": data})


def refuse(code: int, message: str, status: int = 400, headers: dict[str, str] | None = None) -> web.Response:
    return web.json_response({"code": code, "msg": message}, status=status, headers=headers)
