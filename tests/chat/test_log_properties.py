"""The run log, whatever happens: every reader gets every event beyond its position, once and in order."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, precondition, rule

from app.chat.runs.events import Event, EventBatch, ReasoningDelta, TextDelta
from app.chat.runs.log import MAX_PIECE_EVENTS, RunLog

HIDDEN = ReasoningDelta("not shown to this kind")


def encode(numbers: Sequence[int], events: Sequence[Event]) -> bytes:
    pairs = zip(numbers, events, strict=True)
    return b"".join(b"%d;" % number for number, event in pairs if isinstance(event, TextDelta))


@dataclass(slots=True, eq=False)
class Reader:
    """Reads a piece for each permit that it is given."""

    kind: str
    after: int
    permits: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(0))
    got: bytearray = field(default_factory=bytearray)
    task: asyncio.Task[None] | None = None

    async def read(self, log: RunLog) -> None:
        async for piece in log.follow(self.kind, encode, after=self.after):
            assert piece, "an empty piece was sent"
            self.got += piece
            await self.permits.acquire()


class LogMachine(RuleBasedStateMachine):
    readers = Bundle[Reader]("readers")

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.log = RunLog()
        self.events: list[Event] = []
        self.all: list[Reader] = []

    def pump(self) -> None:
        async def turns() -> None:
            for _ in range(6):
                await asyncio.sleep(0)

        self.loop.run_until_complete(turns())

    def expected(self, reader: Reader) -> bytes:
        return encode(range(reader.after + 1, len(self.events) + 1), self.events[reader.after :])

    @precondition(lambda self: not self.log.closed)
    @rule(shown=st.lists(st.booleans(), max_size=5), many=st.sampled_from((0, 0, 0, MAX_PIECE_EVENTS + 1)))
    def append(self, shown: list[bool], many: int) -> None:
        new: list[Event] = [TextDelta("t") if each else HIDDEN for each in [*shown, *[True] * many]]
        self.log.append(*new)
        self.events += new
        self.pump()

    @rule(target=readers, kind=st.sampled_from(("sse", "ws")), back=st.integers(0, 600))
    def join(self, kind: str, back: int) -> Reader:
        reader = Reader(kind, max(0, len(self.events) - back))
        reader.task = self.loop.create_task(reader.read(self.log))
        self.all.append(reader)
        self.pump()
        return reader

    @rule(reader=readers, permits=st.integers(1, 3))
    def read_on(self, reader: Reader, permits: int) -> None:
        for _ in range(permits):
            reader.permits.release()
        self.pump()

    @rule(reader=readers)
    def leave(self, reader: Reader) -> None:
        assert reader.task is not None
        reader.task.cancel()
        self.pump()

    @precondition(lambda self: not self.log.closed)
    @rule()
    def close(self) -> None:
        self.log.close()
        self.pump()

    @invariant()
    def readers_have_the_beginning_of_what_is_theirs(self) -> None:
        for reader in self.all:
            assert self.expected(reader).startswith(bytes(reader.got))

    @invariant()
    def the_log_is_what_was_written(self) -> None:
        assert list(self.log.events) == self.events
        half = len(self.events) // 2
        assert self.log.since(half) == EventBatch(half + 1, self.events[half:])

    def teardown(self) -> None:
        if not self.log.closed:
            self.log.close()
        for reader in self.all:
            assert reader.task is not None
            for _ in range(len(self.events) + 1):
                reader.permits.release()
        self.loop.run_until_complete(self.until_all_are_over())
        for reader in self.all:
            if reader.task is not None and not reader.task.cancelled():
                assert bytes(reader.got) == self.expected(reader)
        assert not self.log._readers
        self.loop.close()

    async def until_all_are_over(self) -> None:
        for task in (reader.task for reader in self.all if reader.task is not None):
            await asyncio.wait({task}, timeout=5)
            assert task.done()
            if not task.cancelled():
                task.result()


TestRunLog = LogMachine.TestCase
TestRunLog.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)


async def test_what_is_beyond_the_end_is_not_sent_before_its_number_comes() -> None:
    log = RunLog()
    log.append(TextDelta("1"))
    reader = Reader("sse", after=3)
    reading = asyncio.create_task(reader.read(log))
    await asyncio.sleep(0)
    log.append(*[TextDelta("t")] * 4)
    log.close()
    for _ in range(9):
        reader.permits.release()
    await reading
    assert bytes(reader.got) == b"4;5;"
