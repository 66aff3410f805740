"""Deliveries in the database: functions of a connection."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from msgspec.structs import replace
from sqlalchemy import ColumnElement, Connection, and_, case, delete, func, insert, or_, select, update

from app.bots.outbox.models import (
    CALLBACK_LEASE,
    LEASE,
    OPEN_STATES,
    Delivery,
    DeliveryRow,
    DeliveryState,
    FragmentRow,
    FragmentState,
    PauseReason,
    PauseRow,
    StoredFragment,
)
from app.database.clock import moment_in
from app.database.tables import value_of

Lane = tuple[str, str]
"""A bot, and a target: what is sent there is sent in order."""

_OPEN = DeliveryRow.state.in_([state.value for state in OPEN_STATES])
_CALLBACK_IS_DUE = DeliveryRow.callback_at <= moment_in()


def add_delivery(connection: Connection, values: Mapping[str, Any], fragments: Sequence[Mapping[str, Any]]) -> int:
    """Add a delivery and its fragments; its number. Raises IntegrityError for a second one with its message key."""
    seq: int = connection.execute(insert(DeliveryRow).values(**values).returning(DeliveryRow.seq)).scalar_one()
    add_fragments(connection, seq, fragments)
    return seq


def add_fragments(connection: Connection, seq: int, fragments: Sequence[Mapping[str, Any]]) -> None:
    if fragments:
        connection.execute(insert(FragmentRow), [{"message_seq": seq, **fragment} for fragment in fragments])


def find_delivery(connection: Connection, delivery_id: str) -> Delivery | None:
    if "\0" in delivery_id:
        return None
    row = connection.execute(select(DeliveryRow).where(DeliveryRow.id == delivery_id)).first()
    return None if row is None else _with_fragments(connection, [value_of(Delivery, row)])[0]


def find_by_key(connection: Connection, bot_id: str, message_key: str) -> Delivery | None:
    query = select(DeliveryRow).where(DeliveryRow.bot_id == bot_id, DeliveryRow.message_key == message_key)
    row = connection.execute(query).first()
    return None if row is None else _with_fragments(connection, [value_of(Delivery, row)])[0]


def list_deliveries(
    connection: Connection,
    *,
    bot_id: str | None,
    target: str | None,
    state: DeliveryState | None,
    before: int | None,
    limit: int,
) -> list[Delivery]:
    """List deliveries, the newest first, numbered below `before`."""
    query = select(DeliveryRow).order_by(DeliveryRow.seq.desc()).limit(limit)
    if bot_id is not None:
        query = query.where(DeliveryRow.bot_id == bot_id)
    if target is not None:
        query = query.where(DeliveryRow.target == target)
    if state is not None:
        query = query.where(DeliveryRow.state == state.value)
    if before is not None:
        query = query.where(DeliveryRow.seq < before)
    return _with_fragments(connection, [value_of(Delivery, row) for row in connection.execute(query)])


def release_reply(connection: Connection, lane: Lane, message_key: str, live_ids: Sequence[str], now: datetime) -> None:
    """Let a reply be sent over the messages in which it was shown."""
    connection.execute(
        update(DeliveryRow)
        .where(DeliveryRow.bot_id == lane[0], DeliveryRow.message_key == message_key)
        .where(DeliveryRow.state == DeliveryState.QUEUED.value, DeliveryRow.attempts == 0)
        .values(live_ids=list(live_ids) or None, not_before=now)
    )


def find_message_key(connection: Connection, lane: Lane, platform_id: str) -> str | None:
    """Return the key of the message that people see under the platform's id."""
    query = (
        select(DeliveryRow.message_key)
        .join(FragmentRow, FragmentRow.message_seq == DeliveryRow.seq)
        .where(FragmentRow.platform_id == platform_id, DeliveryRow.bot_id == lane[0], DeliveryRow.target == lane[1])
    )
    return connection.execute(query.limit(1)).scalar()


def find_head(connection: Connection, lane: Lane) -> Delivery | None:
    """Find the first open delivery of a lane."""
    query = select(DeliveryRow).where(DeliveryRow.bot_id == lane[0], DeliveryRow.target == lane[1], _OPEN)
    row = connection.execute(query.order_by(DeliveryRow.seq).limit(1)).first()
    return None if row is None else _with_fragments(connection, [value_of(Delivery, row)])[0]


