"""WeCom's messages of an application, as far as Palaver speaks them."""

import hashlib
import os
import struct
from base64 import b64decode, b64encode
from typing import Any

import aiohttp
from aiohttp import web
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from tests.support.platforms.base import FakePlatform, Fault, Seen, Written

CORP_ID, SECRET, AGENT_ID = "wwtest", "wecom-test-secret", "1000002"

CALLBACK_TOKEN, AES_KEY = "wecom-callback", "abcdefghijklmnopqrstuvwxyz0123456789ABCDEFG"


class WeComFake(FakePlatform):
    """One application's API: everything is answered with 200. A text has 2048 bytes; nothing tells repeats."""

    adapter = "wecom"
    session = "ZhangSan"
    group = "chat7"
    limit = 2048
    unit = "utf8"
    bad_session = "@all"
    faults_missing = frozenset({"rate_limited", "bad_format"})

    def __init__(self) -> None:
        super().__init__()
        self.tokens: list[str] = []
        self.expired: set[str] = set()
        self.uploads: dict[str, tuple[str, str, bytes]] = {}
        self.invalid: set[str] = set()
        self.codes: list[int] = []
        self.door = ""

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/cgi-bin/gettoken", self._token),
            web.get("/cgi-bin/agent/get", self._agent),
            web.post("/cgi-bin/message/send", self._send),
            web.post("/cgi-bin/appchat/send", self._send),
            web.post("/cgi-bin/media/upload", self._upload),
            web.get("/cgi-bin/media/get", self._media),
        ]

    def config(self) -> dict[str, Any]:
        return {"corpid": CORP_ID, "secret": SECRET, "agent_id": AGENT_ID, "api_base_url": self.url} | {
            "token": CALLBACK_TOKEN,
            "encoding_aes_key": AES_KEY,
        }

    async def _token(self, request: web.Request) -> web.Response:
        if dict(request.query) != {"corpid": CORP_ID, "corpsecret": SECRET}:
            return answer(40001, "invalid credential")
        self.tokens.append(f"token{self.next_number()}")
        return answer(0, "ok", access_token=self.tokens[-1], expires_in=7200)

    async def _agent(self, request: web.Request) -> web.Response:
        return self._problem(request) or answer(0, "ok", agentid=int(AGENT_ID), name="Palaver")

    async def _upload(self, request: web.Request) -> web.Response:
        if (problem := self._problem(request)) is not None:
            return problem
        file = (await request.post())["media"]
        assert isinstance(file, web.FileField)
        id = f"media{self.next_number()}"
        self.uploads[id] = (request.query["type"], file.filename, file.file.read())
        return answer(0, "ok", type=request.query["type"], media_id=id)

    async def _send(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        fault = self.next_fault("send", body)
        if (refusal := await self._refused(request, fault)) is not None:
            return refusal
        is_chat = request.path.endswith("appchat/send")
        session = body["chatid" if is_chat else "touser"]
        if not is_chat and body["agentid"] != int(AGENT_ID):
            return answer(40056, "invalid agentid")
        if session in self.invalid:
            return answer(0, "ok", invaliduser=session, msgid="m")
        message = Seen(session, "" if is_chat else f"m{self.next_number()}", extra={"type": body["msgtype"]})
        if body["msgtype"] == "text":
            message.text = body["text"]["content"]
            if len(message.text.encode()) > self.limit:
                return answer(45002, "content size out of limit")
        else:
            kind, message.filename, message.content = self.uploads[body[body["msgtype"]]["media_id"]]
            if kind != body["msgtype"]:
                return answer(40004, "invalid media type")
            message.kind = {"voice": "record"}.get(kind, kind)
        self.messages.append(message)
        details = {} if is_chat else {"invaliduser": "", "msgid": message.id}
        return await self.lost(request, fault) or answer(0, "ok", **details)

    async def _media(self, request: web.Request) -> web.Response:
        return self._problem(request) or web.Response(body=self.uploads[request.query["media_id"]][2])

    async def pass_on(self, written: Written) -> str:
        number = str(self.next_number())
        if written.is_bot:  # WeCom reports what members write only
            return number
        content = f"<MsgType><![CDATA[text]]></MsgType><Content><![CDATA[{written.text}]]></Content>"
        if written.file is not None:
            self.uploads[f"in{number}"] = ("file", *written.file)
            content = f"<MsgType>file</MsgType><MediaId>in{number}</MediaId><FileName>{written.file[0]}</FileName>"
        user = self.session if written.sender == "42" else written.sender
        xml = f"<xml><ToUserName>{CORP_ID}</ToUserName><FromUserName>{user}</FromUserName>{content}"
        xml += f"<CreateTime>{int(written.at)}</CreateTime><MsgId>{number}</MsgId></xml>"
        for _ in range(written.times):
            assert (await self.report(xml))[0] == 200
        return number

    async def report(
        self, xml: str, *, token: str = CALLBACK_TOKEN, receiver: str = CORP_ID, asks: bool = False
    ) -> tuple[int, str]:
        """Make a callback, or ask whether this is the right place; its status and text."""
        query, encrypted = seal(xml, token, receiver)
        body = f"<xml><ToUserName>{CORP_ID}</ToUserName><Encrypt><![CDATA[{encrypted}]]></Encrypt></xml>"
        if asks:
            async with aiohttp.request("GET", self.door, params={**query, "echostr": encrypted}) as response:
                return response.status, await response.text()
        status, text = await self.post_to(self.door, body.encode(), params=query)
        return status, text.decode()

    async def _refused(self, request: web.Request, fault: Fault | None) -> web.StreamResponse | None:
        if (refusal := await self.failed_before(request, fault)) is not None:
            return refusal
        match fault.kind if fault is not None else None:
            case "refused":
                return answer(44004, "empty content")
            case "gone":
                return answer(81013, "user & party & tag all invalid")
            case "unauthorized":
                return answer(42001, "access_token expired")
        if self.codes:
            return answer(self.codes.pop(0), "scripted")
        return self._problem(request)

    def _problem(self, request: web.Request) -> web.Response | None:
        token = request.query.get("access_token")
        if token not in self.tokens:
            return answer(40014, "invalid access_token")
        return answer(42001, "access_token expired") if token in self.expired else None


def answer(code: int, message: str, **fields: Any) -> web.Response:
    return web.json_response({"errcode": code, "errmsg": message, **fields})


def seal(message: str, token: str, receiver: str) -> tuple[dict[str, str], str]:
    """Encrypt and sign a callback: its query, and what is in its body."""
    length = struct.pack(">I", len(message.encode()))
    encrypted = b64encode(encrypt(os.urandom(16) + length + message.encode() + receiver.encode(), AES_KEY)).decode()
    signature = hashlib.sha1("".join(sorted([token, "17", "nonce", encrypted])).encode()).hexdigest()
    return {"msg_signature": signature, "timestamp": "17", "nonce": "nonce"}, encrypted


def encrypt(plain: bytes, aes_key: str) -> bytes:
    key = b64decode(aes_key + "=")
    pad = 32 - len(plain) % 32
    cipher = Cipher(algorithms.AES(key), modes.CBC(key[:16])).encryptor()
    return cipher.update(plain + bytes([pad]) * pad) + cipher.finalize()
