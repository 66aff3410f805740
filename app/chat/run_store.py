"""Every statement on runs and the events of their logs, as functions of a connection."""

from collections.abc import Callable, Collection, Sequence
from datetime import datetime, timedelta
from typing import Any

import msgspec
from msgspec.structs import asdict
from sqlalchemy import Connection, bindparam, delete, func, insert, select, update
from sqlalchemy.dialects import postgresql

from app.chat.message_store import store_reply
from app.chat.models import IS_OPEN, PausedRunRow, RunEventsRow, RunRow
from app.chat.runs.events import Event, EventBatch, decode_events, encode_events
from app.chat.runs.reply import RunResult
from app.chat.session_store import touch_session
from app.chat.values import BOT_KEYS_PREFIX, Run, RunStatus
from app.database.prepared import Prepared, new_values
from app.database.tables import value_of
from app.usage.counters import Charge
from app.usage.reservations import correct, reservation_of, settle

EVENTS_KEPT = timedelta(hours=24)

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
_END_RUN = Prepared(update(RunRow).where(RunRow.id == bindparam("run_id"), IS_OPEN).values(new_values(*_ENDS)))
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
        touch_session(connection, run.session_id, result.ended_at)
    if _END_RUN.change(connection, _values_of_end(run, result)) == 0:
        if run.reservation is not None and find_run(connection, run.id) is None:
            _settle(connection, run, result)  # its session is gone, what it used is not
        return False
    _add_events(connection, run.id, events, result.ended_at)
    if run.status is RunStatus.REQUIRES_ACTION:
        connection.execute(delete(PausedRunRow).where(PausedRunRow.run_id == run.id))
    if run.session_id is not None:
        store_reply(connection, run, result)
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
        store_reply(connection, run, result)
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


def purge_events(connection: Connection, now: datetime) -> None:
    """Delete the logs of runs that ended more than EVENTS_KEPT ago; their messages remain."""
    over = select(RunRow.id).where(RunRow.finished_at < now - EVENTS_KEPT)
    connection.execute(
        delete(RunEventsRow).where(RunEventsRow.created_at < now - EVENTS_KEPT, RunEventsRow.run_id.in_(over))
    )


def _add_events(connection: Connection, run_id: str, batch: EventBatch, now: datetime) -> bool:
    """Add events to a run's log; False when the run is gone."""
    if not batch.events:
        return True
    values = {"run_id": run_id, "first": batch.first, "events": encode_events(batch.events), "created_at": now}
    return _ADD_EVENTS.change(connection, values) == 1
