"""QQ's API for official bots, as far as Palaver speaks it."""

import base64
from datetime import UTC, datetime
from typing import Any

import msgspec
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tests.support.platforms.base import FakePlatform, Fault, Seen, Written
from tests.support.platforms.gateway import FakeGateway

APPID = "102000001"
SECRET = "qq-official-test-secret"
_KINDS = {1: "image", 2: "video", 3: "record", 4: "file"}


class _Gateway(FakeGateway):
    """QQ's gateway, whose token is that of the API."""

    def __init__(self, fake: "QQOfficialFake") -> None:
        super().__init__("", fake)
        self._fake = fake

    def is_known(self, token: str) -> bool:
        return token.removeprefix("QQBot ") in self._fake.tokens


class QQOfficialFake(FakePlatform):
    """One bot's API. Tokens run out; a `msg_seq` that was used for a `msg_id` is refused; media need some text."""

    adapter = "qq_official"
    session = "A1B2C3D4E5F60718293A4B5C6D7E8F90"
    group = "0F1E2D3C4B5A69788796A5B4C3D2E1F0"
    limit = 4000
    bad_session = "not an openid"
    faults_missing = frozenset({"gone", "bad_format"})

    def __init__(self) -> None:
        super().__init__()
        self.tokens: list[str] = []
        self.secret = SECRET
        self.expires_in = "7200"
        self.used: set[tuple[str, int]] = set()
        self.msg_ids: set[str] = set()
        self.gateway = _Gateway(self)
        self.webhook: str | None = None
        self.answer = b""
        self.downloads: dict[str, bytes] = {}
        self.files: dict[str, tuple[str, bytes]] = {}

    def routes(self) -> list[web.RouteDef]:
        return [
            web.post("/app/getAppAccessToken", self._token),
            web.get("/users/@me", self._me),
            web.get("/gateway", self._gateway_url),
            web.get("/websocket", self.gateway.serve),
            web.get("/files/{id}", self._download),
            web.post("/v2/{place}/{openid}/messages", self._send),
            web.post("/v2/{place}/{openid}/files", self._upload),
            web.post("/channels/{openid}/messages", self._send_to_channel),
        ]

    def config(self) -> dict[str, Any]:
        token_url = f"{self.url}/app/getAppAccessToken"
        return {"appid": APPID, "secret": SECRET, "api_base_url": self.url, "token_url": token_url}

    async def pass_on(self, written: Written) -> str:
        id = f"{'GROUP' if written.group else 'C2C'}_{self.next_number()}"
        self.msg_ids.add(id)
        data: dict[str, Any] = {
            "id": id,
            "author": {"member_openid": f"MEMBER{written.sender}"}
            if written.group
            else {"user_openid": written.session},
            "content": f" {written.text}",
            "timestamp": datetime.fromtimestamp(written.at, UTC).isoformat(),
            **({"group_openid": written.session} if written.group else {}),
        }
        data["author"]["bot"] = written.is_bot
        if written.file is not None:
            self.downloads[id] = written.file[1]
            url = f"{self.url}/files/{id}"
            data["attachments"] = [
                {"content_type": "file", "filename": written.file[0], "size": len(written.file[1]), "url": url}
            ]
        kind = "C2C_MESSAGE_CREATE"
        if written.group:
            kind = "GROUP_AT_MESSAGE_CREATE" if written.addressed else "GROUP_MESSAGE_CREATE"
        for _ in range(written.times):
            if self.webhook is None:
                await self.gateway.dispatch(kind, data)
            else:
                await self.post({"op": 0, "id": f"{kind}:{id}", "t": kind, "d": data})
        return id

    async def post(self, payload: dict[str, Any], secret: str = SECRET) -> int:
        """Report something at the webhook; its status."""
        body = msgspec.json.encode(payload)
        seed = (secret.encode() * 32)[:32]
        signature = Ed25519PrivateKey.from_private_bytes(seed).sign(b"1725442341" + body).hex()
        headers = {"X-Signature-Timestamp": "1725442341", "X-Signature-Ed25519": signature}
        status, self.answer = await self.post_to(str(self.webhook), body, headers=headers)
        return status

    async def _gateway_url(self, request: web.Request) -> web.StreamResponse:
        if not self._is_known(request):
            return refuse(401, 11244, "token not exist or expire")
        return web.json_response({"url": f"ws://127.0.0.1:{self.port}/websocket"})

    async def _download(self, request: web.Request) -> web.StreamResponse:
        return web.Response(body=self.downloads[request.match_info["id"]])

    def revoke(self) -> None:
        """Let the tokens that were made so far run out."""
        self.tokens = [f"revoked {token}" for token in self.tokens]

    async def _token(self, request: web.Request) -> web.StreamResponse:
        if await request.json() != {"appId": APPID, "clientSecret": self.secret}:
            return web.json_response({"code": 100016, "message": "invalid appid or secret"})
        self.tokens.append(f"token-{self.next_number()}")
        return web.json_response({"access_token": self.tokens[-1], "expires_in": self.expires_in})

    def _is_known(self, request: web.Request) -> bool:
        kind, _, token = request.headers.get("Authorization", "").partition(" ")
        return kind == "QQBot" and token in self.tokens

    async def _me(self, request: web.Request) -> web.StreamResponse:
        if not self._is_known(request):
            return refuse(401, 11244, "token not exist or expire")
        return web.json_response({"id": "9001", "username": "Palaver"})

    async def _upload(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        if not self._is_known(request):
            return refuse(401, 11244, "token not exist or expire")
        if body.get("srv_send_msg") is not False:
            return refuse(400, 40034, "the stand-in does not send by upload")
        handle = f"file-info-{self.next_number()}"
        self.files[handle] = (_KINDS[body["file_type"]], base64.b64decode(body["file_data"]))
        return web.json_response({"file_uuid": handle, "file_info": handle, "ttl": 600})

    async def _send(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        if not self._is_known(request):
            return refuse(401, 11244, "token not exist or expire")
        fault = self.next_fault("send", body)
        if (answer := await self._refused(request, fault)) is not None:
            return answer
        if (problem := self._problem(body)) is not None:
            return problem
        message = Seen(request.match_info["openid"], f"ROBOT{self.next_number()}", body.get("content", "").strip())
        message.extra = {"msg_id": body.get("msg_id"), "msg_seq": body.get("msg_seq")}
        if body["msg_type"] == 7:
            message.kind, message.content = self.files[body["media"]["file_info"]]
        self.messages.append(message)
        return await self.lost(request, fault) or web.json_response({"id": message.id, "timestamp": "2026"})

    async def _send_to_channel(self, request: web.Request) -> web.StreamResponse:
        if not self._is_known(request):
            return refuse(401, 11244, "token not exist or expire")
        message = Seen(request.match_info["openid"], f"CHANNEL{self.next_number()}")
        if request.content_type == "application/json":
            message.text = (await request.json())["content"]
        else:
            image = (await request.post())["file_image"]
            assert isinstance(image, web.FileField)
            message.kind, message.filename, message.content = "image", image.filename, image.file.read()
        self.messages.append(message)
        return web.json_response({"id": message.id})

    def _problem(self, body: dict[str, Any]) -> web.Response | None:
        if not body.get("content"):
            return refuse(400, 40034004, "content is empty")
        if len(body["content"]) > self.limit:
            return refuse(400, 40034005, "content is too long")
        if (msg_id := body.get("msg_id")) is None:
            return None
        if msg_id not in self.msg_ids:
            return refuse(400, 40034024, "请求参数msg_id无效或越权")
        if (msg_id, body["msg_seq"]) in self.used:
            return refuse(400, 40054005, "消息被去重，请检查请求msgseq")
        self.used.add((msg_id, body["msg_seq"]))
        if sum(used == msg_id for used, _ in self.used) > 5:
            return refuse(400, 22009, "msg limit exceed")
        return None

    async def _refused(self, request: web.Request, fault: Fault | None) -> web.StreamResponse | None:
        match fault.kind if fault is not None else None:
            case "rate_limited":
                assert fault is not None
                body = {"code": 22009, "message": "msg limit exceed"}
                return web.json_response(body, status=429, headers={"Retry-After": str(fault.after)})
            case "refused":
                return refuse(400, 304003, "url not allowed")
            case "unauthorized":
                return refuse(401, 11244, "token not exist or expire")
        return await self.failed_before(request, fault)


def refuse(status: int, code: int, message: str) -> web.Response:
    return web.json_response({"code": code, "message": message, "trace_id": "t"}, status=status)
