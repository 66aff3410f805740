"""The session queue, whatever happens: one turn at a time, in the order agreed, and nothing is kept afterwards."""

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule

from app.chat.runs.queue import SessionQueue, Ticket
from app.errors import TooManyRequests

SESSION_LIMIT = 3
TOTAL_LIMIT = 5
SESSIONS = st.sampled_from(("a", "b", "c"))


class QueueMachine(RuleBasedStateMachine):
    tickets = Bundle[Ticket]("tickets")

    def __init__(self) -> None:
        super().__init__()
        self.queue = SessionQueue(SESSION_LIMIT, TOTAL_LIMIT)
        self.lines: dict[str, list[Ticket]] = {"a": [], "b": [], "c": []}

    @property
    def waiting(self) -> int:
        return sum(len(line) - 1 for line in self.lines.values() if line)

    def is_full(self, session_id: str) -> bool:
        line = self.lines[session_id]
        return bool(line) and (len(line) > SESSION_LIMIT or self.waiting >= TOTAL_LIMIT)

    @rule(target=tickets, session_id=SESSIONS, next_in_line=st.booleans())
    def enter(self, session_id: str, next_in_line: bool) -> Ticket:
        line = self.lines[session_id]
        ticket = Ticket(session_id)
        if self.is_full(session_id):
            with pytest.raises(TooManyRequests) as refused:
                self.queue.enter(ticket, next_in_line=next_in_line)
            assert int(refused.value.headers["Retry-After"]) >= 1
            return ticket  # in no queue: leaving it changes nothing
        self.queue.enter(ticket, next_in_line=next_in_line)
        line.insert(min(1, len(line)) if next_in_line else len(line), ticket)
        return ticket

    @rule(ticket=tickets)
    def leave(self, ticket: Ticket) -> None:
        self.queue.leave(ticket)
        line = self.lines[ticket.key]
        if ticket in line:
            line.remove(ticket)

    @invariant()
    def the_first_and_nobody_else_has_the_turn(self) -> None:
        for line in self.lines.values():
            assert [ticket.turn.is_set() for ticket in line] == [index == 0 for index in range(len(line))]

    @invariant()
    def the_numbers_are_right_and_idle_sessions_are_gone(self) -> None:
        assert self.queue.waiting == self.waiting
        assert len(self.queue) == sum(1 for line in self.lines.values() if line)
        for session_id, line in self.lines.items():
            assert self.queue.is_busy(session_id) == bool(line)

    def teardown(self) -> None:
        for line in self.lines.values():
            for ticket in list(line):
                assert ticket.turn.is_set()
                self.queue.leave(ticket)
        assert (len(self.queue), self.queue.waiting) == (0, 0)


TestSessionQueue = QueueMachine.TestCase
TestSessionQueue.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
