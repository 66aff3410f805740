"""One run at a time in a session, first come first served.

Tickets enter in the transaction that numbers their message, which may run in the database's thread, and leave on the
event loop. An idle session keeps nothing.
"""

import asyncio
import threading
from dataclasses import dataclass, field

from app.errors import TooManyRequests

SESSION_LIMIT = 16
TOTAL_LIMIT = 10_000


@dataclass(frozen=True, slots=True, eq=False)
class Ticket:
    """A place in the queue named `key`, a session's id; `turn` is set when it is first."""

    key: str
    turn: asyncio.Event = field(default_factory=asyncio.Event)


class SessionQueue:
    """The queues of all sessions of this process. The limits count the tickets that wait, not the first of each."""

    def __init__(self, session_limit: int = SESSION_LIMIT, total_limit: int = TOTAL_LIMIT) -> None:
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

    def is_busy(self, key: str) -> bool:
        return key in self._queues

    def enter(self, ticket: Ticket, *, next_in_line: bool = False) -> None:
        """Queue the ticket as the last, or right behind the first.

        Raises TooManyRequests, at once, when the queue is full.
        """
        with self._lock:
            queue = self._queues.get(ticket.key)
            if queue is None:
                self._queues[ticket.key] = [ticket]
                ticket.turn.set()
                return
            if len(queue) > self._session_limit:
                raise TooManyRequests(
                    "Too many messages are waiting in this session", retry_after=2, code="session_busy"
                )
            if self._waiting >= self._total_limit:
                raise TooManyRequests("Too many messages are waiting", retry_after=5, code="server_busy")
            queue.insert(1 if next_in_line else len(queue), ticket)
            self._waiting += 1

    def leave(self, ticket: Ticket) -> None:
        """Give the place up, whether its turn had come or not. A ticket that is in no queue is no error."""
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