def find_pause(connection: Connection, lane: Lane, now: datetime) -> PauseRow | None:
    """Find the pause of a chat or of its bot that lasts longest."""
    query = select(PauseRow.until, PauseRow.reason, PauseRow.error).where(
        PauseRow.bot_id == lane[0], PauseRow.target.in_((lane[1], "")), PauseRow.until > now
    )
    row: Any = connection.execute(query.order_by(PauseRow.until.desc()).limit(1)).first()
    return row  # type: ignore[no-any-return]


def add_pause(
    connection: Connection, lane: Lane, until: datetime, reason: PauseReason, error: str, now: datetime
) -> None:
    """Let a chat, or with an empty target a bot, take nothing until a time."""
    lift_pause(connection, lane)
    connection.execute(
        insert(PauseRow).values(
            bot_id=lane[0], target=lane[1], until=until, reason=reason.value, error=error, created_at=now
        )
    )


def lift_pause(connection: Connection, lane: Lane, *, gone_only: bool = False) -> None:
    """End the pause of a chat or bot; with `gone_only`, only that of a chat that was taken for gone."""
    query = delete(PauseRow).where(PauseRow.bot_id == lane[0], PauseRow.target == lane[1])
    if gone_only:
        query = query.where(PauseRow.reason == PauseReason.TARGET_GONE.value)
    connection.execute(query)


def lease(connection: Connection, delivery: Delivery, owner: str) -> bool:
    """Take a queued delivery, or one whose server has lost it; False when another server was quicker."""
    is_free = or_(
        DeliveryRow.state == DeliveryState.QUEUED.value,
        and_(
            DeliveryRow.state == DeliveryState.SENDING.value,
            or_(DeliveryRow.owner == owner, DeliveryRow.leased_until < moment_in()),
        ),
    )
    values = {
        "state": DeliveryState.SENDING.value,
        "owner": owner,
        "leased_until": moment_in(LEASE),
        "attempts": DeliveryRow.attempts + 1,
    }
    query = update(DeliveryRow).where(DeliveryRow.seq == delivery.seq, is_free).values(**values)
    return connection.execute(query).rowcount == 1


def is_leased(connection: Connection, delivery: Delivery, owner: str) -> bool:
    """Check whether another server is sending the delivery."""
    query = select(DeliveryRow.seq).where(
        DeliveryRow.seq == delivery.seq,
        DeliveryRow.state == DeliveryState.SENDING.value,
        DeliveryRow.owner != owner,
        DeliveryRow.leased_until >= moment_in(),
    )
    return connection.execute(query).first() is not None


def renew_leases(connection: Connection, owner: str, seqs: Sequence[int]) -> None:
    connection.execute(
        update(DeliveryRow)
        .where(DeliveryRow.owner == owner, DeliveryRow.seq.in_(seqs), DeliveryRow.state == DeliveryState.SENDING.value)
        .values(leased_until=moment_in(LEASE))
    )


def begin_fragment(connection: Connection, fragment: StoredFragment, now: datetime) -> None:
    """Mark a fragment as being sent: committed before the request is written."""
    _save_fragment(
        connection,
        fragment,
        state=FragmentState.SENDING.value,
        attempts=FragmentRow.attempts + 1,
        first_tried_at=func.coalesce(FragmentRow.first_tried_at, now),
    )


def end_fragment(connection: Connection, fragment: StoredFragment, **values: Any) -> None:
    """Store how the try of a fragment ended."""
    _save_fragment(connection, fragment, **values)


def _save_fragment(connection: Connection, fragment: StoredFragment, **values: Any) -> None:
    place = (FragmentRow.message_seq == fragment.message_seq, FragmentRow.no == fragment.no)
    connection.execute(update(FragmentRow).where(*place).values(**values))


def save_delivery(connection: Connection, seq: int, **values: Any) -> None:
    connection.execute(update(DeliveryRow).where(DeliveryRow.seq == seq).values(**values))


def delete_delivery(connection: Connection, seq: int) -> None:
    connection.execute(delete(FragmentRow).where(FragmentRow.message_seq == seq))
    connection.execute(delete(DeliveryRow).where(DeliveryRow.seq == seq))


def doubt_leftovers(connection: Connection, delivery: Delivery) -> None:
    """Mark what a crash left in the middle of sending as unknown: it may have arrived."""
    connection.execute(
        update(FragmentRow)
        .where(FragmentRow.message_seq == delivery.seq, FragmentRow.state == FragmentState.SENDING.value)
        .values(state=FragmentState.UNKNOWN.value, error="The server stopped while it was sending")
    )


