"""The queue in memory, whatever happens: one turn at a time, in the order agreed, and nothing is kept afterwards."""

from uuid import uuid4

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule

from app.chat.commands import OnBusy
from app.chat.runs.queue import SessionQueue, Ticket
from app.errors import Conflict, TooManyRequests

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

    @rule(target=tickets, session_id=SESSIONS, on_busy=st.sampled_from(OnBusy))
    def enter(self, session_id: str, on_busy: OnBusy) -> Ticket:
        line = self.lines[session_id]
        ticket = Ticket(session_id, str(uuid4()))
        if line and on_busy is OnBusy.REJECT:
            with pytest.raises(Conflict):
                self.queue.enter(None, ticket, on_busy)
            return ticket  # in no queue: leaving it changes nothing
        if self.is_full(session_id):
            with pytest.raises(TooManyRequests) as refused:
                self.queue.enter(None, ticket, on_busy)
            assert int(refused.value.headers["Retry-After"]) >= 1
            return ticket
        self.queue.enter(None, ticket, on_busy)
        line.insert(min(1, len(line)) if on_busy is OnBusy.INTERRUPT else len(line), ticket)
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

    def teardown(self) -> None:
        for line in self.lines.values():
            for ticket in list(line):
                assert ticket.turn.is_set()
                self.queue.leave(ticket)
        assert (len(self.queue), self.queue.waiting) == (0, 0)


TestSessionQueue = QueueMachine.TestCase
TestSessionQueue.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
