"""Every statement on messages, as functions of a connection."""

import re
from collections.abc import Collection, Sequence
from datetime import datetime

from msgspec.structs import asdict
from sqlalchemy import Connection, and_, bindparam, exists, func, insert, not_, or_, select, true, update
from sqlalchemy.orm import aliased

from app.chat.models import IS_OPEN, MessageRow, RunRow
from app.chat.parts import Part, Reply, from_stored, plain_text, to_stored
from app.chat.runs.reply import RunResult
from app.chat.values import Message, MessageRole, MessageStatus, Run
from app.database.prepared import Prepared, new_values
from app.database.tables import MAX_INTEGER, value_of
from app.errors import BadRequest

_MESSAGE_COLUMNS = (MessageRow.id, MessageRow.role, MessageRow.parts)
_IS_SHOWN = MessageRow.status != MessageStatus.PENDING.value
_NEW_COLUMNS = ("session_id", "run_id", "role", "status", "parts", "reasoning", "dedupe_key", "created_at")
_ADD_MESSAGE = Prepared(
    insert(MessageRow).values(on_path=true()).returning(MessageRow.id),
    (*_NEW_COLUMNS, "parent_id"),
)
_EARLIER = aliased(MessageRow)
_APPEND_MESSAGE = Prepared(
    insert(MessageRow)
    .values(
        on_path=true(),
        parent_id=select(func.max(_EARLIER.id))
        .where(_EARLIER.session_id == bindparam("whole_session"), _EARLIER.on_path)
        .scalar_subquery(),
    )
    .returning(MessageRow.id),
    _NEW_COLUMNS,
)
# A user's message whose reply is still to come belongs to a later turn, for all but that turn's own run.
# One that came after it and ended while it waited, too: nothing has answered it.
_CAME_AFTER = and_(MessageRow.id > bindparam("user_message_id"), RunRow.started_at.is_(None))
_NEWEST_MESSAGES = Prepared(
    select(*_MESSAGE_COLUMNS)
    .where(
        MessageRow.session_id == bindparam("session_id"),
        MessageRow.on_path,
        _IS_SHOWN,
        or_(
            MessageRow.id == bindparam("user_message_id"),
            MessageRow.role != MessageRole.USER.value,
            not_(exists().where(RunRow.id == MessageRow.run_id, or_(IS_OPEN, _CAME_AFTER))),
        ),
    )
    .order_by(MessageRow.id.desc())
    .limit(bindparam("limit"))
)
_MESSAGE = select(*_MESSAGE_COLUMNS).where(MessageRow.id == bindparam("message_id"))
_STORE_REPLY = Prepared(
    update(MessageRow)
    .where(MessageRow.id == bindparam("message_id"))
    .values(new_values("status", "parts", "reasoning", "token_usage", "refs", "created_at"))
)


def add_message(
    connection: Connection,
    session_id: str,
    run_id: str | None,
    role: MessageRole,
    status: MessageStatus,
    parts: Sequence[Part],
    now: datetime,
    dedupe_key: str | None = None,
    parent_id: int | None = None,
) -> int:
    """Add a message to a session's path, behind its parent or else at the end; its id."""
    values = {
        "session_id": session_id,
        "run_id": run_id,
        "role": role.value,
        "status": status.value,
        "parts": to_stored(parts),
        "reasoning": "",
        "dedupe_key": dedupe_key,
        "created_at": now,
    }
    if parent_id is None:
        row = _APPEND_MESSAGE.first(connection, {**values, "whole_session": session_id})
    else:
        row = _ADD_MESSAGE.first(connection, {**values, "parent_id": parent_id})
    message_id: int = row.id
    return message_id


def find_deduped_message(connection: Connection, dedupe_key: str) -> Message | None:
    row = connection.execute(select(MessageRow).where(MessageRow.dedupe_key == dedupe_key)).first()
    return None if row is None else value_of(Message, row)


def list_messages(
    connection: Connection, session_id: str, *, before: int | None, limit: int, everything: bool = False
) -> list[Message]:
    """Return the newest messages of the path below the id `before`, or with `everything` of the session.

    The newest come first.
    """
    query = select(MessageRow).where(MessageRow.session_id == session_id, _IS_SHOWN)
    if not everything:
        query = query.where(MessageRow.on_path)
    if before is not None:
        query = query.where(MessageRow.id < before)
    rows = connection.execute(query.order_by(MessageRow.id.desc()).limit(limit))
    return [value_of(Message, row) for row in rows]


def conversation(connection: Connection, run: Run, limit: int) -> list[tuple[str, tuple[Part, ...]]]:
    """Return the role and parts of the run's own message and of those before it, the newest first.

    A message that was sent ahead of others has a higher id than theirs, and is shown their replies all the same.
    """
    values = {"session_id": run.session_id, "user_message_id": run.user_message_id, "limit": limit}
    rows = list(_NEWEST_MESSAGES.all(connection, values))
    if all(row.id != run.user_message_id for row in rows):  # many have been added since it was sent
        rows += connection.execute(_MESSAGE, {"message_id": run.user_message_id})
    rows.sort(key=lambda row: row.id != run.user_message_id)
    return [(row.role, from_stored(row.parts)) for row in rows[:limit]]


def quoted_texts(connection: Connection, session_id: str | None, message_ids: Collection[int]) -> dict[int, str]:
    """Return the texts of messages of this session, whatever a quotation may name."""
    query = select(MessageRow.id, MessageRow.parts).where(
        MessageRow.session_id == session_id, MessageRow.id.in_(message_ids)
    )
    return {row.id: plain_text(from_stored(row.parts)) for row in connection.execute(query)}


def find_run_of(connection: Connection, message_id: int) -> str | None:
    """Return the run that a message belongs to."""
    return connection.execute(select(MessageRow.run_id).where(MessageRow.id == message_id)).scalar()


def is_message_of(connection: Connection, session_id: str, message_id: int) -> bool:
    """Check that a message is shown in a session."""
    query = select(MessageRow.id).where(MessageRow.id == message_id, MessageRow.session_id == session_id, _IS_SHOWN)
    return connection.execute(query).first() is not None


def check_quotes(connection: Connection, session_id: str, parts: Sequence[Part]) -> None:
    """Raises BadRequest unless what the parts quote are messages of that session: nothing else can be quoted."""
    ids: set[int] = set()
    for part in parts:
        if isinstance(part, Reply):
            text = str(part.message_id)
            if not (re.fullmatch(r"[0-9]{1,19}", text) and int(text) <= MAX_INTEGER):
                raise BadRequest(f"reply message not found: {text[:64]}", code="reply_not_found")
            ids.add(int(text))
    if not ids:
        return
    query = select(MessageRow.id).where(MessageRow.session_id == session_id, MessageRow.id.in_(ids), _IS_SHOWN)
    if missing := ids - set(connection.execute(query).scalars()):
        raise BadRequest(f"reply message not found: {min(missing)}", code="reply_not_found")


def store_reply(connection: Connection, run: Run, result: RunResult) -> None:
    """Give a run's reply its end."""
    content = result.content
    values = {
        "message_id": run.reply_message_id,
        "new_status": result.message_status.value,
        "new_parts": to_stored(content.parts),
        "new_reasoning": content.reasoning,
        "new_token_usage": result.token_usage,
        "new_refs": [asdict(ref) for ref in content.refs] or None,
        "new_created_at": result.ended_at,
    }
    _STORE_REPLY.change(connection, values)


def find_reply(connection: Connection, run: Run) -> Message | None:
    row = connection.execute(select(MessageRow).where(MessageRow.id == run.reply_message_id)).first()
    return None if row is None else value_of(Message, row)
