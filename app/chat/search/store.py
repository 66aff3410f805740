"""Statements of the search index, as functions of a connection.

A term in the index has its owner's number before it: a search reads nothing of other owners' messages, however common
its words are.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import ColumnElement, Connection, and_, func, select, text, update
from sqlalchemy.dialects import postgresql

from app.chat.models import MessageRow, SessionRow
from app.chat.parts import Media, Part, Reply, Text, from_stored
from app.chat.search.models import Owner, SearchOwnerRow, SearchSessionRow
from app.chat.values import Message, MessageStatus, Session
from app.database.tables import value_of
from app.knowledge.tokens import is_prefix, question_terms, terms_of

MAX_INDEXED_CHARS = 100_000
TITLES_SEARCHED = 2_000
_WINDOWS = (20_000, 400_000)
_PLAIN = re.compile(r"""[^\s"'\\]+""")
"""Terms that stand in quotation marks as they are."""
_SQLITE_ADD = text("INSERT OR REPLACE INTO message_terms (rowid, terms) VALUES (:id, :terms)")
_POSTGRES_ADD = text(
    "INSERT INTO message_terms (message_id, terms) VALUES (:id, array_to_tsvector(string_to_array(:terms, ' ')))"
    " ON CONFLICT DO NOTHING"
)
_SQLITE_FIND = text(
    "SELECT rowid FROM message_terms WHERE message_terms MATCH :query AND rowid < :before"
    " ORDER BY rowid DESC LIMIT :limit"
)
# Materialized: the planner would rather read the newest messages one by one until it has found enough.
_POSTGRES_FIND = text(
    "WITH matches AS MATERIALIZED (SELECT message_id FROM message_terms"
    " WHERE terms @@ CAST(:query AS TSQUERY) AND message_id < :before AND message_id >= :low)"
    " SELECT message_id FROM matches ORDER BY message_id DESC LIMIT :limit"
)


def is_of(owner: Owner) -> ColumnElement[bool]:
    """Return the condition for an owner's sessions."""
    is_creators = SessionRow.creator == owner.creator
    if owner.id_prefix is None:
        return is_creators
    return and_(is_creators, SessionRow.id.startswith(owner.id_prefix, autoescape=True))


def add_owner(connection: Connection, owner: Owner) -> int:
    """Add an owner, unless another server has; its number."""
    add = postgresql.insert(SearchOwnerRow).values(name=owner.name)
    connection.execute(add.on_conflict_do_nothing())
    number = find_number(connection, owner)
    assert number is not None
    return number


def find_number(connection: Connection, owner: Owner) -> int | None:
    query = select(SearchOwnerRow.number).where(SearchOwnerRow.name == owner.name)
    return connection.execute(query).scalar_one_or_none()


def changed_sessions(connection: Connection, owner: Owner) -> tuple[int | None, list[str]]:
    """Return the owner's number, and the sessions that have changed since they were indexed, the newest first."""
    of_owner = select(SearchOwnerRow.number, SearchOwnerRow.indexed_at).where(SearchOwnerRow.name == owner.name)
    row = connection.execute(of_owner).first()
    query = select(SessionRow.id).where(is_of(owner)).order_by(SessionRow.updated_at.desc())
    if row is not None and row.indexed_at is not None:
        query = query.where(SessionRow.updated_at >= row.indexed_at)
    return None if row is None else row.number, list(connection.execute(query).scalars())


class Unindexed(NamedTuple):
    """The terms of messages by their ids, and the last ids by session; `has_more` if the limit cut some off."""

    terms: Mapping[int, str]
    ends: Mapping[str, int]
    has_more: bool


def unindexed(connection: Connection, number: int, session_ids: Sequence[str], limit: int) -> Unindexed:
    """Return the terms of the next messages of these sessions; none that is behind one that is being made."""
    query = (
        select(MessageRow.id, MessageRow.session_id, MessageRow.status, MessageRow.parts)
        .outerjoin(SearchSessionRow, SearchSessionRow.session_id == MessageRow.session_id)
        .where(MessageRow.session_id.in_(session_ids), MessageRow.id > func.coalesce(SearchSessionRow.message_id, 0))
        .order_by(MessageRow.session_id, MessageRow.id)
        .limit(limit)
    )
    terms: dict[int, str] = {}
    ends: dict[str, int] = {}
    unfinished = set()
    rows = connection.execute(query).all()
    for row in rows:
        if row.status == MessageStatus.PENDING.value:
            unfinished.add(row.session_id)
        if row.session_id not in unfinished:
            terms[row.id] = indexed_terms(number, text_of(from_stored(row.parts)))
            ends[row.session_id] = row.id
    return Unindexed(terms, ends, len(rows) == limit)


