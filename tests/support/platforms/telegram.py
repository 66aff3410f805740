"""Telegram's Bot API, as far as Palaver speaks it."""

import asyncio
import html
import re
import time
from typing import Any

import msgspec
from aiohttp import web

from tests.support.platforms.base import FakePlatform, Fault, Seen, Written

TOKEN = "123456:telegram-test-token"
_TAGS = re.compile(r"</?(b|i|u|s|code|pre|blockquote|a)(\s[^>]*)?>")
_MEDIA = {
    "sendPhoto": ("photo", "image"),
    "sendAnimation": ("animation", "image"),
    "sendVoice": ("voice", "record"),
    "sendAudio": ("audio", "record"),
    "sendVideo": ("video", "video"),
    "sendDocument": ("document", "file"),
}


class TelegramFake(FakePlatform):
    """One bot's Bot API. A text counts in UTF-16 units, after its HTML is read; broken HTML is refused."""

    adapter = "telegram"
    session = "42"
    group = "-1001234"
    limit = 4096
    unit = "utf16"
    bad_session = "not a chat"
    faults_missing = frozenset()

    def __init__(self) -> None:
        super().__init__()
        self.gone: set[str] = set()
        self.moved: dict[str, int] = {}
        self.updates: list[dict[str, Any]] = []
        self.files: dict[str, bytes] = {}
        self.webhook: dict[str, Any] | None = None
        self.pollers = 0
        self.polls = 0
        self.silent = False
        self.is_known = True
        self._new = asyncio.Event()

    def routes(self) -> list[web.RouteDef]:
        return [
            web.post("/bot{token}/{method}", self._call),
            web.get("/file/bot{token}/{path:.*}", self._download),
        ]

    def config(self) -> dict[str, Any]:
        return {"telegram_token": TOKEN, "api_base_url": self.url}

    async def _call(self, request: web.Request) -> web.StreamResponse:
        if request.match_info["token"] != TOKEN or not self.is_known:
            return refuse(401, "Unauthorized")
        method = request.match_info["method"]
        fields = await _fields(request)
        match method:
            case "getMe":
                return accept({"id": 7, "is_bot": True, "first_name": "Palaver", "username": "palaver_bot"})
            case "sendChatAction":
                self.typing += 1
                return accept(True)
            case "getUpdates":
                return await self._poll(request, fields)
            case "setWebhook":
                self.webhook = fields
                return accept(True)
            case "deleteWebhook":
                self.webhook = None
                return accept(True)
            case "getWebhookInfo":
                return accept({"url": "" if self.webhook is None else self.webhook["url"]})
            case "getFile":
                return accept({"file_id": fields["file_id"], "file_path": f"documents/{fields['file_id']}"})
            case "sendMessage" | "editMessageText" | "deleteMessage":
                return await self._visible(request, method, fields)
            case _ if method in _MEDIA:
                return await self._visible(request, method, fields)
        return refuse(404, "Not Found")

    async def pass_on(self, written: Written) -> str:
        number = self.next_number()
        chat_id = written.session if written.group else written.sender
        chat: dict[str, Any] = {"id": int(chat_id), "type": "supergroup" if written.group else "private"}
        message: dict[str, Any] = {
            "message_id": number,
            "date": int(written.at),
            "chat": chat,
            "from": {"id": int(written.sender), "is_bot": written.is_bot, "first_name": f"Person {written.sender}"},
            "text": written.text,
        }
        if written.group and written.addressed:
            # The offset counts UTF-16 units.
            message["text"] = f"😀 @palaver_bot {written.text}"
            message["entities"] = [{"type": "mention", "offset": 3, "length": 12}]
        if written.quote is not None:
            author = {"id": 7, "is_bot": True} if written.quote in self.messages else {"id": 43}
            message["reply_to_message"] = {
                "message_id": int(written.quote.id),
                "text": written.quote.text,
                "from": author,
            }
        if written.file is not None:
            name, content = written.file
            self.files[f"f{number}"] = content
            message["document"] = {"file_id": f"f{number}", "file_name": name, "file_size": len(content)}
            message["caption"] = message.pop("text")
        update = {"update_id": number, "message": message}
        for _ in range(written.times):
            await self.report(update)
        return str(number)

    async def report(self, update: dict[str, Any]) -> int:
        """Report an update: at the webhook, if there is one, or to the next poll; the webhook's status."""
        if self.webhook is None:
            self.updates.append(update)
            self._new.set()
            return 0
        headers = {"X-Telegram-Bot-Api-Secret-Token": str(self.webhook["secret_token"])}
        return (await self.post_to(self.webhook["url"], msgspec.json.encode(update), headers=headers))[0]

    async def _poll(self, request: web.Request, fields: dict[str, Any]) -> web.StreamResponse:
        if self.webhook is not None:
            return refuse(409, "Conflict: can't use getUpdates method while webhook is active")
        if self.pollers:
            return refuse(409, "Conflict: terminated by other getUpdates request")
        self.pollers += 1
        self.polls += 1
        try:
            if self.silent:
                return await self.hang()
            offset = int(fields.get("offset", 0))
            async with asyncio.timeout(min(float(fields.get("timeout", 0)), 5.0)):
                while True:
                    # What the next offset confirms is forgotten; the rest is reported again.
                    self.updates = [each for each in self.updates if each["update_id"] >= offset]
                    if self.updates:
                        return accept(list(self.updates))
                    self._new.clear()
                    await self._new.wait()
        except TimeoutError:
            return accept([])
        finally:
            self.pollers -= 1

    async def _download(self, request: web.Request) -> web.StreamResponse:
        if request.match_info["token"] != TOKEN:
            return web.Response(status=404)
        return web.Response(body=self.files[request.match_info["path"].rpartition("/")[2]])

    async def _visible(self, request: web.Request, method: str, fields: dict[str, Any]) -> web.StreamResponse:
        fault = self.next_fault(method, fields)
        if (answer := await self._refused(request, fault, fields)) is not None:
            return answer
        session = _session(fields)
        chat = session.split("#")[0]
        if chat in self.moved:
            return refuse(
                400,
                "Bad Request: group chat was upgraded to a supergroup chat",
                parameters={"migrate_to_chat_id": self.moved[chat]},
            )
        if chat in self.gone:
            return refuse(403, "Forbidden: bot was blocked by the user")
        problem, result = self._apply(method, session, fields)
        if problem is not None:
            return refuse(400, f"Bad Request: {problem}")
        return await self.lost(request, fault) or accept(result)

    async def _refused(
        self, request: web.Request, fault: Fault | None, fields: dict[str, Any]
    ) -> web.StreamResponse | None:
        match fault.kind if fault is not None else None:
            case "rate_limited":
                assert fault is not None
                parameters = {"retry_after": fault.after}
                return refuse(429, "Too Many Requests: retry later", parameters=parameters)
            case "refused":
                return refuse(400, "Bad Request: not enough rights to send text messages to the chat")
            case "gone":
                return refuse(403, "Forbidden: bot was blocked by the user")
            case "unauthorized":
                return refuse(401, "Unauthorized")
            case "bad_format" if "parse_mode" in fields:
                return refuse(400, "Bad Request: can't parse entities: Unsupported start tag")
        return await self.failed_before(request, fault)

    def _apply(self, method: str, session: str, fields: dict[str, Any]) -> tuple[str | None, Any]:
        """Do what a method does; the problem, or its result."""
        if method == "deleteMessage":
            message = self._find(session, fields)
            if message is None:
                return "message to delete not found", None
            self.messages.remove(message)
            return None, True
        if method in _MEDIA:
            field, kind = _MEDIA[method]
            if field not in fields:
                return "there is no file in the request", None
            file = fields[field]
            filename, content = fields[file.removeprefix("attach://")] if isinstance(file, str) else file
            message = self._add(session, fields, "", kind)
            message.filename, message.content = filename, content
            return None, _message(message)
        text = str(fields.get("text", ""))
        if fields.get("parse_mode") == "HTML":
            if is_broken(text):
                return "can't parse entities: unclosed tag", None
            text = html.unescape(_TAGS.sub("", text))
        if not text.strip():
            return "message text is empty", None
        if len(text.encode("utf-16-le")) // 2 > self.limit:
            return "message is too long", None
        if method == "editMessageText":
            message = self._find(session, fields)
            if message is None:
                return "message to edit not found", None
            if message.text == text:
                return "message is not modified", None
            message.text, message.edits = text, message.edits + 1
            return None, _message(message)
        return None, _message(self._add(session, fields, text, "text"))

    def _add(self, session: str, fields: dict[str, Any], text: str, kind: str) -> Seen:
        reply = fields.get("reply_parameters")
        reply_to = None if not isinstance(reply, dict) else str(reply["message_id"])
        message = Seen(session, str(self.next_number()), text, kind, reply_to=reply_to)
        message.extra = {"formatted": "parse_mode" in fields}
        self.messages.append(message)
        return message

    def _find(self, session: str, fields: dict[str, Any]) -> Seen | None:
        chat, id = session.split("#", maxsplit=1)[0], str(fields.get("message_id"))
        return next((each for each in self.messages if each.id == id and each.session.split("#")[0] == chat), None)


