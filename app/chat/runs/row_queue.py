"""The queues of sessions that several servers share: a session's open runs, in the database.

Who changes a session's row first has it to itself until its commit: an accepting transaction and one that ends a run do
so, and see each other's queue. A run whose turn has come has no place. A hint tells its server, which also looks once a
second.
"""

from typing import NamedTuple

from sqlalchemy import Connection, bindparam, select, text, update

from app.chat import run_store
from app.chat.commands import OnBusy
from app.chat.models import IS_OPEN, RunRow
from app.chat.runs.events import EventBatch
from app.chat.runs.queue import INTERRUPTED, SESSION_LIMIT, TOTAL_LIMIT, Ticket, check_room, session_is_busy
from app.chat.runs.reply import RunResult
from app.chat.values import Run
from app.cluster.bus import Bus

_QUEUE = (
    select(RunRow.id, RunRow.owner, RunRow.place)
    .where(RunRow.session_id == bindparam("session_id"), IS_OPEN)
    .order_by(RunRow.place.nulls_first())
)
# A run that has been asked to stop ends by itself, without a turn.
_PASS_ON = text(
    """
    UPDATE runs SET place = NULL WHERE id = (
        SELECT id FROM runs WHERE session_id = :session_id AND place IS NOT NULL AND stop_reason IS NULL
        AND status IN ('queued', 'running', 'requires_action') ORDER BY place LIMIT 1
    ) AND NOT EXISTS (
        SELECT FROM runs WHERE session_id = :session_id AND place IS NULL
        AND status IN ('queued', 'running', 'requires_action')
    ) RETURNING id, owner
    """
)


class _Next(NamedTuple):
    """A run that is to be told something, and the server that makes it."""

    run_id: str
    owner: str


class RowQueue:
    """The queues of all sessions, as the server `server_id` sees them.

    The limit of a session counts the runs that wait on all servers; `total_limit` those of this one. A run of this
    server that is interrupted from here is told by its engine, others over the bus.
    """

    def __init__(
        self,
        bus: Bus,
        server_id: str,
        session_limit: int = SESSION_LIMIT,
        total_limit: int = TOTAL_LIMIT,
        on_end: run_store.EndHook | None = None,
    ) -> None:
        self._on_end = on_end
        self._bus = bus
        self._server_id = server_id
        self._session_limit = session_limit
        self._total_limit = total_limit
        self._waiting: dict[str, Ticket] = {}
        self._next: dict[str, _Next] = {}
        self._interrupted: dict[str, _Next] = {}
        bus.on("turn", self.give_turn)

    @property
    def waiting(self) -> int:
        """The number of runs of this server that wait for their turn."""
        return len(self._waiting)

    def enter(self, connection: Connection, ticket: Ticket, on_busy: OnBusy) -> int | None:
        """Queue a run that is about to be added, and return its place; None when its turn has come.

        Raises Conflict, TooManyRequests. The transaction may be made again.
        """
        ticket.turn.clear()
        if ticket.key == ticket.run_id:  # it is of no session
            ticket.turn.set()
            return None
        queue = connection.execute(_QUEUE, {"session_id": ticket.key}).all()
        if not queue:
            ticket.turn.set()
            return None
        if on_busy is OnBusy.REJECT:
            raise session_is_busy()
        self._waiting.pop(ticket.run_id, None)
        check_room(len(queue), self.waiting, self._session_limit, self._total_limit)
        self._waiting[ticket.run_id] = ticket
        places = [row.place for row in queue if row.place is not None]
        if on_busy is not OnBusy.INTERRUPT:
            return max(places, default=0) + 1
        for row in queue:
            if row.place is None:
                connection.execute(update(RunRow).where(RunRow.id == row.id).values(stop_reason=INTERRUPTED))
                self._interrupted[ticket.run_id] = _Next(row.id, row.owner)
        return min(places, default=1) - 1

    def entered(self, ticket: Ticket) -> None:
        """Tell the run that the ticket's one interrupts, if any: both are committed."""
        if (interrupted := self._interrupted.pop(ticket.run_id, None)) is not None:
            self._bus.tell(interrupted.owner, "stop", [interrupted.run_id], INTERRUPTED)

    def reenter(self, ticket: Ticket) -> None:
        """Queue a run that goes on after a pause: its turn had come."""
        ticket.turn.set()

    def leave(self, ticket: Ticket) -> None:
        """Forget the ticket, and tell the run whose turn has come by the end of its run."""
        self._waiting.pop(ticket.run_id, None)
        self._interrupted.pop(ticket.run_id, None)
        self.ended(ticket.run_id)

    def end_run(self, connection: Connection, run: Run, result: RunResult, events: EventBatch) -> bool:
        """Store a run's end as `run_store.end_run` does, and give the next run of its session its turn."""
        self._next.pop(run.id, None)
        if not run_store.end_run(connection, run, result, events, self._on_end):
            return False
        if run.session_id is not None:
            row = connection.execute(_PASS_ON, {"session_id": run.session_id}).first()
            if row is not None:
                self._next[run.id] = _Next(row.id, row.owner)
        return True

    def ended(self, run_id: str) -> None:
        """Tell the run whose turn has come by the end of this one, which is committed."""
        if (next_run := self._next.pop(run_id, None)) is None:
            return
        if next_run.owner == self._server_id:
            self.give_turn(next_run.run_id)
        else:
            self._bus.tell(next_run.owner, "turn", next_run.run_id)

    def give_turn(self, run_id: str) -> None:
        """Let a run of this server begin, whose turn has come; one that has begun is no error."""
        if (ticket := self._waiting.pop(run_id, None)) is not None:
            ticket.turn.set()
