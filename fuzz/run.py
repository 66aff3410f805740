"""Run a target again and again, each time with new seeds, and watch the time and the memory that it takes."""

import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import psutil
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis.strategies import SearchStrategy

from fuzz import answers, bodies

EXAMPLES = 300
EXAMPLE_SECONDS = 5.0
"""The longest that one input may take, on a busy machine too."""
MAX_GROWTH = 96 * 1024**2

Target = tuple[SearchStrategy[object], Callable[[object], None]]
TARGETS: Mapping[str, Target] = {"answers": answers.TARGET, "bodies": bodies.TARGET}


@dataclass(frozen=True, slots=True)
class Report:
    """How a target fared; `problem` is empty when nothing was found."""

    name: str
    examples: int
    seconds: float
    growth: int
    problem: str

    def line(self) -> str:
        result = self.problem or "nothing found"
        return (
            f"{self.name}: {self.examples} inputs in {self.seconds:.0f} s, memory {self.growth / 1024**2:+.1f} MiB: "
            f"{result}"
        )


def fuzz(name: str, seconds: float, first_seed: int) -> Report:
    """Feed the target generated inputs for that long, or until it fails."""
    strategy, check = TARGETS[name]
    count = 0

    def timed(value: object) -> None:
        nonlocal count
        count += 1
        start = time.process_time()
        check(value)
        spent = time.process_time() - start
        assert spent < EXAMPLE_SECONDS, f"an input took {spent:.1f} s"

    start = time.monotonic()
    before: int | None = None
    problem = ""
    number = first_seed
    while not problem and (number == first_seed or time.monotonic() - start < seconds):
        problem = _round(strategy, timed, number)
        number += 1
        if before is None and (time.monotonic() - start > seconds / 4 or number > first_seed + 50):
            before = _memory()  # by now what is made once is made
    growth = 0 if before is None else _memory() - before
    if not problem and growth > MAX_GROWTH:
        problem = "the memory grows"
    return Report(name, count, time.monotonic() - start, growth, problem)


def _round(strategy: SearchStrategy[object], check: Callable[[object], None], number: int) -> str:
    """Run one seed; the traceback of a failure, with its input."""
    run = settings(
        max_examples=EXAMPLES,
        database=None,
        deadline=None,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )(seed(number)(given(strategy)(check)))
    try:
        run()
    except Exception:
        return f"seed {number}\n{traceback.format_exc()}"
    return ""


def _memory() -> int:
    return int(psutil.Process().memory_info().rss)
