"""`python -m bench.compare FOLDER`: this checkout beside another one, in turns, within the same minutes.

Each checkout runs its own `.venv/bin/palaver`, both at once, and one is asked while the other is idle. The ratio is of
this checkout to the other, in one round; it is what holds on a machine whose speed changes. `--only instructions`
counts what each executes, under valgrind: slow, and the same to 1 % where clocks are not.
"""

import argparse
import asyncio
import re
import shutil
import sys
import tempfile
from asyncio.subprocess import DEVNULL
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from bench.measures.memory import idle_streams
from bench.measures.streams import Subject, run
from bench.processes import ROOT, START_SECONDS, BenchError, ServerProcess, model_server
from bench.report import number
from bench.scenario import Bench
from bench.systems import CHAT, OPENAI, ChatDoor, Door, palaver

TOKENS = "t64"
CLIENTS = 16
COUNTED_REQUESTS = 64
VALGRIND_START_SECONDS = 600.0
SESSIONS, TURNS = 160, 4


@dataclass(frozen=True, slots=True)
class TurnDoor(ChatDoor):
    """`POST /api/v1/chat`, TURNS messages in each session, of which SESSIONS go on side by side."""

    def body(self, model: str, number: int) -> dict[str, Any]:
        block, place = divmod(number, SESSIONS * TURNS)
        session_id = f"session-{block}-{place % SESSIONS}"
        return {"username": "bench", "session_id": session_id, "message": "Hello", "selected_model": model}


TURN = TurnDoor("/api/v1/chat, four turns a session", CHAT.path, CHAT.marker, CHAT.expect, CHAT.load, CHAT.headers)
DOORS: Mapping[str, Door] = {"/api/v1/chat, a session each": CHAT, TURN.name: TURN, "/v1, stateless": OPENAI}


@dataclass(frozen=True, slots=True)
class Checkout:
    """A folder of the project, with the virtual environment that it runs in."""

    folder: Path

    @property
    def program(self) -> tuple[str, ...]:
        binaries = self.folder / ".venv" / "bin"
        return str(binaries / "python"), str(binaries / "palaver")


@dataclass(slots=True)
class Comparison:
    """What two checkouts take, round by round."""

    what: str
    unit: str
    other: list[float] = field(default_factory=list)
    own: list[float] = field(default_factory=list)

    def __str__(self) -> str:
        ratios = [own / other for own, other in zip(self.own, self.other, strict=True)]
        ratio = f"{median(ratios):.3f} x ({min(ratios):.3f}..{max(ratios):.3f})"
        return line(self.what, _spread(self.other, self.unit), _spread(self.own, self.unit), ratio)


def line(*cells: str) -> str:
    return "  ".join(f"{cell:<{width}}" for cell, width in zip(cells, (50, 28, 28, 24), strict=True)).rstrip()


def _spread(values: Sequence[float], unit: str) -> str:
    """The median, with the least and the greatest behind it."""
    return f"{number(median(values))} {unit} ({number(min(values))}..{number(max(values))})"


@dataclass(frozen=True, slots=True)
class Pair:
    """What is compared: the other checkout first."""

    bench: Bench
    checkouts: tuple[Checkout, Checkout]

    def turns(self, index: int) -> Sequence[int]:
        """The order of a round: who begins changes."""
        return (0, 1) if index % 2 == 0 else (1, 0)


