"""LINE's Messaging API, as far as Palaver speaks it."""

import base64
import hashlib
import hmac
import re
import time
from typing import Any

import msgspec
from aiohttp import web

from tests.support.platforms.base import FakePlatform, Fault, Seen, Written

TOKEN, SECRET = "line-test-token/+=", "0123456789abcdef0123456789abcdef"
_RETRY_KEY = re.compile("[0-9a-f]{8}-([0-9a-f]{4}-){3}[0-9a-f]{12}")


class LineFake(FakePlatform):
    """One channel's API. A text counts in UTF-16 units; a push has five messages; a retry key is accepted once."""

    adapter = "line"
    session = "U" + "4" * 32
    group = "C" + "7" * 32
    limit = 5000
    unit = "utf16"
    bad_session = "someone"
    takes_media = False

    def __init__(self) -> None:
        super().__init__()
        self.accepted: dict[str, list[Seen]] = {}
        self.loading: list[dict[str, Any]] = []
        self.door = ""
        self.tokens: dict[str, tuple[str, float]] = {}
        self.token_seconds = 60.0
        self.files: dict[str, bytes] = {}
        self.transcoding = 0

    def routes(self) -> list[web.RouteDef]:
        return [
            web.post("/v2/bot/message/push", self._push),
            web.post("/v2/bot/message/reply", self._reply),
            web.get("/v2/bot/message/{id}/content", self._content),
            web.get("/v2/bot/message/{id}/content/transcoding", self._transcoding),
            web.post("/v2/bot/chat/loading/start", self._loading),
            web.get("/v2/bot/info", self._info),
        ]

    def config(self) -> dict[str, Any]:
        return {"channel_access_token": TOKEN, "channel_secret": SECRET, "api_base_url": self.url}

    async def _info(self, request: web.Request) -> web.Response:
        return self._problem(request) or web.json_response(
            {
                "userId": "U" + "0" * 32,
                "basicId": "@palaver",
                "displayName": "Palaver",
                "chatMode": "bot",
                "markAsReadMode": "auto",
            }
        )

    async def _loading(self, request: web.Request) -> web.Response:
        if (problem := self._problem(request)) is not None:
            return problem
        body = await request.json()
        if not str(body["chatId"]).startswith("U") or body["loadingSeconds"] not in range(5, 61, 5):
            return refuse(400, "The request body has 1 error(s)")
        self.loading.append(body)
        self.typing += 1
        return web.json_response({}, status=202)

    async def _push(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        fault = self.next_fault("push", body)
        if (answer := await self._refused(request, fault)) is not None:
            return answer
        key = request.headers.get("X-Line-Retry-Key")
        if key is not None and not _RETRY_KEY.fullmatch(key):
            return refuse(400, "The value for the 'X-Line-Retry-Key' header is invalid")
        if key is not None and key in self.accepted:
            sent = sent_messages(self.accepted[key])
            headers = {"x-line-accepted-request-id": "accepted"}
            return web.json_response(
                {"message": "The retry key is already accepted", **sent}, status=409, headers=headers
            )
        problem, seen = self._show(body["to"], body.get("messages", []))
        if problem is not None:
            return problem
        if key is not None:
            self.accepted[key] = seen
        return await self.lost(request, fault) or web.json_response(sent_messages(seen))

    async def _reply(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        fault = self.next_fault("reply", body)
        if (answer := await self._refused(request, fault)) is not None:
            return answer
        if "X-Line-Retry-Key" in request.headers:
            return refuse(400, "The retry key is not allowed here")
        session, at = self.tokens.get(body["replyToken"], ("", 0.0))
        if time.monotonic() - at > self.token_seconds:
            return refuse(400, "Invalid reply token")
        problem, seen = self._show(session, body.get("messages", []))
        if problem is not None:
            return problem
        del self.tokens[body["replyToken"]]
        return await self.lost(request, fault) or web.json_response(sent_messages(seen))

    def _show(self, session: str, messages: list[dict[str, Any]]) -> tuple[web.Response | None, list[Seen]]:
        if not 1 <= len(messages) <= 5:
            return refuse(400, "Size must be between 1 and 5"), []
        for message in messages:
            if message["type"] != "text" or not 0 < len(message["text"].encode("utf-16-le")) // 2 <= self.limit:
                return refuse(400, "Length must be between 0 and 5000"), []
        seen = [Seen(session, str(self.next_number()), message["text"]) for message in messages]
        self.messages += seen
        return None, seen

    async def _content(self, request: web.Request) -> web.Response:
        if (problem := self._problem(request)) is not None:
            return problem
        return web.Response(body=self.files[request.match_info["id"]])

    async def _transcoding(self, _request: web.Request) -> web.Response:
        self.transcoding -= 1
        return web.json_response({"status": "processing" if self.transcoding >= 0 else "succeeded"})

    async def pass_on(self, written: Written) -> str:
        number = str(self.next_number())
        if written.is_bot:  # LINE reports people's messages only
            return number
        user = self.session if written.sender == "42" else "U" + hashlib.md5(written.sender.encode()).hexdigest()
        source = {"type": "user", "userId": user}
        if written.group:
            source = {"type": "group", "userId": user, "groupId": written.session}
        message: dict[str, Any] = {"id": number, "type": "text", "text": written.text, "quoteToken": "q"}
        if written.group and written.addressed:
            # The index counts UTF-16 units.
            message["text"] = f"😀 @Palaver {written.text}"
            message["mention"] = {"mentionees": [{"index": 3, "length": 8, "type": "user", "isSelf": True}]}
        if written.quote is not None:
            message["quotedMessageId"] = written.quote.id
        token = f"token{number}"
        self.tokens[token] = (source.get("groupId", user), time.monotonic())
        event = {
            "type": "message",
            "mode": "active",
            "timestamp": int((written.at) * 1000),
            "source": source,
            "webhookEventId": f"01{number}",
            "deliveryContext": {"isRedelivery": False},
            "replyToken": token,
            "message": message,
        }
        events = [event]
        if written.file is not None:  # a file has no text: it is a message of its own
            name, content = written.file
            self.files[f"{number}1"] = content
            attached = {"id": f"{number}1", "type": "file", "fileName": name, "fileSize": len(content)}
            events = [{**event, "message": attached}]
        for count in range(written.times):
            assert (
                await self.report([{**each, "deliveryContext": {"isRedelivery": count > 0}} for each in events]) == 200
            )
        return number

    async def report(self, events: list[dict[str, Any]], signature: str | None = None) -> int:
        """Post events to the webhook; its status."""
        body = msgspec.json.encode({"destination": "U" + "0" * 32, "events": events})
        digest = base64.b64encode(hmac.digest(SECRET.encode(), body, "sha256")).decode()
        headers = {
            "x-line-signature": digest if signature is None else signature,
        }
        return (await self.post_to(self.door, body, headers=headers))[0]

    async def _refused(self, request: web.Request, fault: Fault | None) -> web.StreamResponse | None:
        if (answer := await self.failed_before(request, fault)) is not None:
            return answer
        match fault.kind if fault is not None else None:
            case "rate_limited":
                assert fault is not None
                return refuse(429, "The API rate limit has been exceeded. Try again later.", fault.after)
            case "refused":
                return refuse(400, "The request body has 1 error(s)")
            case "gone":
                return refuse(400, "Failed to send messages")
            case "unauthorized":
                return refuse(401, "Authentication failed. Confirm that the access token in the header is valid.")
        return self._problem(request)

    def _problem(self, request: web.Request) -> web.Response | None:
        if request.headers.get("Authorization") != f"Bearer {TOKEN}":
            return refuse(401, "Authentication failed due to the following reason: invalid token")
        return None


def sent_messages(seen: list[Seen]) -> dict[str, Any]:
    return {"sentMessages": [{"id": message.id, "quoteToken": f"q-{message.id}"} for message in seen]}


def refuse(status: int, message: str, after: float | None = None) -> web.Response:
    headers = {} if after is None else {"Retry-After": f"{after:g}"}
    return web.json_response({"message": message}, status=status, headers=headers)
