"""What the run engine keeps in the database: a run's opening, its checkpoints, its end, and those left behind."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import msgspec
from sqlalchemy import Connection, Select, delete, select

from app.chat import statements
from app.chat.models import MessageRow, RunEventsRow, RunRow
from app.chat.parts import Text, ToolCallPart, to_stored
from app.chat.runs.events import Event, EventBatch, Ref, decode_events, encode_events
from app.chat.values import OPEN_STATUSES, MessageStatus, Run, RunStatus, run_of
from app.database.engine import Database

LEASE = timedelta(seconds=15)
EVENTS_KEPT = timedelta(hours=24)


@dataclass(frozen=True, slots=True)
class RunResult:
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
    refs: Sequence[Ref] = ()


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The events of a running run that are not in the database yet."""

    run_id: str
    started_at: datetime | None
    added: EventBatch


class RunStore:
    """`owner` names this process: the runs it opens are its own until it ends them or its lease runs out."""

    def __init__(self, database: Database, owner: str) -> None:
        self._database = database
        self._owner = owner

    def open(self, connection: Connection, run: Run, opening: Sequence[Event]) -> None:
        """Write a new run and its first events, as part of the transaction that writes its message."""
        statements.ADD_RUN.change(
            connection,
            id=run.id,
            session_id=run.session_id,
            username=run.username,
            key_id=run.key_id,
            status=run.status.value,
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
        _add_events(connection, run.id, EventBatch(1, opening), run.created_at)

    async def checkpoint(self, checkpoints: Sequence[Checkpoint], now: datetime) -> None:
        """Write what running runs have added, and renew the lease on all that this process holds."""

        def write(connection: Connection) -> None:
            for point in checkpoints:
                _add_events(connection, point.run_id, point.added, now)
                if point.started_at is not None:
                    statements.START_RUN.change(
                        connection,
                        run_id=point.run_id,
                        before=RunStatus.QUEUED.value,
                        status=RunStatus.RUNNING.value,
                        started_at=point.started_at,
                    )
            statements.RENEW_LEASES.change(connection, holder=self._owner, leased_until=now + LEASE)

        await self._database.write(write)

    async def finish(
        self,
        run: Run,
        outcome: RunResult,
        events: EventBatch,
        *,
        started_at: datetime | None,
        provider_id: str,
        model: str,
    ) -> bool:
        """End a run: its reply, its status and the rest of its log, in one transaction.

        False when the run is no longer open: its session was deleted meanwhile, or it was ended by another process.
        """

        def write(connection: Connection) -> bool:
            ended = statements.END_RUN.change(
                connection,
                run_id=run.id,
                status=outcome.status.value,
                error_code=outcome.error_code,
                error=outcome.error,
                provider_id=provider_id,
                model=model,
                started_at=started_at,
                finished_at=outcome.ended_at,
            )
            if ended == 0:
                return False
            _add_events(connection, run.id, events, outcome.ended_at)
            if run.session_id is not None:
                _keep_reply(connection, run, outcome)
            return True

        return await self._database.write(write)

    async def left_behind(self, now: datetime, *, sole_owner: bool) -> list[Run]:
        """Open runs that no living process holds; with `sole_owner`, all that this process did not open."""
        lost = RunRow.owner != self._owner
        if not sole_owner:
            lost = lost & (RunRow.leased_until < now)
        query = select(RunRow).where(RunRow.status.in_(OPEN_STATUSES), lost).order_by(RunRow.created_at)
        return [run_of(row) for row in await self._rows(query)]

    async def find(self, run_id: str) -> Run | None:
        rows = await self._rows(select(RunRow).where(RunRow.id == run_id))
        return run_of(rows[0]) if rows else None

    async def events(self, run_id: str) -> list[tuple[int, Event]]:
        """What is stored of a run's log, in order; empty when it is too old."""
        query = select(RunEventsRow).where(RunEventsRow.run_id == run_id).order_by(RunEventsRow.first)
        rows = await self._rows(query)
        return [(row.first + offset, event) for row in rows for offset, event in enumerate(decode_events(row.events))]

    async def reply(self, run: Run) -> Any:
        """The row of the message that the run made, or None when it is gone."""
        rows = await self._rows(select(MessageRow).where(MessageRow.id == run.reply_message_id))
        return rows[0] if rows else None

    async def purge_events(self, now: datetime) -> None:
        """Drop the logs of runs that ended more than EVENTS_KEPT ago: the messages remain."""
        over = select(RunRow.id).where(RunRow.finished_at < now - EVENTS_KEPT)
        async with self._database.write_block() as connection:
            await connection.execute(
                delete(RunEventsRow).where(RunEventsRow.created_at < now - EVENTS_KEPT, RunEventsRow.run_id.in_(over))
            )

    async def _rows(self, query: Select[Any]) -> Sequence[Any]:
        return await self._database.read(lambda connection: connection.execute(query).all())


def _keep_reply(connection: Connection, run: Run, outcome: RunResult) -> None:
    said = [Text(outcome.text)] if outcome.text else []
    statements.KEEP_REPLY.change(
        connection,
        message_id=run.reply_message_id,
        status=outcome.message_status.value,
        parts=to_stored([*said, *outcome.tool_calls]),
        reasoning=outcome.reasoning,
        token_usage=outcome.token_usage,
        refs=[msgspec.structs.asdict(ref) for ref in outcome.refs] or None,
        created_at=outcome.ended_at,
    )
    statements.TOUCH_SESSION.change(connection, session_id=run.session_id, updated_at=outcome.ended_at)


def _add_events(connection: Connection, run_id: str, added: EventBatch, now: datetime) -> None:
    if added.events:
        stored = encode_events(added.events)
        statements.ADD_EVENTS.change(connection, run_id=run_id, first=added.first, events=stored, created_at=now)
