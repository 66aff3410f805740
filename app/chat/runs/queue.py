"""One run at a time in a session, first come first served: the queues of one server, which has its sessions to itself.

Tickets enter in the transaction that numbers their message, which may run in the database's thread, and leave on the
event loop. An idle session keeps nothing.
"""

import asyncio
import threading
from dataclasses import dataclass, field
from typing import Protocol

from sqlalchemy import Connection

from app.chat import run_store
from app.chat.commands import OnBusy
from app.chat.runs.events import EventBatch
from app.chat.runs.reply import RunResult
from app.chat.values import Run
from app.errors import Conflict, TooManyRequests

INTERRUPTED = "The reply was interrupted by another message"
"""The reason for which a message ends the reply before it."""
SESSION_LIMIT = 16
TOTAL_LIMIT = 10_000


@dataclass(frozen=True, slots=True, eq=False)
class Ticket:
    """The place of a run in the queue named `key`, a session's id or its own; `turn` is set when it is first."""

    key: str
    run_id: str
    turn: asyncio.Event = field(default_factory=asyncio.Event)


class Turns(Protocol):
    """The queues of sessions: in memory, or as rows that several servers share (`RowQueue`).

    The limits count the runs that wait, not the first of each queue.
    """

    @property
    def waiting(self) -> int:
        """The number of runs of this server that wait for their turn."""

    def enter(self, connection: Connection, ticket: Ticket, on_busy: OnBusy) -> int | None:
        """Queue a run in the transaction that adds it; its place, where the database has the queue.

        Raises Conflict and TooManyRequests, at once.
        """

    def entered(self, ticket: Ticket) -> None:
        """Tell others about a ticket whose transaction is committed."""

    def reenter(self, ticket: Ticket) -> None:
        """Queue a run that goes on after a pause. Raises TooManyRequests."""

    def leave(self, ticket: Ticket) -> None:
        """Give the place up, whether its turn had come or not. A ticket that is in no queue is no error."""

    def end_run(self, connection: Connection, run: Run, result: RunResult, events: EventBatch) -> bool:
        """Store the end of a run, as `run_store.end_run` does, and whose turn comes by it."""

    def ended(self, run_id: str) -> None:
        """Tell others about the end of a run that has no ticket here, once it is committed."""

    def give_turn(self, run_id: str) -> None:
        """Let a run of this server begin whose turn has come; one that has begun, or is unknown, is no error."""


class SessionQueue:
    """The queues of all sessions of this process."""

    def __init__(
        self,
        session_limit: int = SESSION_LIMIT,
        total_limit: int = TOTAL_LIMIT,
        on_end: run_store.EndHook | None = None,
    ) -> None:
        self._on_end = on_end
        self._session_limit = session_limit
        self._total_limit = total_limit
        self._queues: dict[str, list[Ticket]] = {}  # short: a deque would take ten times the memory of most
        self._waiting = 0
        self._lock = threading.Lock()

    @property
    def waiting(self) -> int:
        """The number of tickets that wait for their turn, in all sessions."""
        return self._waiting

    def __len__(self) -> int:
        """The number of queues that are not empty."""
        return len(self._queues)

    def end_run(self, connection: Connection, run: Run, result: RunResult, events: EventBatch) -> bool:
        """Store the end of a run, as `run_store.end_run` does."""
        return run_store.end_run(connection, run, result, events, self._on_end)

    def enter(self, connection: Connection | None, ticket: Ticket, on_busy: OnBusy) -> int | None:
        """Queue the ticket as the last, or right behind the first if it interrupts that."""
        with self._lock:
            queue = self._queues.get(ticket.key)
            if queue is None:
                self._queues[ticket.key] = [ticket]
                ticket.turn.set()
                return None
            if on_busy is OnBusy.REJECT:
                raise session_is_busy()
            check_room(len(queue), self._waiting, self._session_limit, self._total_limit)
            queue.insert(1 if on_busy is OnBusy.INTERRUPT else len(queue), ticket)
            self._waiting += 1
        return None

    def entered(self, ticket: Ticket) -> None:
        """There is nobody to tell."""

    def reenter(self, ticket: Ticket) -> None:
        self.enter(None, ticket, OnBusy.QUEUE)

    def ended(self, run_id: str) -> None:
        """There is nobody to tell."""

    def give_turn(self, run_id: str) -> None:
        """Turns are given by the queue itself."""

    def leave(self, ticket: Ticket) -> None:
        with self._lock:
            queue = self._queues.get(ticket.key)
            if queue is None or ticket not in queue:
                return
            was_first = queue[0] is ticket
            queue.remove(ticket)
            if not was_first:
                self._waiting -= 1
            elif queue:
                self._waiting -= 1
                queue[0].turn.set()
            if not queue:
                del self._queues[ticket.key]


def session_is_busy() -> Conflict:
    return Conflict("The session is answering another message", code="session_busy")


def check_room(length: int, waiting: int, session_limit: int, total_limit: int) -> None:
    """Raises TooManyRequests when a queue of this length, or all of them, take no more."""
    if length > session_limit:
        raise TooManyRequests("Too many messages are waiting in this session", retry_after=2, code="session_busy")
    if waiting >= total_limit:
        raise TooManyRequests("Too many messages are waiting", retry_after=5, code="server_busy")
