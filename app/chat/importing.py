"""Sessions from files: the JSONL that `exporting` writes, read line by line into sessions that appear when whole."""

import hashlib
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, Literal
from uuid import uuid4

import msgspec
from sqlalchemy import Connection, delete, insert, update

from app.auth.models import Principal, check_not_reserved
from app.chat import session_store, tree_store
from app.chat.imported_parts import MAX_PARTS, ImportedPart, parts_of
from app.chat.models import MessageRow, SessionRow
from app.chat.parts import attachment_ids, to_stored
from app.chat.runs.events import Ref
from app.chat.values import WEBCHAT, MessageRole, MessageStatus, Session
from app.clock import utc_now
from app.database.engine import Database
from app.errors import BadRequest, PayloadTooLarge
from app.files.service import FileService
from app.idempotency import AlreadyClaimed, Claim, Idempotency, record
from app.profiles.service import ProfileService

MAX_LINE_BYTES = 8 * 1024**2
MAX_SESSIONS = 1_000
BATCH = 200
UNFINISHED_KEPT = timedelta(days=1)
"""How long a session may be in the making, before it counts as given up by a server that is gone."""
UNFINISHED = "im!import!"
"""The prefix of the creator of a session that is being imported, which no caller can name."""


class SessionLine(msgspec.Struct, tag="session", tag_field="type"):
    session_id: str = ""
    version: Literal[1] = 1
    display_name: str | None = None
    config_id: str | None = None
    labels: list[str] = msgspec.field(default_factory=list)
    pinned: bool = False
    created_at: datetime | None = None


class MessageLine(msgspec.Struct, tag="message", tag_field="type"):
    id: int
    role: MessageRole
    parts: list[ImportedPart]
    created_at: datetime
    parent_id: int | None = None
    on_path: bool = True
    status: Literal["complete", "partial", "failed"] = "complete"
    reasoning: str = ""
    token_usage: dict[str, int] | None = None
    refs: list[dict[str, Any]] | None = None


class EndLine(msgspec.Struct, tag="end", tag_field="type"):
    message_count: int


_lines = msgspec.json.Decoder(SessionLine | MessageLine | EndLine)


class ImportedSession(msgspec.Struct, frozen=True):
    """A session that was imported."""

    session_id: str
    message_count: int


class SessionImporter:
    """Reads exported sessions. `max_bytes` bounds a file."""

    def __init__(
        self,
        database: Database,
        files: FileService,
        profiles: ProfileService,
        idempotency: Idempotency,
        max_bytes: int,
    ) -> None:
        self._database = database
        self._files = files
        self._profiles = profiles
        self._idempotency = idempotency
        self._max_bytes = max_bytes

    async def read(
        self, principal: Principal, username: str, chunks: AsyncIterator[bytes], claim_key: str | None = None
    ) -> Sequence[ImportedSession]:
        """Make the sessions of a file for a user. Nothing of it is left when this raises.

        Raises BadRequest, Forbidden, PayloadTooLarge, Unprocessable.
        """
        principal.check_user(username)
        check_not_reserved(username)
        reading = _Reading(self._database, self._files, self._profiles, principal, username)
        digest = hashlib.sha256(username.encode() + b"\0")
        try:
            number = 0
            async for line in _split(chunks, digest, self._max_bytes):
                number += 1
                await reading.take(_decoded(line, number), number)
            await reading.close(number)
            claim = claim_key and Claim(principal.key_id, "sessions.import", claim_key, digest.hexdigest())
            return await self._finish(reading, claim or None)
        except BaseException:
            await reading.undo()
            raise

    async def _finish(self, reading: "_Reading", claim: Claim | None) -> Sequence[ImportedSession]:
        result = {"sessions": msgspec.to_builtins(reading.sessions)}

        def finish(connection: Connection) -> None:
            record(connection, claim, result)
            for session in reading.sessions:
                values = {"creator": reading.username, "updated_at": utc_now()}
                is_it = SessionRow.id == session.session_id
                connection.execute(update(SessionRow).where(is_it).values(**values))

        try:
            await self._database.write(finish)
        except AlreadyClaimed:
            assert claim is not None
            await reading.undo()
            first = await self._idempotency.find(claim)
            return msgspec.convert((first or result)["sessions"], list[ImportedSession])
        return reading.sessions


def remove_unfinished(connection: Connection, before: datetime) -> None:
    """Delete what a server that is gone had imported in part."""
    is_old = SessionRow.creator.startswith(UNFINISHED) & (SessionRow.updated_at < before)
    connection.execute(delete(SessionRow).where(is_old))


