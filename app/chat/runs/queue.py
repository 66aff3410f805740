"""One run at a time in a session, first come first served; what is kept for a session goes when it is idle.

Places are taken in the transaction that numbers the message, which runs in a thread of the database's, and given up on
the event loop.
"""

import threading
from dataclasses import dataclass, field

from app.errors import TooManyRequests
from app.lean_event import LeanEvent

SESSION_LIMIT = 16
TOTAL_LIMIT = 10_000


@dataclass(frozen=True, slots=True, eq=False)
class Ticket:
    """A place in a session's queue; `turn` is set when it is first."""

    session_id: str
    turn: LeanEvent = field(default_factory=LeanEvent)


class SessionQueue:
    """The queues of all sessions of this process; the limits count those who wait, not the one who is first."""

    def __init__(self, session_limit: int = SESSION_LIMIT, total_limit: int = TOTAL_LIMIT) -> None:
        self._session_limit = session_limit
        self._total_limit = total_limit
        self._queues: dict[str, list[Ticket]] = {}  # short: a deque would take ten times the memory of most
        self._waiting = 0
        self._lock = threading.Lock()

    @property
    def waiting(self) -> int:
        """How many wait for their turn, in all sessions."""
        return self._waiting

    def __len__(self) -> int:
        """How many sessions have someone in their queue."""
        return len(self._queues)

    def is_busy(self, session_id: str) -> bool:
        return session_id in self._queues

    def enter(self, session_id: str, *, next_in_line: bool = False) -> Ticket:
        """A place in the session's queue: the last, or the one behind who is first.

        Raises TooManyRequests, at once, when the queue is full.
        """
        with self._lock:
            queue = self._queues.get(session_id)
            ticket = Ticket(session_id)
            if queue is None:
                self._queues[session_id] = [ticket]
                ticket.turn.set()
                return ticket
            if len(queue) > self._session_limit:
                raise TooManyRequests(
                    "Too many messages are waiting in this session", retry_after=2, code="session_busy"
                )
            if self._waiting >= self._total_limit:
                raise TooManyRequests("Too many messages are waiting", retry_after=5, code="server_busy")
            queue.insert(1 if next_in_line else len(queue), ticket)
            self._waiting += 1
            return ticket

    def leave(self, ticket: Ticket) -> None:
        """Give the place up, whether its turn had come or not; the next one's turn comes. Twice is no error."""
        with self._lock:
            queue = self._queues.get(ticket.session_id)
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
                del self._queues[ticket.session_id]