def list_due_lanes(
    connection: Connection, owner: str, now: datetime, *, at_start: bool, sole_owner: bool
) -> list[Lane]:
    """List the lanes with something to do; at its start a sole owner finds what its predecessor was sending."""
    is_lost = and_(DeliveryRow.state == DeliveryState.SENDING.value, DeliveryRow.leased_until < moment_in())
    if at_start:
        leftovers = DeliveryRow.state == DeliveryState.SENDING.value
        is_lost = leftovers if sole_owner else or_(is_lost, and_(leftovers, DeliveryRow.owner == owner))
    is_due = and_(
        DeliveryRow.state == DeliveryState.QUEUED.value, or_(DeliveryRow.not_before <= now, DeliveryRow.deadline <= now)
    )
    query = select(DeliveryRow.bot_id, DeliveryRow.target).where(or_(is_due, is_lost)).distinct()
    return [(row.bot_id, row.target) for row in connection.execute(query)]


def free_lost(connection: Connection, owner: str, *, sole_owner: bool) -> None:
    """Let this server take over, at its start, what it was sending when it ended before."""
    query = update(DeliveryRow).where(DeliveryRow.state == DeliveryState.SENDING.value)
    if not sole_owner:
        query = query.where(DeliveryRow.owner == owner)
    connection.execute(query.values(owner=owner))


def purge(connection: Connection, before: datetime) -> None:
    """Delete deliveries that ended before a time."""
    old = select(DeliveryRow.seq).where(DeliveryRow.finished_at < before)
    connection.execute(delete(FragmentRow).where(FragmentRow.message_seq.in_(old)))
    connection.execute(delete(DeliveryRow).where(DeliveryRow.finished_at < before))


def _with_fragments(connection: Connection, deliveries: Sequence[Delivery]) -> list[Delivery]:
    seqs = [delivery.seq for delivery in deliveries]
    query = select(FragmentRow).where(FragmentRow.message_seq.in_(seqs)).order_by(FragmentRow.no)
    fragments: dict[int, list[StoredFragment]] = {seq: [] for seq in seqs}
    for row in connection.execute(query) if seqs else ():
        fragments[row.message_seq].append(value_of(StoredFragment, row))
    return [replace(delivery, fragments=fragments[delivery.seq]) for delivery in deliveries]


def is_held(connection: Connection, seq: int, owner: str) -> bool:
    """Check whether `owner` still holds a delivery, and lock it, where the database has more than one writer."""
    query = select(DeliveryRow.seq).where(
        DeliveryRow.seq == seq, DeliveryRow.state == DeliveryState.SENDING.value, DeliveryRow.owner == owner
    )
    return connection.execute(query.with_for_update()).first() is not None


def now_if_callback() -> ColumnElement[datetime | None]:
    """The value of `callback_at` for a delivery that ends: now, if it has a callback."""
    return case((DeliveryRow.callback.is_not(None), moment_in()), else_=None)


def has_due_callbacks(connection: Connection) -> bool:
    return connection.execute(select(DeliveryRow.seq).where(_CALLBACK_IS_DUE).limit(1)).first() is not None


def take_callbacks(connection: Connection, limit: int) -> list[Delivery]:
    """Take deliveries whose callback is due, until their lease is over; those that were tried least come first."""
    query = select(DeliveryRow.seq).where(_CALLBACK_IS_DUE)
    query = query.order_by(DeliveryRow.callback_tries, DeliveryRow.callback_at).limit(limit)
    seqs = list(connection.scalars(query.with_for_update(skip_locked=True)))
    values = {"callback_at": moment_in(CALLBACK_LEASE), "callback_tries": DeliveryRow.callback_tries + 1}
    connection.execute(update(DeliveryRow).where(DeliveryRow.seq.in_(seqs)).values(**values))
    taken = select(DeliveryRow).where(DeliveryRow.seq.in_(seqs))
    return _with_fragments(connection, [value_of(Delivery, row) for row in connection.execute(taken)])


def end_callback(connection: Connection, delivery: Delivery, wait: timedelta | None) -> None:
    """Try a callback again after a while, or never; nothing if the delivery has been queued again or lost meanwhile."""
    connection.execute(
        update(DeliveryRow)
        .where(DeliveryRow.seq == delivery.seq, DeliveryRow.callback_at == delivery.callback_at)
        .values(callback_at=None if wait is None else moment_in(wait))
    )
