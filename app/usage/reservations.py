"""Reserving and settling what a reply uses, in the transactions in which it is accepted and ends.

The counters of a key are one row, which is locked while they are compared with the limits: what passes on one server is
seen by all. A key without limits has no row.
"""

from collections.abc import Callable, Collection, Mapping
from datetime import datetime
from hashlib import sha256
from typing import Any

import msgspec
from msgspec import structs
from sqlalchemy import Connection, delete, func, literal, select, update
from sqlalchemy.dialects import postgresql

from app.auth.limits import KeyLimits, Rates
from app.database.clock import moment_in
from app.database.tables import UtcDateTime
from app.usage import counters as algorithm
from app.usage.counters import Charge, Counters, LimitReached, RateState, period_name, period_of, state_of
from app.usage.models import LimitCountersRow, UsageRow

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Counters).decode
# Both databases have the clause, and SQLite's compiler takes PostgreSQL's word for it.
_BEGIN = postgresql.insert(LimitCountersRow).on_conflict_do_nothing()


class Reservation(msgspec.Struct, frozen=True):
    """What a reply has reserved: `began` is the second in which it did, `subjects` whose counters have it.

    `periods` are the kinds of their budgets, empty for none.
    """

    subjects: list[str]
    periods: list[str]
    charge: Charge
    began: int


def reserve(
    connection: Connection,
    limits: KeyLimits,
    key_id: str,
    username: str,
    run_id: str,
    charge: Charge,
    now: datetime,
    open_among: Callable[[Collection[str]], Collection[str]],
) -> tuple[Reservation, RateState] | None:
    """Count a reply that begins, for its key and its user; None where nothing is to be counted.

    `open_among` finds those of some runs that go on. `now` is this server's time: where several share the database, its
    own time counts. Raises LimitReached.
    """
    subjects: list[tuple[str, Rates]] = []
    if limits.is_bounded:
        subjects.append((f"key:{key_id}", limits))
    if limits.per_user is not None and limits.per_user.is_bounded:
        subjects.append((user_subject(key_id, username), limits.per_user))
    states: list[RateState] = []
    for subject, rates in subjects:  # in one order, so that two requests do not wait for each other
        counters, now = _locked(connection, subject, now)
        counters = _in_period(connection, counters, rates, key_id, subject, now)
        try:
            counters = algorithm.admit(counters, rates, run_id, charge, now)
        except LimitReached as error:
            # A run that went with its session has not settled.
            remaining = open_among(counters.open) if error.is_of_open else counters.open
            if len(remaining) == len(counters.open):
                error.headers |= state_of(counters, rates, now).headers
                raise
            counters = structs.replace(counters, open={id: counters.open[id] for id in remaining})
            counters = algorithm.admit(counters, rates, run_id, charge, now)
        _store(connection, subject, counters, now)
        states.append(state_of(counters, rates, now))
    if not subjects:
        return None
    periods = ["" if rates.budget is None else rates.budget.per for _, rates in subjects]
    reservation = Reservation([subject for subject, _ in subjects], periods, charge, int(now.timestamp()))
    return reservation, states[0]


def settle(connection: Connection, reservation: Reservation, run_id: str, actual: Charge, now: datetime) -> None:
    """Replace a reply's reservation by what it has used."""
    for subject, per in zip(reservation.subjects, reservation.periods, strict=True):
        counters, now, period = _settling(connection, subject, per, now)
        counters = algorithm.settle(counters, run_id, reservation.charge, actual, reservation.began, now, period)
        _store(connection, subject, counters, now)


def correct(connection: Connection, reservation: Reservation, more: Charge, now: datetime) -> None:
    """Add what a reply that is settled has used beyond that, or take away what it has not."""
    for subject, per in zip(reservation.subjects, reservation.periods, strict=True):
        counters, now, period = _settling(connection, subject, per, now)
        _store(connection, subject, algorithm.correct(counters, more, now, period), now)


def reservation_of(value: Mapping[str, Any]) -> Reservation:
    """Return the reservation that is stored with a run."""
    return msgspec.convert(value, Reservation)


def purge(connection: Connection, before: datetime) -> None:
    """Delete the counters that nothing has used since."""
    connection.execute(delete(LimitCountersRow).where(LimitCountersRow.updated_at < before))


def user_subject(key_id: str, username: str) -> str:
    return f"user:{key_id}:{sha256(username.encode('utf-8', 'surrogatepass')).hexdigest()[:32]}"


def _settling(connection: Connection, subject: str, per: str, now: datetime) -> tuple[Counters, datetime, str]:
    """Read and lock counters in order to settle; with the time, and the name of the budget's present period."""
    counters, now = _locked(connection, subject, now)
    period = f"{per} {period_of(per, now)[0]:%Y-%m-%d}" if per else ""  # type: ignore[arg-type]
    if counters.period != period and counters.period.startswith(f"{per} ") and not subject.startswith("key:"):
        counters = structs.replace(counters, period=period, spent=Charge())
    return counters, now, period


def _locked(connection: Connection, subject: str, now: datetime) -> tuple[Counters, datetime]:
    """Read counters, and lock them where the database has more than one writer; with the time by which they count.

    That is the database's where several servers may share it, whose clocks differ.
    """
    is_shared = connection.dialect.name == "postgresql"
    query = select(LimitCountersRow.counters, moment_in() if is_shared else literal(now, UtcDateTime()))
    query = query.where(LimitCountersRow.subject == subject).with_for_update()
    row = connection.execute(query).first()
    if row is None:
        connection.execute(_BEGIN, {"subject": subject, "counters": _encode(Counters()), "updated_at": now})
        row = connection.execute(query).one()
    return _decode(row[0]), row[1]


def _store(connection: Connection, subject: str, counters: Counters, now: datetime) -> None:
    row = update(LimitCountersRow).where(LimitCountersRow.subject == subject)
    connection.execute(row.values(counters=_encode(counters), updated_at=now))


def _in_period(
    connection: Connection, counters: Counters, rates: Rates, key_id: str, subject: str, now: datetime
) -> Counters:
    """Begin a new period of the budget, with what the key has used in it before the budget was set."""
    period = period_name(rates, now)
    if period == counters.period:
        return counters
    spent = Charge()
    if rates.budget is not None and subject.startswith("key:"):
        start, _ = period_of(rates.budget.per, now)
        columns = (UsageRow.input_tokens + UsageRow.output_tokens, UsageRow.cost)
        sums = select(*(func.coalesce(func.sum(column), 0) for column in columns))
        row = connection.execute(sums.where(UsageRow.key_id == key_id, UsageRow.day >= f"{start:%Y-%m-%d}")).one()
        spent = Charge(int(row[0]), int(row[1]))
    return structs.replace(counters, period=period, spent=spent)