def _message(message: Seen) -> dict[str, Any]:
    """One of the bot's own, as its methods return it."""
    chat = int(message.session.partition("#")[0])
    sender = {"id": 7, "is_bot": True, "first_name": "Palaver"}
    about = {"date": int(time.time()), "chat": {"id": chat, "type": "supergroup" if chat < 0 else "private"}}
    return {"message_id": int(message.id), "from": sender, **about, **({"text": message.text} if message.text else {})}


def accept(result: Any) -> web.Response:
    return web.json_response({"ok": True, "result": result})


def refuse(code: int, description: str, parameters: dict[str, Any] | None = None) -> web.Response:
    body = {"ok": False, "error_code": code, "description": description}
    return web.json_response({**body, **({} if parameters is None else {"parameters": parameters})}, status=code)


async def _fields(request: web.Request) -> dict[str, Any]:
    """The fields of a JSON body or of a form; a file is its name and its bytes."""
    if request.content_type == "application/json":
        value = await request.json()
        return value if isinstance(value, dict) else {}
    fields: dict[str, Any] = {}
    for name, value in (await request.post()).items():
        if isinstance(value, web.FileField):
            fields[name] = (value.filename, value.file.read())
        elif isinstance(value, str):
            fields[name] = msgspec.json.decode(value) if value[:1] in "{[-0123456789" else value
    return fields


def _session(fields: dict[str, Any]) -> str:
    thread = fields.get("message_thread_id")
    return f"{fields.get('chat_id')}" + ("" if thread is None else f"#{thread}")


def is_broken(text: str) -> bool:
    """Check HTML as Telegram does: known tags only, each closed in its order."""
    open_tags: list[str] = []
    for match in re.finditer(r"<(/?)([a-z]+)(\s[^>]*)?>", text):
        if not _TAGS.fullmatch(match[0]):
            return True
        if not match[1]:
            open_tags.append(match[2])
        elif not open_tags or open_tags.pop() != match[2]:
            return True
    return bool(open_tags) or "<" in _TAGS.sub("", text)
