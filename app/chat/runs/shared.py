"""Statements on open runs that other servers are concerned with, as functions of a connection."""

from collections.abc import Collection
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import ColumnElement, Connection, select, update

from app.chat.models import IS_OPEN, RunRow
from app.chat.values import Run, RunStatus
from app.cluster import store as servers
from app.database.tables import value_of


def list_open_runs(connection: Connection) -> list[Run]:
    """Return all open runs, in the order in which they were accepted."""
    return _runs(connection)


def list_left_runs(connection: Connection, server_id: str) -> list[Run]:
    """Return the open runs that a server left at its last end, and those of servers that have signed off."""
    return _runs(connection, (RunRow.owner == server_id) | ~servers.is_known(RunRow.owner))


def list_lost_runs(connection: Connection) -> list[Run]:
    """Return the open runs of servers that are dead, or have signed off."""
    return _runs(connection, ~servers.is_live(RunRow.owner))


def list_unowned_runs(
    connection: Connection, owner: str, since: datetime, doubtful: Collection[str], ids: Collection[str]
) -> list[Run]:
    """Return the open runs of `owner` that were added before `since` or are doubtful, without those with these ids."""
    is_due = (RunRow.created_at < since) | RunRow.id.in_(doubtful)
    runs = _runs(connection, RunRow.owner == owner, is_due)
    return [run for run in runs if run.id not in ids]


class Standing(NamedTuple):
    """Where an open run stands: its place in its session's queue, and why it is to stop."""

    id: str
    place: int | None
    stop_reason: str | None


def list_standings(connection: Connection, owner: str) -> list[Standing]:
    """Return where the open runs of a server stand."""
    query = select(RunRow.id, RunRow.place, RunRow.stop_reason).where(IS_OPEN, RunRow.owner == owner)
    return [Standing(*row) for row in connection.execute(query)]


def existing_runs(connection: Connection, ids: Collection[str]) -> set[str]:
    """Return those of the ids that are runs."""
    return set(connection.scalars(select(RunRow.id).where(RunRow.id.in_(ids))))


class OwnedRun(NamedTuple):
    """An open run, and the server that makes it."""

    id: str
    owner: str


def ask_session_to_stop(connection: Connection, session_id: str, reason: str) -> list[OwnedRun]:
    """Ask the servers of a session's open runs to end them; the runs in the order of their turns."""
    # None of them is given its turn by the end of another meanwhile.
    return _ask_to_stop(connection, RunRow.session_id == session_id, reason)


def ask_run_to_stop(connection: Connection, run_id: str, reason: str) -> list[OwnedRun]:
    """Ask the server of an open run to end it; the run, unless it is over."""
    return _ask_to_stop(connection, RunRow.id == run_id, reason)


def is_open(connection: Connection, run_id: str) -> bool:
    return connection.execute(select(RunRow.id).where(RunRow.id == run_id, IS_OPEN)).first() is not None


def _ask_to_stop(connection: Connection, which: ColumnElement[bool], reason: str) -> list[OwnedRun]:
    statement = update(RunRow).where(which, IS_OPEN).values(stop_reason=reason)
    rows = list(connection.execute(statement.returning(RunRow.id, RunRow.owner, RunRow.place)))
    rows.sort(key=lambda row: (row.place is not None, row.place))
    return [OwnedRun(row.id, row.owner) for row in rows]


def take_run(connection: Connection, run: Run, owner: str) -> bool:
    """Give a paused run of a server that is gone to `owner`; False when another one was quicker."""
    is_left = (RunRow.id == run.id) & (RunRow.owner == run.owner)
    is_left &= RunRow.status == RunStatus.REQUIRES_ACTION.value
    return connection.execute(update(RunRow).where(is_left).values(owner=owner)).rowcount == 1


def _runs(connection: Connection, *conditions: ColumnElement[bool]) -> list[Run]:
    rows = connection.execute(select(RunRow).where(IS_OPEN, *conditions).order_by(RunRow.created_at))
    return [value_of(Run, row) for row in rows]
