"""Every statement on sessions, messages, runs and their events, as functions of a connection.

What each message executes is prepared once, with named parameters.
"""

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

import msgspec
from msgspec.structs import asdict
from sqlalchemy import (
    ColumnElement,
    Connection,
    Text,
    and_,
    bindparam,
    cast,
    delete,
    exists,
    func,
    insert,
    literal,
    not_,
    or_,
    select,
    true,
    tuple_,
    update,
)
from sqlalchemy.dialects import postgresql
from sqlalchemy.orm import aliased

from app.chat.models import IS_OPEN, MessageRow, PausedRunRow, RunEventsRow, RunRow, SessionCountRow, SessionRow
from app.chat.parts import Media, Part, from_stored, plain_text, to_stored
from app.chat.runs.events import Event, EventBatch, decode_events, encode_events
from app.chat.runs.reply import RunResult
from app.chat.values import (
    BOT_KEYS_PREFIX,
    KEYS_PREFIX,
    WEBCHAT,
    Message,
    MessageRole,
    MessageStatus,
    Run,
    RunStatus,
    Session,
    SessionFilter,
)
from app.database.prepared import Prepared
from app.database.tables import ENGINE_OPTIONS, MAX_INTEGER, value_of
from app.errors import BadRequest, Forbidden, NotFound
from app.text import CONTROL_CHARACTER
from app.usage.counters import Charge
from app.usage.reservations import correct, reservation_of, settle

EVENTS_KEPT = timedelta(hours=24)
TITLE_CHARS = 60


def _new_values(*columns: str) -> dict[str, Any]:
    """Parameters for an update: `new_status` for the column `status`, and so on."""
    return {column: bindparam(f"new_{column}") for column in columns}


# Sessions

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


# Messages

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
    .values(
        {
            name: bindparam(f"new_{name}")
            for name in ("status", "parts", "reasoning", "token_usage", "refs", "created_at")
        }
    )
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


def is_message_of(connection: Connection, session_id: str, message_id: int) -> bool:
    """Check that a message is shown in a session."""
    query = select(MessageRow.id).where(MessageRow.id == message_id, MessageRow.session_id == session_id, _IS_SHOWN)
    return connection.execute(query).first() is not None


def check_quotes(connection: Connection, session_id: str, message_ids: Sequence[int | str]) -> None:
    """Raises BadRequest unless each id is a message of that session: nothing else can be quoted."""
    if not message_ids:
        return
    ids: set[int] = set()
    for message_id in message_ids:
        text = str(message_id)
        if not (re.fullmatch(r"[0-9]{1,19}", text) and int(text) <= MAX_INTEGER):
            raise BadRequest(f"reply message not found: {text[:64]}", code="reply_not_found")
        ids.add(int(text))
    query = select(MessageRow.id).where(MessageRow.session_id == session_id, MessageRow.id.in_(ids), _IS_SHOWN)
    if missing := ids - set(connection.execute(query).scalars()):
        raise BadRequest(f"reply message not found: {min(missing)}", code="reply_not_found")


# Runs

_ADD_RUN = Prepared(insert(RunRow), Run.__struct_fields__)
_START_RUN = Prepared(
    update(RunRow)
    .where(RunRow.id == bindparam("run_id"), RunRow.status == RunStatus.QUEUED.value)
    .values(status=RunStatus.RUNNING.value, started_at=bindparam("moment"))
)
_ENDS = (
    "status",
    "error_code",
    "error",
    "provider_id",
    "model",
    "started_at",
    "finished_at",
    "input_tokens",
    "cached_tokens",
    "output_tokens",
    "cost",
    "first_token_ms",
)
"""What a run's end sets; a trigger adds it up in `usage`."""
_END_RUN = Prepared(update(RunRow).where(RunRow.id == bindparam("run_id"), IS_OPEN).values(_new_values(*_ENDS)))
# None for a run that is gone; the lock keeps it from going meanwhile. What was stored by a try whose outcome was not
# known is written over by the same and later events.
_NEW_EVENTS = postgresql.insert(RunEventsRow).from_select(
    ["run_id", "first", "events", "created_at"],
    select(
        RunRow.id,
        bindparam("first", type_=RunEventsRow.first.type),
        bindparam("events", type_=RunEventsRow.events.type),
        bindparam("created_at", type_=RunEventsRow.created_at.type),
    )
    .where(RunRow.id == bindparam("run_id"))
    .with_for_update(read=True, key_share=True),
)
_ADD_EVENTS = Prepared(
    _NEW_EVENTS.on_conflict_do_update(
        index_elements=[RunEventsRow.run_id, RunEventsRow.first], set_={"events": _NEW_EVENTS.excluded.events}
    )
)


