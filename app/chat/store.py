"""What the run engine keeps in the database: a run's opening, its checkpoints, its end, and those left behind."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import delete, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from app.chat.events import Event, decode_events, encode_events
from app.chat.models import (
    OPEN_STATUSES,
    MessageRow,
    MessageStatus,
    Run,
    RunEventsRow,
    RunRow,
    RunStatus,
    SessionRow,
    run_of,
)
from app.chat.parts import Text, ToolCallPart, to_stored
from app.kit.db import Database

LEASE = timedelta(seconds=15)
EVENTS_KEPT = timedelta(hours=24)

Numbered = Sequence[tuple[int, Event]]


@dataclass(frozen=True, slots=True)
class Outcome:
    """How and when a run ended, and what of its reply is kept. `token_usage` is what the model server counted."""

    status: RunStatus
    message_status: MessageStatus
    ended_at: datetime
    text: str
    reasoning: str = ""
    tool_calls: Sequence[ToolCallPart] = ()
    error_code: str | None = None
    error: str | None = None
    token_usage: Mapping[str, int] | None = None


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The events of a running run that are not in the database yet."""

    run_id: str
    started_at: datetime | None
    events: Numbered


class RunStore:
    """`owner` names this process: the runs it opens are its own until it ends them or its lease runs out."""

    def __init__(self, database: Database, owner: str) -> None:
        self._database = database
        self._owner = owner

    async def open(self, connection: AsyncConnection, run: Run, events: Numbered) -> None:
        """Write a new run and its first events, as part of the transaction that writes its message."""
        await connection.execute(
            insert(RunRow).values(
                id=run.id,
                session_id=run.session_id,
                username=run.username,
                key_id=run.key_id,
                status=run.status,
                streaming=run.streaming,
                user_message_id=run.user_message_id,
                reply_message_id=run.reply_message_id,
                message_id=run.message_id,
                config_id=run.config_id,
                provider_id=run.provider_id,
                model=run.model,
                owner=self._owner,
                leased_until=run.created_at + LEASE,
                created_at=run.created_at,
            )
        )
        await _add_events(connection, run.id, events, run.created_at)

    async def checkpoint(self, checkpoints: Sequence[Checkpoint], now: datetime) -> None:
        """Write what running runs have added, and renew the lease on all that this process holds."""
        async with self._database.write() as connection:
            for point in checkpoints:
                await _add_events(connection, point.run_id, point.events, now)
                if point.started_at is not None:
                    await connection.execute(
                        update(RunRow)
                        .where(RunRow.id == point.run_id, RunRow.status == RunStatus.QUEUED)
                        .values(status=RunStatus.RUNNING, started_at=point.started_at)
                    )
            await connection.execute(
                update(RunRow)
                .where(RunRow.owner == self._owner, RunRow.status.in_(OPEN_STATUSES))
                .values(leased_until=now + LEASE)
            )

    async def finish(
        self, run: Run, outcome: Outcome, events: Numbered, *, started_at: datetime | None, provider_id: str, model: str
    ) -> bool:
        """End a run: its reply, its status and the rest of its log, in one transaction.

        False when the run is no longer open: its session was deleted meanwhile, or it was ended by another process.
        """
        async with self._database.write() as connection:
            ended = await connection.execute(
                update(RunRow)
                .where(RunRow.id == run.id, RunRow.status.in_(OPEN_STATUSES))
                .values(
                    status=outcome.status,
                    error_code=outcome.error_code,
                    error=outcome.error,
                    provider_id=provider_id,
                    model=model,
                    started_at=started_at,
                    finished_at=outcome.ended_at,
                )
            )
            if ended.rowcount == 0:
                return False
            await _add_events(connection, run.id, events, outcome.ended_at)
            if run.session_id is not None:
                await _keep_reply(connection, run, outcome)
        return True

    async def left_behind(self, now: datetime, *, sole_owner: bool) -> list[Run]:
        """Open runs that no living process holds; with `sole_owner`, all that this process did not open."""
        lost = RunRow.owner != self._owner
        if not sole_owner:
            lost = lost & (RunRow.leased_until < now)
        query = select(RunRow).where(RunRow.status.in_(OPEN_STATUSES), lost).order_by(RunRow.created_at)
        async with self._database.read() as connection:
            return [run_of(row) for row in await connection.execute(query)]

    async def find(self, run_id: str) -> Run | None:
        async with self._database.read() as connection:
            row = (await connection.execute(select(RunRow).where(RunRow.id == run_id))).first()
        return None if row is None else run_of(row)

    async def events(self, run_id: str) -> list[tuple[int, Event]]:
        """What is stored of a run's log, in order; empty when it is too old."""
        query = select(RunEventsRow).where(RunEventsRow.run_id == run_id).order_by(RunEventsRow.first)
        async with self._database.read() as connection:
            rows = (await connection.execute(query)).all()
        return [(row.first + offset, event) for row in rows for offset, event in enumerate(decode_events(row.events))]

    async def reply(self, run: Run) -> Any:
        """The row of the message that the run made, or None when it is gone."""
        query = select(MessageRow).where(MessageRow.id == run.reply_message_id)
        async with self._database.read() as connection:
            return (await connection.execute(query)).first()

    async def purge_events(self, now: datetime) -> None:
        """Drop the logs of runs that ended more than EVENTS_KEPT ago: the messages remain."""
        over = select(RunRow.id).where(RunRow.finished_at < now - EVENTS_KEPT)
        async with self._database.write() as connection:
            await connection.execute(
                delete(RunEventsRow).where(RunEventsRow.created_at < now - EVENTS_KEPT, RunEventsRow.run_id.in_(over))
            )


async def _keep_reply(connection: AsyncConnection, run: Run, outcome: Outcome) -> None:
    said = [Text(outcome.text)] if outcome.text else []
    await connection.execute(
        update(MessageRow)
        .where(MessageRow.id == run.reply_message_id)
        .values(
            status=outcome.message_status,
            parts=to_stored([*said, *outcome.tool_calls]),
            reasoning=outcome.reasoning,
            token_usage=outcome.token_usage,
            created_at=outcome.ended_at,
        )
    )
    await connection.execute(
        update(SessionRow).where(SessionRow.id == run.session_id).values(updated_at=outcome.ended_at)
    )


async def _add_events(connection: AsyncConnection, run_id: str, events: Numbered, now: datetime) -> None:
    if not events:
        return
    await connection.execute(
        insert(RunEventsRow).values(
            run_id=run_id,
            first=events[0][0],
            events=encode_events([event for _, event in events]),
            created_at=now,
        )
    )
