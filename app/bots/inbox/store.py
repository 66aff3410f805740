"""Events and connections in the database: functions of a connection."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import Connection, delete, func, insert, or_, select, update
from sqlalchemy.dialects import postgresql, sqlite

from app.bots.adapters.inbound import InboundEvent
from app.bots.inbox.models import (
    EVENT_LEASE,
    LISTENER_LEASE,
    ChatRow,
    ConnectionState,
    ContextRow,
    EventRow,
    EventState,
    ListenerRow,
    LiveRow,
    Pairing,
    PairingRow,
    StoredEvent,
)
from app.bots.inbox.models import Connection as BotConnection
from app.bots.outbox.store import Lane, lift_pause
from app.crypto import SecretBox
from app.database.clock import moment_in
from app.database.prepared import Prepared
from app.database.tables import value_of

# Events

# Platforms report hundreds a second. Both databases have the clause, and SQLite's compiler takes PostgreSQL's word.
_ADD_EVENT = Prepared(
    postgresql.insert(EventRow).values(leased_until=moment_in(EVENT_LEASE)).on_conflict_do_nothing(),
    ("bot_id", "dedupe_key", "target", "platform_id", "event", "state", "reason", "attempts", "owner", "received_at"),
)


def add_events(
    connection: Connection,
    bot_id: str,
    events: Sequence[tuple[InboundEvent, str | None]],
    owner: str,
    now: datetime,
    secrets: SecretBox,
) -> list[tuple[InboundEvent, str | None]]:
    """Add events, each with the reason to ignore it if there is one; those that were not known yet."""
    added = []
    for event, reason in events:
        values = {
            "bot_id": bot_id,
            "dedupe_key": event.dedupe_key[:255],
            "target": event.target,
            "platform_id": event.platform_id[:255],
            "event": msgspec.to_builtins(event),
            "state": (EventState.NEW if reason is None else EventState.IGNORED).value,
            "reason": reason,
            "attempts": 0,
            "owner": owner,
            "received_at": now,
        }
        if _ADD_EVENT.change(connection, values) != 1:
            continue
        added.append((event, reason))
        lift_pause(connection, (bot_id, event.target), gone_only=True)
        if (offer := event.context) is not None:
            token = secrets.encrypt(offer.token.encode())
            context = {"token": token, "uses_left": offer.uses, "number": 0, "expires_at": offer.expires_at}
            connection.execute(insert(ContextRow).values(bot_id=bot_id, target=event.target, **context))
    return added


def next_events(connection: Connection, lane: Lane, owner: str) -> list[StoredEvent]:
    """Return the first new event of a lane, and those of its album; none while another server has them."""
    query = select(EventRow).where(
        EventRow.bot_id == lane[0], EventRow.target == lane[1], EventRow.state == EventState.NEW.value
    )
    rows = connection.execute(query.order_by(EventRow.id).limit(20)).all()
    if not rows or rows[0].owner != owner:
        return []
    album = rows[0].event.get("album")
    chosen = [row for row in rows if album is not None and row.event.get("album") == album] or rows[:1]
    return [value_of(StoredEvent, row) for row in chosen]


def end_events(
    connection: Connection,
    events: Sequence[StoredEvent],
    state: EventState,
    *,
    reason: str | None = None,
    run_id: str | None = None,
) -> None:
    ids = [event.id for event in events]
    values = {"state": state.value, "reason": reason, "run_id": run_id}
    connection.execute(update(EventRow).where(EventRow.id.in_(ids)).values(**values))


def postpone_events(connection: Connection, events: Sequence[StoredEvent]) -> None:
    ids = [event.id for event in events]
    values = {"attempts": EventRow.attempts + 1, "leased_until": moment_in(EVENT_LEASE)}
    connection.execute(update(EventRow).where(EventRow.id.in_(ids)).values(**values))


def adopt_lanes(connection: Connection, owner: str, *, at_start: bool, sole_owner: bool) -> list[Lane]:
    """Take over new events that nobody deals with; their lanes."""
    is_left = EventRow.leased_until < moment_in()
    if at_start:
        is_left = is_left | (EventRow.owner == owner)
    where = [EventRow.state == EventState.NEW.value]
    if not (at_start and sole_owner):
        where.append(is_left)
    values = {"owner": owner, "leased_until": moment_in(EVENT_LEASE)}
    query = update(EventRow).where(*where).values(**values).returning(EventRow.bot_id, EventRow.target)
    return list({(row.bot_id, row.target) for row in connection.execute(query)})


def find_run_of_message(connection: Connection, lane: Lane, platform_id: str) -> str | None:
    """Return the run that a message of the chat has led to."""
    query = select(EventRow.run_id).where(
        EventRow.bot_id == lane[0], EventRow.target == lane[1], EventRow.platform_id == platform_id
    )
    return connection.execute(query.limit(1)).scalar()


def find_message_of_run(connection: Connection, lane: Lane, run_id: str) -> str | None:
    """Return the platform's id of the message of the chat that has led to a run."""
    query = select(EventRow.platform_id).where(
        EventRow.bot_id == lane[0], EventRow.target == lane[1], EventRow.run_id == run_id, EventRow.platform_id != ""
    )
    return connection.execute(query.order_by(EventRow.id).limit(1)).scalar()


