"""Sessions and their messages: listing, reading, changing, deleting, and who may."""

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy import Connection, Select, delete, func, select, update

from app.auth.models import Principal
from app.chat import statements
from app.chat.models import MessageRow, SessionCountRow, SessionRow
from app.chat.values import Message, MessageStatus, Session, message_of, session_of
from app.clock import utc_now
from app.database.engine import Database
from app.database.tables import MAX_INTEGER
from app.errors import BadRequest, Forbidden, NotFound
from app.profiles.service import DEFAULT_ID, ProfileService


class SessionService:
    """Sessions as their creators see them."""

    def __init__(self, database: Database, profiles: ProfileService) -> None:
        self._database = database
        self._profiles = profiles

    async def list_sessions(
        self, principal: Principal, username: str, *, page: int, page_size: int, platform_id: str | None = None
    ) -> tuple[list[Session], int]:
        """One page of a user's sessions, the newest first, and how many there are in all. Raises Forbidden."""
        principal.check_user(username)
        mine, counted = SessionRow.creator == username, SessionCountRow.creator == username
        if platform_id:
            mine &= SessionRow.platform_id == platform_id
            counted &= SessionCountRow.platform_id == platform_id
        rows = (
            select(SessionRow)
            .where(mine)
            .order_by(SessionRow.updated_at.desc(), SessionRow.id.desc())
            .limit(page_size)
            .offset(min((page - 1) * page_size, MAX_INTEGER))
        )
        # Counting the sessions themselves takes 19 ms for half a million.
        count = select(func.coalesce(func.sum(SessionCountRow.count), 0)).where(counted)

        def read(connection: Connection) -> tuple[list[Session], int]:
            return [session_of(row) for row in connection.execute(rows)], int(connection.execute(count).scalar_one())

        return await self._database.read(read)

    async def get(self, principal: Principal, username: str, session_id: str) -> Session:
        """Raises NotFound `Session not found`, Forbidden."""
        principal.check_user(username)
        return await self._database.read(lambda connection: get_session(connection, session_id, username))

    async def change(self, principal: Principal, username: str, session_id: str, *, changes: dict[str, Any]) -> Session:
        """Set `display_name` or `config_id` (None or `default`: the default profile).

        Raises BadRequest for an unknown profile, NotFound, Forbidden.
        """
        principal.check_user(username)
        config_id = changes.get("config_id")
        if config_id is not None:
            self._profiles.get(config_id)
            changes["config_id"] = None if config_id == DEFAULT_ID else config_id

        def write(connection: Connection) -> Session:
            session = get_session(connection, session_id, username)
            if not changes:
                return session
            now = utc_now()
            connection.execute(update(SessionRow).where(SessionRow.id == session_id).values(updated_at=now, **changes))
            return replace(session, updated_at=now, **changes)

        return await self._database.write(write)

    async def delete(self, principal: Principal, username: str, session_id: str) -> None:
        """Forget a session with its messages and runs; stop its runs first. Raises NotFound, Forbidden."""
        principal.check_user(username)

        def write(connection: Connection) -> None:
            get_session(connection, session_id, username)
            connection.execute(delete(SessionRow).where(SessionRow.id == session_id))

        await self._database.write(write)

    async def messages(
        self, principal: Principal, username: str, session_id: str, *, before: int | None, limit: int
    ) -> tuple[list[Message], bool]:
        """The newest messages below the id `before`, the newest first, and whether there are older ones.

        Raises NotFound, Forbidden.
        """
        principal.check_user(username)
        query: Select[Any] = select(MessageRow).where(
            MessageRow.session_id == session_id, MessageRow.status != MessageStatus.PENDING
        )
        if before is not None:
            query = query.where(MessageRow.id < before)
        newest = query.order_by(MessageRow.id.desc()).limit(limit + 1)

        def read(connection: Connection) -> Sequence[Any]:
            get_session(connection, session_id, username)
            return connection.execute(newest).all()

        rows = await self._database.read(read)
        return [message_of(row) for row in rows[:limit]], len(rows) > limit


def find_session(connection: Connection, session_id: str, username: str) -> Session | None:
    """The user's session. Raises Forbidden when it is someone else's."""
    row = statements.FIND_SESSION.first(connection, session_id=session_id)
    if row is None:
        return None
    if row.creator != username:
        raise Forbidden("session_id belongs to another username", code="session_not_yours")
    return session_of(row)


def get_session(connection: Connection, session_id: str, username: str) -> Session:
    session = find_session(connection, session_id, username)
    if session is None:
        raise NotFound("Session not found", code="session_not_found")
    return session


def check_quotes(connection: Connection, session_id: str, message_ids: list[int | str]) -> None:
    """Raises BadRequest unless each id is a message of that session: nothing else can be quoted."""
    if not message_ids:
        return
    wanted: set[int] = set()
    for message_id in message_ids:
        text = str(message_id)
        if not (re.fullmatch(r"[0-9]{1,19}", text) and int(text) <= MAX_INTEGER):
            raise BadRequest(f"reply message not found: {text[:64]}", code="reply_not_found")
        wanted.add(int(text))
    query = select(MessageRow.id).where(
        MessageRow.session_id == session_id, MessageRow.id.in_(wanted), MessageRow.status != MessageStatus.PENDING
    )
    found = set(connection.execute(query).scalars())
    if missing := wanted - found:
        raise BadRequest(f"reply message not found: {min(missing)}", code="reply_not_found")
