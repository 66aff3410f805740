"""Approvals: calls of tools that wait for a person's yes or no, and the runs that are paused until then."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Literal
from uuid import uuid4

import msgspec
from sqlalchemy import ColumnElement, Connection, delete, exists, insert, literal, select, tuple_, update
from sqlalchemy.dialects import postgresql

from app.auth.models import Principal, is_reserved
from app.auth.scopes import Scope
from app.chat.models import ApprovalRow, PausedRunRow, RunRow
from app.chat.runs.events import ToolCall
from app.clock import utc_now
from app.cluster.bus import Bus
from app.database.engine import Database
from app.database.tables import value_of
from app.errors import Conflict, NotFound

APPROVAL_TIME = timedelta(hours=1)
POLL_SECONDS = 1.0
"""How soon a decision is seen that another server wrote."""

# Both databases have the clause, and SQLite's compiler takes PostgreSQL's word for it.
_ADD = postgresql.insert(ApprovalRow).on_conflict_do_nothing()

Decision = Literal["approved", "denied", "expired"]
ApprovalState = Literal["waiting", Decision]


class Approval(msgspec.Struct, frozen=True):
    """A call that waits for a decision, or has one; without one until `expires_at` it is a no."""

    id: str
    run_id: str
    call_id: str
    name: str
    arguments: str
    created_at: datetime
    expires_at: datetime
    decision: Decision | None = None
    reason: str | None = None
    decided_at: datetime | None = None

    @property
    def refusal(self) -> str:
        """The result of a call that was not approved, for the model."""
        if self.decision == "expired":
            return "Nobody approved the call in time; it was not carried out"
        return f"The call was not approved: {self.reason}" if self.reason else "The call was not approved"


class ListedApproval(msgspec.Struct, frozen=True):
    """An approval, and whose run it belongs to."""

    approval: Approval
    session_id: str | None
    username: str


class Approvals:
    """The approvals of all runs. Those who wait hear at once of decisions, over the bus of those made elsewhere."""

    def __init__(self, database: Database, bus: Bus) -> None:
        self._database = database
        self._bus = bus
        self._decided: dict[str, asyncio.Event] = {}
        bus.on("decided", self._hear_decision)

    async def decided(self, run_id: str) -> list[Approval]:
        """Wait until every approval of the run is decided, and return them all. What expires is decided by then."""
        event = self._decided.setdefault(run_id, asyncio.Event())
        try:
            while True:
                event.clear()
                approvals = await self._current(run_id)
                if all(each.decision is not None for each in approvals):
                    return approvals
                with suppress(TimeoutError):
                    await asyncio.wait_for(event.wait(), POLL_SECONDS)
        finally:
            self._decided.pop(run_id, None)

    async def decide(self, run_id: str, approval_id: str, *, approve: bool, reason: str | None) -> Approval:
        """Write a decision; the same one again is no error. Raises NotFound, Conflict for another one."""
        decision: Decision = "approved" if approve else "denied"
        now = utc_now()
        approval = await self._database.write(
            lambda connection: _decide(connection, run_id, approval_id, decision, reason, now)
        )
        self._hear_decision(run_id)
        self._bus.tell_all("decided", run_id)
        return approval

    def _hear_decision(self, run_id: str) -> None:
        if (event := self._decided.get(run_id)) is not None:
            event.set()

    async def of_run(self, run_id: str) -> list[Approval]:
        """Return the approvals of a run, in the order in which they were asked for."""
        return await self._database.read(lambda connection: list_approvals(connection, run_id))

    async def list_approvals(
        self,
        principal: Principal,
        *,
        username: str | None,
        state: ApprovalState | None,
        before: tuple[datetime, str] | None,
        limit: int,
    ) -> list[ListedApproval]:
        """List the approvals of a user's runs, the newest first; of the key's user, or with the scope admin of all.

        Those that nobody decided are left out when their time or their run is over. Raises Forbidden, BadRequest.
        """
        if username is None and principal.username is None:
            principal.check_scope(Scope.ADMIN)
        elif username is not None:
            principal.check_user(username)
        user = username or principal.username
        query = select(ApprovalRow, RunRow.session_id, RunRow.username).join(RunRow, RunRow.id == ApprovalRow.run_id)
        query = query.where(_in_state(state, utc_now()))
        if user is not None:
            query = query.where(RunRow.username == user)
            if is_reserved(user):  # several keys may have one name
                query = query.where(RunRow.key_id == principal.key_id)
        if before is not None:
            query = query.where(tuple_(ApprovalRow.created_at, ApprovalRow.id) < tuple_(*map(literal, before)))
        query = query.order_by(ApprovalRow.created_at.desc(), ApprovalRow.id.desc()).limit(limit)

        def read(connection: Connection) -> list[ListedApproval]:
            rows = connection.execute(query)
            return [ListedApproval(value_of(Approval, row), row.session_id, row.username) for row in rows]

        return await self._database.read(read)

    async def _current(self, run_id: str) -> list[Approval]:
        """Return the approvals of a run; those whose time is over are expired."""
        approvals = await self.of_run(run_id)
        now = utc_now()
        if any(each.decision is None and each.expires_at <= now for each in approvals):
            await self._database.write(lambda connection: _expire(connection, run_id, now))
            approvals = await self.of_run(run_id)
        return approvals


def new_approval(run_id: str, call: ToolCall) -> Approval:
    now = utc_now()
    return Approval(str(uuid4()), run_id, call.id, call.name, call.arguments, now, now + APPROVAL_TIME)


def add_approvals(connection: Connection, approvals: Sequence[Approval], plan: bytes) -> None:
    """Add the approvals of a run that pauses, and its plan.

    Those that are there were stored by a try whose outcome was not known, and may have been decided since.
    """
    run_id = approvals[0].run_id
    connection.execute(_ADD, [msgspec.structs.asdict(each) for each in approvals])
    connection.execute(delete(PausedRunRow).where(PausedRunRow.run_id == run_id))
    connection.execute(insert(PausedRunRow).values(run_id=run_id, plan=plan))


def list_approvals(connection: Connection, run_id: str) -> list[Approval]:
    rows = connection.execute(
        select(ApprovalRow).where(ApprovalRow.run_id == run_id).order_by(ApprovalRow.created_at, ApprovalRow.id)
    )
    return [value_of(Approval, row) for row in rows]


def _in_state(state: ApprovalState | None, now: datetime) -> ColumnElement[bool]:
    is_waiting = (
        ApprovalRow.decision.is_(None)
        & (ApprovalRow.expires_at > now)
        & exists().where(PausedRunRow.run_id == ApprovalRow.run_id)
    )
    if state == "waiting":
        return is_waiting
    return is_waiting | ApprovalRow.decision.is_not(None) if state is None else ApprovalRow.decision == state


def find_paused_plan(connection: Connection, run_id: str) -> bytes | None:
    plan: bytes | None = connection.execute(
        select(PausedRunRow.plan).where(PausedRunRow.run_id == run_id)
    ).scalar_one_or_none()
    return plan


def _decide(
    connection: Connection, run_id: str, approval_id: str, decision: Decision, reason: str | None, now: datetime
) -> Approval:
    this = (ApprovalRow.id == approval_id) & (ApprovalRow.run_id == run_id)
    is_paused = exists().where(PausedRunRow.run_id == run_id)
    connection.execute(
        update(ApprovalRow)
        .where(this, ApprovalRow.decision.is_(None), ApprovalRow.expires_at > now, is_paused)
        .values(decision=decision, reason=reason, decided_at=now)
    )
    row = connection.execute(select(ApprovalRow).where(this)).first()
    if row is None:
        raise NotFound("Approval not found", code="approval_not_found")
    approval = value_of(Approval, row)
    if approval.decision != decision:
        raise Conflict("The approval has been decided already, or its run is over", code="approval_decided")
    return approval


def _expire(connection: Connection, run_id: str, now: datetime) -> None:
    is_open = (ApprovalRow.run_id == run_id) & ApprovalRow.decision.is_(None) & (ApprovalRow.expires_at <= now)
    connection.execute(update(ApprovalRow).where(is_open).values(decision="expired", decided_at=now))