async def cpu(pair: Pair) -> list[Comparison]:
    """The servers' CPU for each request."""
    async with AsyncExitStack() as stack:
        servers = [
            await stack.enter_async_context(_server(pair.bench, checkout.program)) for checkout in pair.checkouts
        ]
        subjects = {name: [Subject(door, server) for server in servers] for name, door in DOORS.items()}
        for both in subjects.values():
            for subject in both:
                await run(subject, TOKENS, subject.door.load // 2, CLIENTS)
        values: dict[tuple[str, int], list[float]] = defaultdict(list)
        for index in range(pair.bench.rounds):
            for name, both in subjects.items():
                for position in pair.turns(index):
                    subject = both[position]
                    sample = await run(subject, TOKENS, pair.bench.scaled(subject.door.load // 2, CLIENTS), CLIENTS)
                    values[name, position].append(sample.cpu_ms)
    return [Comparison(f"{name}: CPU", "ms", values[name, 0], values[name, 1]) for name in DOORS]


async def idle(pair: Pair) -> list[Comparison]:
    """The memory of an open, idle stream."""
    values: tuple[list[float], list[float]] = ([], [])
    for index in range(min(3, pair.bench.rounds)):
        for position in pair.turns(index):
            program = pair.checkouts[position].program
            bench = Bench(pair.bench.model, pair.bench.folder, 1, pair.bench.smoke, pair.bench.server, program)
            values[position].extend((await idle_streams(bench)).values["stream"])
    return [Comparison("an open, idle stream: memory", "KB", *values)]


async def instructions(pair: Pair) -> list[Comparison]:
    """What the servers execute for each request, in millions of instructions. Raises BenchError without valgrind."""
    if shutil.which("valgrind") is None:
        raise BenchError("valgrind is not installed")
    async with AsyncExitStack() as stack:
        counters = [await stack.enter_async_context(_counted(pair, checkout)) for checkout in pair.checkouts]
        values: dict[tuple[str, int], list[float]] = defaultdict(list)
        for name, door in DOORS.items():
            subjects = [Subject(door, counter.server) for counter in counters]
            for subject in subjects:
                await run(subject, TOKENS, COUNTED_REQUESTS, CLIENTS)
            for index in range(min(2, pair.bench.rounds)):
                for position in pair.turns(index):
                    await counters[position].zero()
                    await run(subjects[position], TOKENS, COUNTED_REQUESTS, CLIENTS)
                    count = await counters[position].total()
                    values[name, position].append(count / COUNTED_REQUESTS / 1e6)
    return [Comparison(f"{name}: instructions", "M", values[name, 0], values[name, 1]) for name in DOORS]


@dataclass(slots=True)
class InstructionCounter:
    """A server that runs under callgrind, which writes its count to `out` with a number behind it."""

    server: ServerProcess
    out: Path
    dumps: int = 0

    async def start(self) -> None:
        await self._control("--instr=on")

    async def zero(self) -> None:
        await self._control("--zero")

    async def total(self) -> int:
        """Instructions since the count was set to zero. Raises BenchError."""
        await self._control("--dump")
        self.dumps += 1
        text = self.out.with_name(f"{self.out.name}.{self.dumps}").read_text(errors="replace")
        totals = re.search(r"^totals: (\d+)", text, re.MULTILINE)
        if totals is None:
            raise BenchError("callgrind wrote no count")
        return int(totals[1])

    async def _control(self, option: str) -> None:
        command = ("callgrind_control", option, str(self.server.process.pid))
        control = await asyncio.create_subprocess_exec(*command, stdout=DEVNULL, stderr=DEVNULL)
        if await control.wait():
            raise BenchError(f"callgrind_control {option} failed")


@asynccontextmanager
async def _counted(pair: Pair, checkout: Checkout) -> AsyncIterator[InstructionCounter]:
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "count"
        valgrind = ("valgrind", "--tool=callgrind", "--instr-atstart=no", "--fair-sched=yes")
        program = (*valgrind, f"--callgrind-out-file={out}", *checkout.program)
        async with _server(pair.bench, program, VALGRIND_START_SECONDS) as server:
            counter = InstructionCounter(server, out)
            await counter.start()
            yield counter


@asynccontextmanager
async def _server(
    bench: Bench, program: Sequence[str], start_seconds: float = START_SECONDS
) -> AsyncIterator[ServerProcess]:
    async with palaver(
        bench.new_folder("compare"),
        bench.model,
        program=program,
        start_seconds=start_seconds,
        PALAVER_SERVER=bench.server,
        PYTHONHASHSEED="0",  # the order of sets is a matter of hashes, and with it what is executed
    ) as server:
        yield server


MEASURES = {"cpu": cpu, "idle": idle, "instructions": instructions}


async def _main(options: argparse.Namespace, folder: Path) -> None:
    print(line("what", f"other: {options.folder}", f"this: {ROOT}", "ratio"), flush=True)
    async with model_server() as model:
        bench = Bench(model, folder, options.rounds, options.smoke, options.server)
        pair = Pair(bench, (Checkout(options.folder.absolute()), Checkout(ROOT)))
        for name in options.only or ("cpu", "idle"):
            for comparison in await MEASURES[name](pair):
                print(comparison, flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.compare", description=__doc__)
    parser.add_argument("folder", type=Path, help="the other checkout, with its .venv")
    parser.add_argument("--server", choices=("hypercorn", "uvicorn"), default="hypercorn", help="what both run on")
    parser.add_argument("--rounds", type=int, default=20, help="how often each is measured  [20]")
    parser.add_argument("--only", choices=MEASURES, action="append", help="this one; can be given again  [cpu, idle]")
    parser.add_argument("--smoke", action="store_true", help="little of each: for crashes, not for figures")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="palaver-compare-", ignore_cleanup_errors=True) as folder:
        try:
            asyncio.run(_main(options, Path(folder)))
        except BenchError as error:
            print(error, file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
