"""DingTalk's robot messages, as far as Palaver speaks them."""

from typing import Any

import msgspec
from aiohttp import web

from tests.support.platforms.base import FakePlatform, Fault, Seen, Written

CLIENT_ID, CLIENT_SECRET = "ding_test", "dingtalk-test-secret"


class DingTalkFake(FakePlatform):
    """One app's API. Nothing tells repeats; a 200 may list the receiver among those who got nothing."""

    adapter = "dingtalk"
    session = "manager42"
    group = "cidGROUP7=="
    limit = 5000
    bad_session = "$:LWCP_v1:$abc"
    faults_missing = frozenset()

    def __init__(self) -> None:
        super().__init__()
        self.tokens: list[str] = []
        self.expired: set[str] = set()
        self.uploads: dict[str, tuple[str, bytes]] = {}
        self.invalid: set[str] = set()
        self.controlled: list[str] = []
        self.tickets: set[str] = set()
        self.answers: list[dict[str, Any]] = []

    def routes(self) -> list[web.RouteDef]:
        return [
            web.post("/v1.0/oauth2/accessToken", self._token),
            web.post("/v1.0/robot/oToMessages/batchSend", self._send),
            web.post("/v1.0/robot/groupMessages/send", self._send),
            web.post("/media/upload", self._upload),
            web.post("/v1.0/gateway/connections/open", self._open),
            web.get("/connect", self._connect),
            web.post("/v1.0/robot/messageFiles/download", self._download_url),
            web.get("/files/{code}", self._download),
        ]

    def config(self) -> dict[str, Any]:
        return {"client_id": CLIENT_ID, "client_secret": CLIENT_SECRET, "api_base_url": self.url}

    async def _token(self, request: web.Request) -> web.Response:
        if await request.json() != {"appKey": CLIENT_ID, "appSecret": CLIENT_SECRET}:
            return refuse(400, "invalidClientIdOrSecret", "无效的clientId或者clientSecret")
        self.tokens.append(f"token{self.next_number()}")
        return web.json_response({"accessToken": self.tokens[-1], "expireIn": 7200})

    async def _upload(self, request: web.Request) -> web.Response:
        token = request.query.get("access_token")
        if token not in self.tokens or token in self.expired:
            return web.json_response({"errcode": 40014, "errmsg": "不合法的access_token"})
        file = (await request.post())["media"]
        assert isinstance(file, web.FileField)
        id = f"@lAL{self.next_number()}"
        self.uploads[id] = (file.filename, file.file.read())
        return web.json_response({"errcode": 0, "errmsg": "ok", "media_id": id, "type": request.query["type"]})

    async def _send(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        fault = self.next_fault("send", body)
        if (answer := await self._refused(request, fault, body)) is not None:
            return answer
        sessions = body.get("userIds") or [body.get("openConversationId")]
        key = f"key{self.next_number()}"
        answer_body: dict[str, Any] = {
            "processQueryKey": key,
            "invalidStaffIdList": [],
            "flowControlledStaffIdList": [],
        }
        for session in sessions:
            if session in self.invalid:
                answer_body["invalidStaffIdList"].append(session)
            elif session in self.controlled:
                self.controlled.remove(session)
                answer_body["flowControlledStaffIdList"].append(session)
            else:
                self.messages.append(self._read(session, key, body))
        return await self.lost(request, fault) or web.json_response(answer_body)

    def _read(self, session: str, key: str, body: dict[str, Any]) -> Seen:
        parameters = msgspec.json.decode(body["msgParam"])
        message = Seen(session, key, extra={"key": body["msgKey"]})
        match body["msgKey"]:
            case "sampleMarkdown":
                assert parameters["title"]
                message.text = parameters["text"]
            case "sampleText":
                message.text = parameters["content"]
            case "sampleImageMsg":
                message.kind = "image"
                message.filename, message.content = self.uploads[parameters["photoURL"]]
            case "sampleFile":
                message.kind = "file"
                message.filename, message.content = self.uploads[parameters["mediaId"]]
        return message

    async def _open(self, request: web.Request) -> web.Response:
        body = await request.json()
        if (body["clientId"], body["clientSecret"]) != (CLIENT_ID, CLIENT_SECRET):
            return refuse(401, "authFailed", "鉴权失败")
        assert body["subscriptions"] == [{"type": "CALLBACK", "topic": "/v1.0/im/bot/messages/get"}]
        ticket = f"ticket{self.next_number()}"
        self.tickets.add(ticket)
        return web.json_response({"endpoint": f"ws://127.0.0.1:{self.port}/connect", "ticket": ticket})

    async def _connect(self, request: web.Request) -> web.StreamResponse:
        if request.query.get("ticket") not in self.tickets:
            return web.Response(status=401)
        self.tickets.remove(request.query["ticket"])  # it is good for one connection
        async with self.socket_of(request) as socket:
            async for message in socket:
                self.answers.append(msgspec.json.decode(message.data))
        return socket

    async def _download_url(self, request: web.Request) -> web.Response:
        code = (await request.json())["downloadCode"]
        return web.json_response({"downloadUrl": f"{self.url}/files/{code}"})

    async def _download(self, request: web.Request) -> web.Response:
        assert "x-acs-dingtalk-access-token" not in request.headers
        return web.Response(body=self.uploads[request.match_info["code"]][1])

    async def push(self, kind: str, topic: str, data: dict[str, Any]) -> None:
        """Push a frame on every connection."""
        headers = {"topic": topic, "messageId": f"frame{self.next_number()}", "contentType": "application/json"}
        frame = {"specVersion": "1.0", "type": kind, "headers": headers, "data": msgspec.json.encode(data).decode()}
        for socket in list(self.sockets):
            await socket.send_json(frame)

    async def pass_on(self, written: Written) -> str:
        await self.until(lambda: bool(self.sockets))
        number = self.next_number()
        if written.is_bot or (written.group and not written.addressed):  # which DingTalk does not report
            return f"msg{number}"
        data: dict[str, Any] = {
            "msgId": f"msg{number}",
            "createAt": int((written.at) * 1000),
            "conversationType": "2" if written.group else "1",
            "conversationId": written.session if written.group else "cidP2P",
            "senderId": f"$:LWCP_v1:${written.sender}",
            "senderStaffId": f"manager{written.sender}",
            "senderNick": f"Person {written.sender}",
            "msgtype": "text",
            "text": {"content": f" {written.text} "},
        }
        if written.quote is not None:
            data["text"] |= {"isReplyMsg": True, "repliedMsg": {"msgId": "m", "content": {"text": written.quote.text}}}
        if written.file is not None:
            self.uploads[f"code{number}"] = written.file
            picture = {"type": "picture", "downloadCode": f"code{number}"}
            data |= {"msgtype": "richText", "content": {"richText": [{"text": written.text}, picture]}}
            del data["text"]
        for _ in range(written.times):
            await self.push("CALLBACK", "/v1.0/im/bot/messages/get", data)
        return f"msg{number}"

    async def _refused(
        self, request: web.Request, fault: Fault | None, body: dict[str, Any]
    ) -> web.StreamResponse | None:
        if (answer := await self.failed_before(request, fault)) is not None:
            return answer
        match fault.kind if fault is not None else None:
            case "rate_limited":
                assert fault is not None
                answer = refuse(403, "Forbidden.AccessDenied.QpsLimitForAppkeyAndApi", "QPS超限")
                answer.headers["Retry-After"] = f"{fault.after:g}"
                return answer
            case "refused":
                return refuse(400, "invalidParameter.message.illegal", "the message is not allowed")
            case "gone":
                return refuse(400, "resource.not.found", "openConversationId or robot not found")
            case "unauthorized":
                return refuse(401, "InvalidAuthentication", "不合法的access_token")
            case "bad_format" if body["msgKey"] == "sampleMarkdown":
                return refuse(400, "invalidParameter.msgParam.invalid", "msgParam is not valid")
        token = request.headers.get("x-acs-dingtalk-access-token")
        if token not in self.tokens or token in self.expired:
            return refuse(401, "InvalidAuthentication", "不合法的access_token")
        return None


def refuse(status: int, code: str, message: str) -> web.Response:
    return web.json_response({"code": code, "message": message, "requestid": "r"}, status=status)