class Progress(msgspec.Struct, frozen=True):
    """What a run has gained since it was last stored."""

    run_id: str
    started_at: datetime | None
    events: EventBatch


def add_run(connection: Connection, run: Run, opening: Sequence[Event]) -> None:
    """Add a run, and the first events of its log."""
    _ADD_RUN.change(connection, asdict(run))
    _add_events(connection, run.id, EventBatch(1, opening), run.created_at)


def open_among(connection: Connection, ids: Collection[str]) -> list[str]:
    """Return those of some runs that wait or go on."""
    return list(connection.scalars(select(RunRow.id).where(RunRow.id.in_(ids), IS_OPEN)))


def find_run(connection: Connection, run_id: str) -> Run | None:
    row = connection.execute(select(RunRow).where(RunRow.id == run_id)).first()
    return None if row is None else value_of(Run, row)


def open_runs(connection: Connection, session_id: str) -> list[Run]:
    """Return the runs of a session that wait or go on, in their order."""
    query = select(RunRow).where(RunRow.session_id == session_id, IS_OPEN).order_by(RunRow.created_at)
    return [value_of(Run, row) for row in connection.execute(query)]


def checkpoint_runs(connection: Connection, progress: Sequence[Progress], now: datetime) -> list[str]:
    """Store what running runs have gained; the ids of those that are gone."""
    return [each.run_id for each in progress if not add_progress(connection, each, now)]


def add_progress(connection: Connection, progress: Progress, now: datetime) -> bool:
    """Store what a run has gained; False when it is gone, with its session."""
    if not _add_events(connection, progress.run_id, progress.events, now):
        return False
    if progress.started_at is not None:
        _START_RUN.change(connection, {"run_id": progress.run_id, "moment": progress.started_at})
    return True


def enter_pause(connection: Connection, run: Run) -> None:
    """Mark a run as waiting for a person."""
    connection.execute(
        update(RunRow).where(RunRow.id == run.id, IS_OPEN).values(status=RunStatus.REQUIRES_ACTION.value)
    )


def leave_pause(connection: Connection, run_id: str) -> None:
    """Mark a run as going on: from now on its calls are carried out, and must not be after a crash."""
    is_paused = RunRow.status == RunStatus.REQUIRES_ACTION.value
    connection.execute(update(RunRow).where(RunRow.id == run_id, is_paused).values(status=RunStatus.RUNNING.value))
    connection.execute(delete(PausedRunRow).where(PausedRunRow.run_id == run_id))


EndHook = Callable[[Connection, Run, RunResult], None]
"""Writes more in the transaction that ends a bot's run."""


def end_run(
    connection: Connection, run: Run, result: RunResult, events: EventBatch, on_end: EndHook | None = None
) -> bool:
    """Store a run's end: its reply, its status and the rest of its log.

    False when the run is no longer open. `run` is as it is now. Its session is changed first: that orders the end among
    the session's other transactions. `on_end` is called for the runs of bots.
    """
    if run.session_id is not None:
        _TOUCH_SESSION.change(connection, {"session_id": run.session_id, "moment": result.ended_at})
    if _END_RUN.change(connection, _values_of_end(run, result)) == 0:
        if run.reservation is not None and find_run(connection, run.id) is None:
            _settle(connection, run, result)  # its session is gone, what it used is not
        return False
    _add_events(connection, run.id, events, result.ended_at)
    if run.status is RunStatus.REQUIRES_ACTION:
        connection.execute(delete(PausedRunRow).where(PausedRunRow.run_id == run.id))
    if run.session_id is not None:
        _store_reply(connection, run, result)
    if on_end is not None and run.key_id.startswith(BOT_KEYS_PREFIX):
        on_end(connection, run, result)
    # Last, as in the transactions that reserve: the counters of a key are locked for no longer than need be.
    if run.reservation is not None:
        _settle(connection, run, result)
    return True