def add_terms(connection: Connection, messages: Unindexed) -> None:
    existing = select(MessageRow.id).where(MessageRow.id.in_(list(messages.terms)))  # some may be gone meanwhile
    rows = [
        {"id": message_id, "terms": messages.terms[message_id]}
        for message_id in connection.execute(existing.with_for_update(read=True, key_share=True)).scalars()
        if messages.terms[message_id]
    ]
    if rows:
        connection.execute(_SQLITE_ADD if connection.dialect.name == "sqlite" else _POSTGRES_ADD, rows)
    sessions = select(SessionRow.id).where(SessionRow.id.in_(list(messages.ends)))
    ends = [
        {"session_id": session_id, "message_id": messages.ends[session_id]}
        for session_id in connection.execute(sessions.with_for_update(read=True, key_share=True)).scalars()
    ]
    if ends:
        add = postgresql.insert(SearchSessionRow)
        changes = {"message_id": add.excluded.message_id}
        connection.execute(add.on_conflict_do_update(index_elements=["session_id"], set_=changes), ends)


def set_indexed(connection: Connection, number: int, moment: datetime) -> None:
    connection.execute(update(SearchOwnerRow).where(SearchOwnerRow.number == number).values(indexed_at=moment))


def find_ids(connection: Connection, number: int, terms: Sequence[str], before: int, limit: int) -> list[int]:
    """Return the ids of the newest messages below `before` that have all the terms."""
    if connection.dialect.name == "sqlite":
        query = " AND ".join(f'"{_own(number, term)}"{" *" if is_prefix(term) else ""}' for term in terms)
        values = {"query": query, "before": before, "limit": limit}
        return list(connection.execute(_SQLITE_FIND, values).scalars())
    query = " & ".join(f"'{_own(number, term)}'{':*' if is_prefix(term) else ''}" for term in terms)
    newest = connection.execute(text("SELECT max(message_id) FROM message_terms")).scalar() or 0
    # A common word has matches enough among the newest messages; all matches of a rare one are few.
    top = min(before, newest + 1)
    for low in (*(top - window for window in _WINDOWS), 0):
        values = {"query": query, "before": before, "low": low, "limit": limit}
        ids = list(connection.execute(_POSTGRES_FIND, values).scalars())
        if len(ids) == limit or low <= 0:
            break
    return ids


def load(connection: Connection, owner: Owner, message_ids: Iterable[int]) -> list[tuple[Message, str | None]]:
    """Return the owner's messages among these, the newest first, with the titles of their sessions."""
    query = (
        select(MessageRow, SessionRow.display_name)
        .join(SessionRow, SessionRow.id == MessageRow.session_id)
        .where(MessageRow.id.in_(list(message_ids)), is_of(owner), MessageRow.status != MessageStatus.PENDING.value)
        .order_by(MessageRow.id.desc())
    )
    return [(value_of(Message, row), row.display_name) for row in connection.execute(query)]


def find_titles(connection: Connection, owner: Owner, words: str, limit: int) -> list[Session]:
    """Return the newest of the owner's last sessions whose titles contain the words."""
    newest = select(SessionRow).where(is_of(owner)).order_by(SessionRow.updated_at.desc()).limit(TITLES_SEARCHED)
    rows = newest.subquery()
    query = select(rows).where(rows.c.display_name.icontains(words, autoescape=True))
    return [value_of(Session, row) for row in connection.execute(query.order_by(rows.c.updated_at.desc()).limit(limit))]


def query_terms(words: str) -> list[str]:
    """Return the terms to look for."""
    return [term for term in question_terms(words) if _PLAIN.fullmatch(term)]


def indexed_terms(number: int, words: str) -> str:
    terms = dict.fromkeys(terms_of(words[:MAX_INDEXED_CHARS]))
    return " ".join(_own(number, term) for term in terms if _PLAIN.fullmatch(term))


def text_of(parts: Iterable[Part]) -> str:
    """Return what of a message is searched: its text, and the names of its files."""
    words = []
    for part in parts:
        if isinstance(part, Text):
            words.append(part.text)
        elif isinstance(part, Media) and part.filename:
            words.append(part.filename)
        elif isinstance(part, Reply) and part.selected_text:
            words.append(part.selected_text)
    return "\n".join(words)


def _own(number: int, term: str) -> str:
    """Return an owner's term."""
    return f"u{number}x{term}"