def purge(connection: Connection, before: datetime, now: datetime) -> None:
    """Delete events that were received before a time, and contexts that have expired."""
    connection.execute(delete(EventRow).where(EventRow.received_at < before, EventRow.state != EventState.NEW.value))
    connection.execute(delete(ContextRow).where(ContextRow.expires_at < now))


# Connections


def lease_listener(connection: Connection, bot_id: str, owner: str, now: datetime) -> bool:
    """Take or renew the right to hold a bot's connection; False while another server has it."""
    values = {"owner": owner, "leased_until": moment_in(LISTENER_LEASE)}
    is_free = or_(ListenerRow.owner.is_(None), ListenerRow.owner == owner, ListenerRow.leased_until < moment_in())
    query = update(ListenerRow).where(ListenerRow.bot_id == bot_id, is_free).values(**values)
    if connection.execute(query).rowcount == 1:
        return True
    dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
    first = {"bot_id": bot_id, "state": ConnectionState.CONNECTING.value, "since": now, "checkpoint": {}}
    added = dialect.insert(ListenerRow).values(**values, **first).on_conflict_do_nothing()
    return connection.execute(added).rowcount == 1


def release_listener(connection: Connection, bot_id: str, owner: str) -> None:
    connection.execute(
        update(ListenerRow)
        .where(ListenerRow.bot_id == bot_id, ListenerRow.owner == owner)
        .values(owner=None, leased_until=None)
    )


def save_connection(connection: Connection, bot_id: str, owner: str, now: datetime, **values: Any) -> None:
    """Store how a connection is; `since` moves when its state changes."""
    where = (ListenerRow.bot_id == bot_id, ListenerRow.owner == owner)
    current = connection.execute(select(ListenerRow.state).where(*where)).scalar()
    if "state" in values and values["state"] != current:
        values["since"] = now
    connection.execute(update(ListenerRow).where(*where).values(**values))


def save_checkpoint(connection: Connection, bot_id: str, checkpoint: Mapping[str, Any]) -> None:
    connection.execute(update(ListenerRow).where(ListenerRow.bot_id == bot_id).values(checkpoint=dict(checkpoint)))


def find_checkpoint(connection: Connection, bot_id: str) -> dict[str, Any]:
    found: dict[str, Any] | None = connection.execute(
        select(ListenerRow.checkpoint).where(ListenerRow.bot_id == bot_id)
    ).scalar()
    return found or {}


def find_connection(connection: Connection, bot_id: str) -> BotConnection | None:
    row = connection.execute(select(ListenerRow).where(ListenerRow.bot_id == bot_id)).first()
    return None if row is None else value_of(BotConnection, row)


# Contexts


def use_context(connection: Connection, lane: Lane, now: datetime) -> tuple[bytes, int, datetime] | None:
    """Use the newest right to reply in a chat once: its token, the number of the use, and when it expires."""
    query = select(ContextRow).where(
        ContextRow.bot_id == lane[0],
        ContextRow.target == lane[1],
        ContextRow.expires_at > now,
        ContextRow.uses_left > 0,
    )
    row = connection.execute(query.order_by(ContextRow.id.desc()).limit(1).with_for_update()).first()
    if row is None:
        return None
    values = {"uses_left": row.uses_left - 1, "number": row.number + 1}
    connection.execute(update(ContextRow).where(ContextRow.id == row.id).values(**values))
    return row.token, row.number + 1, row.expires_at


