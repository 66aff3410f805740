"""Sessions as files: JSONL with all that a session has, and Markdown to read, written page by page."""

from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

import msgspec
from sqlalchemy import Connection, select

from app.auth.models import Principal
from app.chat import session_store
from app.chat.models import MessageRow
from app.chat.ownership import check_session
from app.chat.parts import Media, Part, Reply, Text, ToolCallPart, ToolResult, ToolStep, from_stored
from app.chat.values import Message, MessageRole, MessageStatus, Session
from app.clock import iso
from app.database.engine import Database
from app.database.tables import value_of

PAGE = 200
VERSION = 1

_json = msgspec.json.Encoder()


class SessionExporter:
    """Reads sessions whole, without ever holding more than a page."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def jsonl(self, principal: Principal, username: str, session_id: str) -> AsyncIterator[bytes]:
        """Return the lines of a session with the messages of all branches. Raises NotFound, Forbidden at once."""
        session = await self._session(principal, username, session_id)
        return self._encoded(session, _jsonl_head(session), _jsonl_page, everything=True, has_end=True)

    async def markdown(self, principal: Principal, username: str, session_id: str) -> AsyncIterator[bytes]:
        """Return the session's path as text. Raises NotFound, Forbidden at once."""
        session = await self._session(principal, username, session_id)
        return self._encoded(session, _markdown_head(session), _markdown_page, everything=False, has_end=False)

    async def _session(self, principal: Principal, username: str, session_id: str) -> Session:
        check_session(principal, username, session_id)
        return await self._database.read(lambda connection: session_store.get_session(connection, session_id, username))

    async def _encoded(
        self,
        session: Session,
        head: bytes,
        encode: Callable[[Iterable[Message]], bytes],
        *,
        everything: bool,
        has_end: bool,
    ) -> AsyncIterator[bytes]:
        yield head
        count = 0
        async for page in self._pages(session.id, everything=everything):
            count += len(page)
            yield encode(page)
        if has_end:
            yield _json.encode({"type": "end", "message_count": count}) + b"\n"

    async def _pages(self, session_id: str, *, everything: bool) -> AsyncIterator[Sequence[Message]]:
        """Yield the messages, the oldest first; each page is a transaction of its own.

        The place of a reply that is being made is passed over: what follows it follows its question.
        """
        last = 0
        unfinished: dict[int, int | None] = {}
        while True:
            page = await self._database.read(partial(_page, session_id=session_id, after=last, everything=everything))
            messages = []
            for message in page:
                parent_id = unfinished.get(message.parent_id or 0, message.parent_id)
                if message.status is MessageStatus.PENDING:
                    unfinished[message.id] = parent_id
                else:
                    messages.append(msgspec.structs.replace(message, parent_id=parent_id))
            yield messages
            if len(page) < PAGE:
                return
            last = page[-1].id


def _page(connection: Connection, session_id: str, after: int, *, everything: bool) -> list[Message]:
    query = select(MessageRow).where(MessageRow.session_id == session_id, MessageRow.id > after)
    if not everything:
        query = query.where(MessageRow.on_path)
    return [value_of(Message, row) for row in connection.execute(query.order_by(MessageRow.id).limit(PAGE))]


def _jsonl_head(session: Session) -> bytes:
    line = {
        "type": "session",
        "version": VERSION,
        "session_id": session.id,
        "display_name": session.display_name,
        "config_id": session.config_id,
        "labels": session.labels,
        "pinned": session.pinned,
        "created_at": iso(session.created_at),
        "updated_at": iso(session.updated_at),
    }
    return _json.encode(line) + b"\n"


def _jsonl_page(messages: Iterable[Message]) -> bytes:
    return b"".join(_json.encode(_line(message)) + b"\n" for message in messages)


def _line(message: Message) -> Mapping[str, Any]:
    return {
        "type": "message",
        "id": message.id,
        "parent_id": message.parent_id,
        "on_path": message.on_path,
        "role": message.role,
        "status": message.status,
        "parts": message.parts,
        "reasoning": message.reasoning,
        "token_usage": message.token_usage,
        "refs": message.refs,
        "created_at": iso(message.created_at),
    }


def _markdown_head(session: Session) -> bytes:
    title = " ".join((session.display_name or session.id).split())
    return f"# {title}\n".encode()


def _markdown_page(messages: Iterable[Message]) -> bytes:
    return "".join(_markdown(message) for message in messages).encode()


def _markdown(message: Message) -> str:
    name = "User" if message.role is MessageRole.USER else "Assistant"
    note = "" if message.status is MessageStatus.COMPLETE else f" ({message.status.value})"
    text = "\n\n".join(_markdown_part(part) for part in from_stored(message.parts))
    return f"\n## {name}, {iso(message.created_at)}{note}\n\n{text}\n"


def _markdown_part(part: Part) -> str:
    match part:
        case Text():
            return part.text
        case Media():
            return f"[{part.kind}: {part.filename or part.attachment_id}]"
        case Reply():
            quote = part.selected_text or f"message {part.message_id}"
            return "\n".join(f"> {line}" for line in quote.splitlines())
        case ToolCallPart():
            return _fenced(f"{part.name}({part.arguments})")
        case ToolResult():
            return _fenced(part.text)
        case ToolStep():
            return "\n\n".join(
                _fenced(f"{call.name}({call.arguments})") + "\n\n" + _fenced(call.result) for call in part.calls
            )


def _fenced(text: str) -> str:
    fence = "```"
    while fence in text:
        fence += "`"
    return f"{fence}\n{text}\n{fence}"
