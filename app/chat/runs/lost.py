"""Statements on open runs whose server is gone, or knows nothing of them, as functions of a connection."""

from collections.abc import Collection
from datetime import datetime

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


def list_unowned_runs(connection: Connection, owner: str, since: datetime, ids: Collection[str]) -> list[Run]:
    """Return the open runs of `owner` that were added before `since`, without those with these ids."""
    runs = _runs(connection, RunRow.owner == owner, RunRow.created_at < since)
    return [run for run in runs if run.id not in ids]


def take_run(connection: Connection, run: Run, owner: str) -> bool:
    """Give a paused run of a server that is gone to `owner`; False when another one was quicker."""
    is_left = (RunRow.id == run.id) & (RunRow.owner == run.owner)
    is_left &= RunRow.status == RunStatus.REQUIRES_ACTION.value
    return connection.execute(update(RunRow).where(is_left).values(owner=owner)).rowcount == 1


def _runs(connection: Connection, *conditions: ColumnElement[bool]) -> list[Run]:
    rows = connection.execute(select(RunRow).where(IS_OPEN, *conditions).order_by(RunRow.created_at))
    return [value_of(Run, row) for row in rows]
