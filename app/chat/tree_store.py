"""Statements on the tree of a session's messages, as functions of a connection. All but readings want it locked."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime

import msgspec
from sqlalchemy import (
    Connection,
    Text,
    cast,
    delete,
    exists,
    false,
    func,
    insert,
    literal,
    not_,
    or_,
    select,
    text,
    true,
    update,
)
from sqlalchemy.orm import aliased

from app.chat import session_store
from app.chat.commands import SendMessage
from app.chat.models import IS_OPEN, MessageRow, RunRow
from app.chat.parts import Part, Reply, from_stored, to_stored
from app.chat.tree import Node, Tree
from app.chat.values import Message, MessageRole, MessageStatus
from app.database.tables import MAX_INTEGER, value_of
from app.errors import Conflict, NotFound

_IS_SHOWN = MessageRow.status != MessageStatus.PENDING.value
_BATCH = 500


def lock_idle(connection: Connection, session_id: str, username: str) -> None:
    """Lock the user's session, in which no reply is being made. Raises NotFound, Forbidden, Conflict."""
    session_store.get_session(connection, session_id, username, lock=True)
    open_run = exists().where(RunRow.session_id == session_id, IS_OPEN)
    if connection.execute(select(open_run)).scalar_one():
        raise Conflict("The session is answering another message", code="session_busy")


def get_message(connection: Connection, session_id: str, message_id: int) -> Message:
    """Raises NotFound `Message not found`, also for a message of another session."""
    query = select(MessageRow).where(MessageRow.id == message_id, MessageRow.session_id == session_id, _IS_SHOWN)
    row = connection.execute(query).first() if message_id <= MAX_INTEGER else None
    if row is None:
        raise NotFound("Message not found", code="message_not_found")
    return value_of(Message, row)


def question_of(connection: Connection, session_id: str, message: Message) -> Message | None:
    """Return the user's message that this one is or answers; None for a message of the bot's own."""
    if message.role is MessageRole.USER:
        return message
    if message.parent_id is None:
        return None
    parent = get_message(connection, session_id, message.parent_id)
    return parent if parent.role is MessageRole.USER else None


def answering(connection: Connection, command: SendMessage) -> SendMessage:
    """Show the path to the user's message that is to be answered again; the command with its id and parts.

    Raises NotFound, Forbidden, Conflict.
    """
    assert command.session_id is not None
    assert command.answers is not None
    lock_idle(connection, command.session_id, command.username)
    message = get_message(connection, command.session_id, command.answers)
    question = question_of(connection, command.session_id, message)
    if question is None:
        raise Conflict("The message answers none of the user's", code="not_a_reply")
    show_path_to(connection, question)
    return msgspec.structs.replace(command, answers=question.id, parts=from_stored(question.parts))


def load_tree(connection: Connection, session_id: str) -> Tree:
    columns = select(MessageRow.id, MessageRow.parent_id, MessageRow.on_path)
    query = columns.where(MessageRow.session_id == session_id)
    return Tree(Node(*row) for row in connection.execute(query))


def show_path(connection: Connection, tree: Tree, path: Iterable[int]) -> None:
    """Show this path in the place of the present one."""
    shown, hidden = tree.changes(path)
    for ids, on_path in ((hidden, False), (shown, True)):
        for batch in _batches(ids):
            connection.execute(update(MessageRow).where(MessageRow.id.in_(batch)).values(on_path=on_path))


def _batches(ids: Collection[int]) -> Iterator[list[int]]:
    """Split ids into as many as one statement takes."""
    ordered = sorted(ids)
    for start in range(0, len(ordered), _BATCH):
        yield ordered[start : start + _BATCH]


def show_path_to(connection: Connection, message: Message) -> None:
    """Show the path that ends with this message."""
    if not message.on_path:
        tree = load_tree(connection, message.session_id)
        show_path(connection, tree, tree.path_to(message.id))
        return
    later = (MessageRow.session_id == message.session_id) & MessageRow.on_path & (MessageRow.id > message.id)
    connection.execute(update(MessageRow).where(later).values(on_path=False))


def add_beside(connection: Connection, message: Message, parts: Sequence[Part], now: datetime) -> Message:
    """Add a message of the same role beside another; the path ends with it."""
    show_path_to(connection, message)
    connection.execute(update(MessageRow).where(MessageRow.id == message.id).values(on_path=False))
    values = {
        "session_id": message.session_id,
        "parent_id": message.parent_id,
        "on_path": True,
        "role": message.role.value,
        "status": MessageStatus.COMPLETE.value,
        "parts": to_stored(parts),
        "reasoning": "",
        "created_at": now,
    }
    row = connection.execute(insert(MessageRow).returning(MessageRow.id), values).one()
    return get_message(connection, message.session_id, row.id)


def delete_turn(connection: Connection, message: Message) -> list[int]:
    """Delete the turn of a message: the user's message with all replies to it; the ids that are gone.

    What followed the replies follows what was before the turn.
    """
    session_id = message.session_id
    question = question_of(connection, session_id, message) or message
    tree = load_tree(connection, session_id)
    gone = {question.id, *_replies(connection, tree, question)}
    for batch in _batches(gone):
        follows = MessageRow.parent_id.in_(batch) & (MessageRow.session_id == session_id)
        connection.execute(
            update(MessageRow).where(follows, MessageRow.id.not_in(gone)).values(parent_id=question.parent_id)
        )
    for batch in _batches(gone):
        connection.execute(delete(MessageRow).where(MessageRow.id.in_(batch)))
    if question.on_path:
        _extend_path(connection, session_id, question.parent_id)
    return sorted(gone)