# Chats


def find_generation(connection: Connection, bot_id: str, chat: str) -> int:
    query = select(ChatRow.generation).where(ChatRow.bot_id == bot_id, ChatRow.chat == chat)
    return connection.execute(query).scalar() or 0


def next_generation(connection: Connection, bot_id: str, chat: str) -> int:
    """Begin a chat's session anew."""
    generation = find_generation(connection, bot_id, chat) + 1
    connection.execute(delete(ChatRow).where(ChatRow.bot_id == bot_id, ChatRow.chat == chat))
    connection.execute(insert(ChatRow).values(bot_id=bot_id, chat=chat, generation=generation))
    return generation


# Pairings


def find_pairing(connection: Connection, bot_id: str, sender_id: str) -> Pairing | None:
    query = select(PairingRow).where(PairingRow.bot_id == bot_id, PairingRow.sender_id == sender_id)
    row = connection.execute(query).first()
    return None if row is None else value_of(Pairing, row)


def add_pairing(
    connection: Connection, bot_id: str, sender_id: str, sender_name: str, code: str, now: datetime, limit: int
) -> None:
    """Add an open pairing; of more than `limit` open ones the oldest is dropped."""
    is_open = (PairingRow.bot_id == bot_id) & PairingRow.approved.is_(None)
    count = connection.execute(select(func.count()).select_from(PairingRow).where(is_open)).scalar_one()
    if count >= limit:
        oldest = select(PairingRow.code).where(is_open).order_by(PairingRow.created_at).limit(1).scalar_subquery()
        connection.execute(delete(PairingRow).where(PairingRow.bot_id == bot_id, PairingRow.code == oldest))
    values = {"sender_name": sender_name[:255], "code": code, "created_at": now}
    connection.execute(insert(PairingRow).values(bot_id=bot_id, sender_id=sender_id, **values))


def list_pairings(connection: Connection, bot_id: str) -> list[Pairing]:
    query = select(PairingRow).where(PairingRow.bot_id == bot_id).order_by(PairingRow.created_at, PairingRow.sender_id)
    return [value_of(Pairing, row) for row in connection.execute(query)]


def decide_pairing(connection: Connection, bot_id: str, code: str, approved: bool, now: datetime) -> Pairing | None:
    where = (PairingRow.bot_id == bot_id, PairingRow.code == code)
    connection.execute(update(PairingRow).where(*where).values(approved=approved, decided_at=now))
    row = connection.execute(select(PairingRow).where(*where)).first()
    return None if row is None else value_of(Pairing, row)


# Live replies


def lock_event(connection: Connection, event_id: int) -> StoredEvent | None:
    """Find an event and lock it: a run's end and the first message that shows its reply exclude each other."""
    row = connection.execute(select(EventRow).where(EventRow.id == event_id).with_for_update()).first()
    return None if row is None else value_of(StoredEvent, row)


def open_live(connection: Connection, run_id: str, lane: Lane, now: datetime) -> None:
    """Note that a reply is about to be shown."""
    connection.execute(
        insert(LiveRow).values(run_id=run_id, bot_id=lane[0], target=lane[1], platform_ids=[], opened_at=now)
    )


def save_live(connection: Connection, run_id: str, platform_ids: Sequence[str]) -> None:
    connection.execute(update(LiveRow).where(LiveRow.run_id == run_id).values(platform_ids=list(platform_ids)))


def find_live(connection: Connection, run_id: str) -> list[str] | None:
    """Return the messages in which a reply is shown; None if it is not shown."""
    return connection.execute(select(LiveRow.platform_ids).where(LiveRow.run_id == run_id)).scalar()


def forget_live(connection: Connection, run_id: str) -> None:
    connection.execute(delete(LiveRow).where(LiveRow.run_id == run_id))


# Bots


def forget_bot(connection: Connection, bot_id: str) -> None:
    """Delete what was known of a bot that is deleted; its events stay as long as others do."""
    for table in (ListenerRow, ContextRow, ChatRow, PairingRow):
        connection.execute(delete(table).where(table.bot_id == bot_id))