def replace_end(connection: Connection, run: Run, result: RunResult, events: EventBatch) -> bool:
    """Store the end of a run whose server was taken for dead: the reply as far as that was known gives way to it.

    False when that is not what has ended the run.
    """
    is_lost = (RunRow.id == run.id) & (RunRow.owner == run.owner) & (RunRow.status == RunStatus.INTERRUPTED.value)
    columns = (RunRow.input_tokens, RunRow.output_tokens, RunRow.cost)
    stored = connection.execute(select(*columns).where(is_lost).with_for_update()).first()
    if stored is None:
        return False
    values = _values_of_end(run, result)
    connection.execute(update(RunRow).where(is_lost).values({name: values[f"new_{name}"] for name in _ENDS}))
    last = events.first + len(events.events) - 1
    connection.execute(delete(RunEventsRow).where(RunEventsRow.run_id == run.id, RunEventsRow.first > last))
    _add_events(connection, run.id, events, result.ended_at)
    if run.session_id is not None:
        _store_reply(connection, run, result)
    if run.reservation is not None:
        input_tokens, output_tokens, cost = (number or 0 for number in stored)
        charge = result.charge
        more = Charge(charge.tokens - input_tokens - output_tokens, charge.cost - cost)
        correct(connection, reservation_of(run.reservation), more, result.ended_at)
    return True


def _values_of_end(run: Run, result: RunResult) -> dict[str, Any]:
    return {
        "run_id": run.id,
        "new_status": result.status.value,
        "new_error_code": result.error_code,
        "new_error": result.error,
        "new_provider_id": run.provider_id,
        "new_model": run.model,
        "new_started_at": run.started_at,
        "new_finished_at": result.ended_at,
        "new_input_tokens": result.usage.prompt_tokens,
        "new_cached_tokens": result.usage.cached_tokens,
        "new_output_tokens": result.usage.completion_tokens,
        "new_cost": result.cost,
        "new_first_token_ms": None if result.first_token is None else round(result.first_token * 1000),
    }


def _settle(connection: Connection, run: Run, result: RunResult) -> None:
    if run.reservation is not None:
        settle(connection, reservation_of(run.reservation), run.id, result.charge, result.ended_at)


def run_events(connection: Connection, run_id: str, *, after: int = 0) -> list[tuple[int, Event]]:
    """Return a run's log as far as it is stored, numbered; empty when it is too old.

    With `after`, from about the event of that number on.
    """
    query = select(RunEventsRow).where(RunEventsRow.run_id == run_id).order_by(RunEventsRow.first)
    if after:
        newest = select(func.max(RunEventsRow.first)).where(RunEventsRow.run_id == run_id, RunEventsRow.first <= after)
        query = query.where(RunEventsRow.first >= func.coalesce(newest.scalar_subquery(), 0))
    return [
        (row.first + offset, event)
        for row in connection.execute(query)
        for offset, event in enumerate(decode_events(row.events))
    ]


def find_reply(connection: Connection, run: Run) -> Message | None:
    row = connection.execute(select(MessageRow).where(MessageRow.id == run.reply_message_id)).first()
    return None if row is None else value_of(Message, row)


def purge_events(connection: Connection, now: datetime) -> None:
    """Delete the logs of runs that ended more than EVENTS_KEPT ago; their messages remain."""
    over = select(RunRow.id).where(RunRow.finished_at < now - EVENTS_KEPT)
    connection.execute(
        delete(RunEventsRow).where(RunEventsRow.created_at < now - EVENTS_KEPT, RunEventsRow.run_id.in_(over))
    )


def _store_reply(connection: Connection, run: Run, result: RunResult) -> None:
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


def _add_events(connection: Connection, run_id: str, batch: EventBatch, now: datetime) -> bool:
    """Add events to a run's log; False when the run is gone."""
    if not batch.events:
        return True
    values = {"run_id": run_id, "first": batch.first, "events": encode_events(batch.events), "created_at": now}
    return _ADD_EVENTS.change(connection, values) == 1