class _Reading:
    """The sessions of one file, as far as they have been read."""

    def __init__(
        self,
        database: Database,
        files: FileService,
        profiles: ProfileService,
        principal: Principal,
        username: str,
    ) -> None:
        self.username = username
        self.sessions: list[ImportedSession] = []
        self._database = database
        self._files = files
        self._profiles = profiles
        self._principal = principal
        self._session_id: str | None = None
        self._ids: dict[int, int] = {}
        self._leaf: int | None = None
        self._batch: list[MessageLine] = []

    async def take(self, line: SessionLine | MessageLine | EndLine, number: int) -> None:
        """Raises BadRequest."""
        match line:
            case SessionLine():
                await self._begin(line, number)
            case MessageLine():
                self._check(line, number)
                self._batch.append(line)
                if len(self._batch) == BATCH:
                    await self._store()
            case EndLine():
                await self._end(line, number)

    async def close(self, number: int) -> None:
        """Raises BadRequest when the file is empty, or does not end as a file does."""
        if self._session_id is not None:
            raise _wrong(number, "the file is cut off: it must end with a line of the type end")
        if not self.sessions:
            raise BadRequest("The file has no session", code="invalid_import")

    async def undo(self) -> None:
        ids = [session.session_id for session in self.sessions]
        if self._session_id is not None:
            ids.append(self._session_id)
        unfinished = SessionRow.id.in_(ids) & SessionRow.creator.startswith(UNFINISHED)
        await self._database.write(lambda connection: connection.execute(delete(SessionRow).where(unfinished)))

    async def _begin(self, line: SessionLine, number: int) -> None:
        if self._session_id is not None:
            raise _wrong(number, "a session must end before another begins")
        if len(self.sessions) >= MAX_SESSIONS:
            raise _wrong(number, f"a file has at most {MAX_SESSIONS} sessions")
        if len(line.display_name or "") > 255 or len(line.labels) > 50 or any(len(each) > 64 for each in line.labels):
            raise _wrong(number, "the title or a label is too long")
        now = utc_now()
        config_id = line.config_id if line.config_id and self._profiles.find(line.config_id) else None
        session = Session(
            str(uuid4()),
            WEBCHAT,
            f"{UNFINISHED}{uuid4()}",
            line.display_name,
            0,
            config_id,
            _utc(line.created_at) if line.created_at else now,
            now,
            tuple(line.labels),
            line.pinned,
        )
        await self._database.write(lambda connection: session_store.store_session(connection, session))
        self._session_id, self._ids, self._leaf = session.id, {}, None

    def _check(self, line: MessageLine, number: int) -> None:
        """Check a message's place in the tree."""
        if self._session_id is None:
            raise _wrong(number, "a message must follow a session")
        if line.id in self._ids or len(line.parts) > MAX_PARTS:
            raise _wrong(number, "the id is not new" if line.id in self._ids else "there are too many parts")
        if line.parent_id is not None and line.parent_id not in self._ids:
            raise _wrong(number, "the parent must come before its children")
        if line.on_path:
            if line.parent_id != self._leaf:
                raise _wrong(number, "the messages on the path must follow one another")
            self._leaf = line.id
        self._ids[line.id] = 0  # until it is stored

    async def _end(self, line: EndLine, number: int) -> None:
        if self._session_id is None:
            raise _wrong(number, "there is no session to end")
        if line.message_count != len(self._ids):
            raise _wrong(number, f"there are {len(self._ids)} messages instead of {line.message_count}")
        await self._store()
        self.sessions.append(ImportedSession(self._session_id, len(self._ids)))
        self._session_id = None

    async def _store(self) -> None:
        batch, self._batch = self._batch, []
        if not batch:
            return
        parts = {line.id: parts_of(line.parts) for line in batch}
        named = {id for each in parts.values() for id in attachment_ids(each)}
        usable = await self._files.find_usable(named, self._principal, self.username) if named else {}
        add = partial(self._add, batch=batch, usable=frozenset(usable))
        await self._database.write(add)

    def _add(self, connection: Connection, batch: Sequence[MessageLine], usable: frozenset[str]) -> None:
        for line, message_id in zip(batch, tree_store.new_ids(connection, len(batch)), strict=True):
            self._ids[line.id] = message_id
        connection.execute(insert(MessageRow), [self._row(line, usable) for line in batch])

    def _row(self, line: MessageLine, usable: frozenset[str]) -> Mapping[str, Any]:
        return {
            "id": self._ids[line.id],
            "session_id": self._session_id,
            "parent_id": None if line.parent_id is None else self._ids[line.parent_id],
            "on_path": line.on_path,
            "role": line.role.value,
            "status": MessageStatus(line.status).value,
            "parts": to_stored(parts_of(line.parts, self._ids, usable)),
            "reasoning": line.reasoning,
            "token_usage": line.token_usage,
            "refs": line.refs,
            "created_at": _utc(line.created_at),
        }


async def _split(chunks: AsyncIterator[bytes], digest: Any, max_bytes: int) -> AsyncIterator[bytes]:
    """Yield the lines of a stream. Raises PayloadTooLarge."""
    rest, size = bytearray(), 0
    async for chunk in chunks:
        size += len(chunk)
        if size > max_bytes:
            raise PayloadTooLarge(f"The file is larger than {max_bytes} bytes")
        digest.update(chunk)
        *lines, last = chunk.split(b"\n")
        for line in lines:
            whole = bytes(rest + line) if rest else line
            rest.clear()
            if whole.strip():
                yield whole
        rest += last
        if len(rest) > MAX_LINE_BYTES:
            raise PayloadTooLarge(f"A line is longer than {MAX_LINE_BYTES} bytes")
    if rest.strip():
        yield bytes(rest)


def _decoded(line: bytes, number: int) -> SessionLine | MessageLine | EndLine:
    if b"\\u0000" in line:
        raise _wrong(number, "it contains a NUL")
    try:
        decoded: SessionLine | MessageLine | EndLine = _lines.decode(line)
        if isinstance(decoded, MessageLine) and decoded.refs is not None:
            msgspec.convert([list(ref.values()) for ref in decoded.refs], list[Ref])
            if any(ref.keys() != set(Ref.__struct_fields__) for ref in decoded.refs):
                raise _wrong(number, "a reference has other fields")
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise _wrong(number, str(error)) from None
    return decoded


def _utc(moment: datetime) -> datetime:
    try:
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
    except OverflowError:
        raise BadRequest("A time is out of range", code="invalid_import") from None


def _wrong(number: int, problem: str) -> BadRequest:
    return BadRequest(f"Line {number}: {problem}", code="invalid_import")
