"""Every statement on sessions, as functions of a connection.

What each message executes is prepared once, with named parameters.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from msgspec.structs import asdict
from sqlalchemy import (
    ColumnElement,
    Connection,
    Text,
    and_,
    bindparam,
    cast,
    delete,
    func,
    literal,
    select,
    tuple_,
    update,
)
from sqlalchemy.dialects import postgresql

from app.chat.models import SessionCountRow, SessionRow
from app.chat.parts import Media, Part, plain_text
from app.chat.values import KEYS_PREFIX, WEBCHAT, Session, SessionFilter
from app.database.prepared import Prepared
from app.database.tables import ENGINE_OPTIONS, MAX_INTEGER, value_of
from app.errors import BadRequest, Forbidden, NotFound
from app.text import CONTROL_CHARACTER

TITLE_CHARS = 60

_SESSION = select(SessionRow).where(SessionRow.id == bindparam("session_id"))
_TOUCH_SESSION = Prepared(
    update(SessionRow).where(SessionRow.id == bindparam("session_id")).values(updated_at=bindparam("moment"))
)
_CONTINUE_SESSION = Prepared(
    update(SessionRow)
    .where(SessionRow.id == bindparam("session_id"), SessionRow.creator == bindparam("username"))
    .values(updated_at=bindparam("moment"))
    .returning(SessionRow.config_id, SessionRow.display_name)
)
# Both databases have the clause, and SQLite's compiler takes PostgreSQL's word for it.
_ADD_SESSION = Prepared(postgresql.insert(SessionRow).on_conflict_do_nothing(), Session.__struct_fields__)


class ContinuedSession(NamedTuple):
    """What a further message needs of its session."""

    config_id: str | None
    title: str | None


def find_session(connection: Connection, session_id: str, username: str, *, lock: bool = False) -> Session | None:
    """Find the user's session, and `lock` it until the commit. Raises Forbidden when it is someone else's."""
    query = _SESSION.with_for_update() if lock else _SESSION
    row = connection.execute(query, {"session_id": session_id}).first()
    if row is None:
        return None
    if row.creator != username:
        raise Forbidden("session_id belongs to another username", code="session_not_yours")
    return value_of(Session, row)


def get_session(connection: Connection, session_id: str, username: str, *, lock: bool = False) -> Session:
    """Raises NotFound `Session not found`, Forbidden."""
    session = find_session(connection, session_id, username, lock=lock)
    if session is None:
        raise NotFound("Session not found", code="session_not_found")
    return session


def continue_session(connection: Connection, session_id: str, username: str, now: datetime) -> ContinuedSession | None:
    """Find the user's session for a new message, and lock it until the commit."""
    row = _CONTINUE_SESSION.first(connection, {"session_id": session_id, "username": username, "moment": now})
    return None if row is None else ContinuedSession(row.config_id, row.display_name)


def find_creator(connection: Connection, session_id: str) -> str | None:
    """Find the creator of a session."""
    row = connection.execute(_SESSION, {"session_id": session_id}).first()
    return None if row is None else str(row.creator)


def touch_session(connection: Connection, session_id: str, now: datetime) -> bool:
    """Put the session first in its user's list; False when there is no such session."""
    return _TOUCH_SESSION.change(connection, {"session_id": session_id, "moment": now}) == 1


def add_session(
    connection: Connection,
    session_id: str,
    creator: str,
    parts: Sequence[Part],
    config_id: str | None,
    now: datetime,
    platform_id: str = WEBCHAT,
) -> bool:
    """Add a session that begins with a message of these parts; False when there is one of that id."""
    session = Session(session_id, platform_id, creator, title_of(parts), 0, config_id, now, now)
    return store_session(connection, session)


def store_session(connection: Connection, session: Session) -> bool:
    """Add a session; False when there is one of that id."""
    if session.platform_id == WEBCHAT and session.id.startswith(KEYS_PREFIX):
        raise BadRequest(f"session ids that begin with {KEYS_PREFIX} are kept for /v1", code="invalid_session_id")
    return _ADD_SESSION.change(connection, asdict(session)) == 1


def change_session(connection: Connection, session_id: str, changes: Mapping[str, Any]) -> None:
    connection.execute(update(SessionRow).where(SessionRow.id == session_id).values(**changes))


def replace_title(connection: Connection, session_id: str, title: str, new_title: str) -> None:
    """Give a session another title if it still has this one."""
    is_unchanged = (SessionRow.id == session_id) & (SessionRow.display_name == title)
    connection.execute(update(SessionRow).where(is_unchanged).values(display_name=new_title))


def delete_session(connection: Connection, session_id: str) -> None:
    """Delete a session with its messages and runs."""
    connection.execute(delete(SessionRow).where(SessionRow.id == session_id))


def list_sessions(
    connection: Connection, creator: str, chosen: SessionFilter, *, offset: int, limit: int
) -> tuple[list[Session], int]:
    """Return a user's sessions, the newest first, and how many there are in all."""
    of_user = _chosen(creator, chosen)
    page = select(SessionRow).where(of_user).order_by(SessionRow.updated_at.desc(), SessionRow.id.desc())
    if chosen.before is not None:
        page = page.where(tuple_(SessionRow.updated_at, SessionRow.id) < tuple_(*map(literal, chosen.before)))
    rows = connection.execute(page.limit(limit).offset(min(offset, MAX_INTEGER)))
    # Counting the sessions themselves takes 19 ms for half a million.
    counted = SessionCountRow.creator == creator
    if chosen.platform_id:
        counted &= SessionCountRow.platform_id == chosen.platform_id
    count = select(func.coalesce(func.sum(SessionCountRow.count), 0)).where(counted)
    if not chosen.is_counted:
        count = select(func.count()).select_from(SessionRow).where(of_user)
    total = connection.execute(count).scalar_one()
    return [value_of(Session, row) for row in rows], int(total)


def _chosen(creator: str, chosen: SessionFilter) -> ColumnElement[bool]:
    conditions = [SessionRow.creator == creator]
    if chosen.platform_id:
        conditions.append(SessionRow.platform_id == chosen.platform_id)
    if chosen.id_prefix is not None:
        conditions.append(SessionRow.id.startswith(chosen.id_prefix, autoescape=True))
    if chosen.search is not None:
        conditions.append(SessionRow.display_name.icontains(chosen.search, autoescape=True))
    if chosen.label is not None:  # as it stands in the JSON: nothing else there has its quotation marks
        label = ENGINE_OPTIONS["json_serializer"](chosen.label)
        conditions.append(cast(SessionRow.labels, Text).contains(label, autoescape=True))
    if chosen.pinned is not None:
        conditions.append(SessionRow.pinned == chosen.pinned)
    if chosen.updated_after is not None:
        conditions.append(SessionRow.updated_at > chosen.updated_after)
    return and_(*conditions)


def title_of(parts: Sequence[Part]) -> str | None:
    """A session's first name: the beginning of its first message, or of its first file's name."""
    text = " ".join(CONTROL_CHARACTER.sub(" ", plain_text(parts)[: 4 * TITLE_CHARS]).split())
    if not text:
        text = next((part.filename for part in parts if isinstance(part, Media) and part.filename), "")
    if len(text) <= TITLE_CHARS:
        return text or None
    shortened = text[: TITLE_CHARS - 1]
    # Cut between words where there are words, which not every script parts by spaces.
    head, space, _ = shortened.rpartition(" ")
    return (head if space and len(head) > TITLE_CHARS // 2 else shortened) + "…"