def _extend_path(connection: Connection, session_id: str, message_id: int | None) -> None:
    """Go on from this message (None: from the root) to a leaf, should the path end with it."""
    tree = load_tree(connection, session_id)
    children = tree.children(message_id)
    if children and tree.path.isdisjoint(children):
        show_path(connection, tree, tree.path_through(max(children)))


def _replies(connection: Connection, tree: Tree, question: Message) -> list[int]:
    if question.role is not MessageRole.USER:
        return []
    children = tree.children(question.id)
    query = select(MessageRow.id).where(MessageRow.id.in_(children), MessageRow.role == MessageRole.ASSISTANT.value)
    return list(connection.execute(query).scalars())


def copy_path(connection: Connection, message: Message, session_id: str) -> None:
    """Copy the path to a message into a session that has none yet."""
    columns = (
        MessageRow.role,
        MessageRow.status,
        MessageRow.parts,
        MessageRow.reasoning,
        MessageRow.token_usage,
        MessageRow.refs,
        MessageRow.created_at,
    )
    path = load_tree(connection, message.session_id).path_to(message.id)
    originals: list[int] = []
    for batch in _batches(path):
        chosen = MessageRow.id.in_(batch) & _IS_SHOWN
        originals += connection.execute(select(MessageRow.id).where(chosen).order_by(MessageRow.id)).scalars()
        rows = select(literal(session_id), true(), *columns).where(chosen).order_by(MessageRow.id)
        names = [MessageRow.session_id, MessageRow.on_path, *columns]
        connection.execute(insert(MessageRow).from_select(names, rows))
    line_up(connection, session_id)
    of_copy = select(MessageRow.id).where(MessageRow.session_id == session_id).order_by(MessageRow.id)
    copies = dict(zip(originals, connection.execute(of_copy).scalars(), strict=True))
    _quote_copies(connection, session_id, copies)


def new_ids(connection: Connection, count: int) -> list[int]:
    """Reserve ids for messages."""
    if connection.dialect.name == "sqlite":  # whose writer is alone
        last = connection.execute(text("SELECT seq FROM sqlite_sequence WHERE name = 'messages'")).scalar() or 0
        return list(range(last + 1, last + 1 + count))
    sequence = "SELECT nextval(pg_get_serial_sequence('messages', 'id')) FROM generate_series(1, :count)"
    return list(connection.execute(text(sequence), {"count": count}).scalars())


def line_up(connection: Connection, session_id: str) -> None:
    """Make each message of a session the parent of the next."""
    earlier = aliased(MessageRow)
    parent = select(func.max(earlier.id)).where(earlier.session_id == session_id, earlier.id < MessageRow.id)
    connection.execute(
        update(MessageRow).where(MessageRow.session_id == session_id).values(parent_id=parent.scalar_subquery())
    )


def _quote_copies(connection: Connection, session_id: str, copies: Mapping[int, int]) -> None:
    """Have quotations in copied messages name the copies of what they quote."""
    is_quoting = cast(MessageRow.parts, Text).contains('"type":"reply"')
    query = select(MessageRow.id, MessageRow.parts).where(MessageRow.session_id == session_id, is_quoting)
    for message_id, stored in connection.execute(query).all():
        parts = [
            replace(part, message_id=copies.get(int(part.message_id), part.message_id))
            if isinstance(part, Reply)
            else part
            for part in from_stored(stored)
        ]
        values = {"parts": to_stored(parts)}
        connection.execute(update(MessageRow).where(MessageRow.id == message_id).values(**values))


def with_alternatives(
    connection: Connection, session_id: str, messages: Sequence[Message], *, everything: bool = True
) -> list[Message]:
    """Add to messages of a session the others with the same parents; not `everything`: all of them are on the path."""
    parents = {message.parent_id for message in messages}
    if not parents:
        return []
    siblings = _siblings(connection, session_id, parents, everything=everything)
    return [
        msgspec.structs.replace(
            message, alternatives=[id for id in siblings.get(message.parent_id, ()) if id != message.id]
        )
        for message in messages
    ]


def _siblings(
    connection: Connection, session_id: str, parents: Collection[int | None], *, everything: bool
) -> dict[int | None, list[int]]:
    ids = [parent_id for parent_id in parents if parent_id is not None]
    of_parents = or_(MessageRow.parent_id.in_(ids), MessageRow.parent_id.is_(None) if None in parents else false())
    query = select(MessageRow.parent_id, MessageRow.id).where(
        MessageRow.session_id == session_id, of_parents, _IS_SHOWN
    )
    if not everything:  # the index of the branches has them
        query = query.where(not_(MessageRow.on_path))
    siblings: dict[int | None, list[int]] = {}
    for parent_id, message_id in connection.execute(query.order_by(MessageRow.id)):
        siblings.setdefault(parent_id, []).append(message_id)
    return siblings
