"""What a scenario is: rows of the table, each with its target, and one measurement that gives the figures of all."""

import math
import operator
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from statistics import median

from bench.processes import ServerProcess
from bench.systems import PALAVER

_COMPARE: Mapping[str, Callable[[float, float], bool]] = {"<": operator.lt, "<=": operator.le, ">=": operator.ge}


@dataclass(frozen=True, slots=True)
class Target:
    """`sign` is <, <= or >=; `value` is in the row's unit."""

    sign: str
    value: float

    def is_met_by(self, value: float) -> bool:
        return _COMPARE[self.sign](value, self.value)

    def __str__(self) -> str:
        return f"{self.sign} {self.value:g}"


@dataclass(frozen=True, slots=True)
class Row:
    """A figure of a scenario; without a target it only informs."""

    key: str
    what: str
    unit: str
    target: Target | None = None


@dataclass(slots=True)
class Figures:
    """What a measurement found: for each row's key a value per round, or why there is none."""

    values: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    skipped: dict[str, str] = field(default_factory=dict)

    def add(self, **values: float) -> None:
        """One round's values."""
        for key, value in values.items():
            self.values[key].append(value)


@dataclass(frozen=True, slots=True)
class Bench:
    """A run of the benchmark: its model server, a folder that is thrown away, how much to do, the ASGI server, and the
    program that is measured."""

    model: ServerProcess
    folder: Path
    rounds: int
    smoke: bool
    server: str = "hypercorn"
    program: Sequence[str] = PALAVER

    def scaled(self, normal: int, smoke: int) -> int:
        """How many of something: the one, or in a smoke test the other."""
        return smoke if self.smoke else normal

    def new_folder(self, name: str) -> Path:
        """A data folder that is not there yet, for a fresh server."""
        count = sum(1 for each in self.folder.iterdir() if each.is_dir())
        return self.folder / f"{name}-{count}" / "data"


Measure = Callable[[Bench], Awaitable[Figures]]


@dataclass(frozen=True, slots=True)
class Scenario:
    name: str
    measure: Measure
    rows: tuple[Row, ...]


class Verdict(StrEnum):
    """`NOISE`: the median misses the target, and a round met it; `INFO`: there is no target."""

    PASS = "pass"
    FAIL = "FAIL"
    NOISE = "noise"
    SKIP = "skip"
    INFO = ""
    BROKEN = "BROKEN"


@dataclass(frozen=True, slots=True)
class Result:
    """One row of the table. `reason` says why there is no figure."""

    scenario: str
    row: Row
    verdict: Verdict
    values: list[float] = field(default_factory=list)
    reason: str = ""

    @property
    def figure(self) -> float | None:
        return median(self.values) if self.values else None


def judge(scenario: Scenario, figures: Figures) -> list[Result]:
    """The rows' results: a fail is one that no round spares."""
    results = []
    for row in scenario.rows:
        values = [value for value in figures.values.get(row.key, []) if math.isfinite(value)]
        if not values:
            reason = figures.skipped.get(row.key, "not measured")
            results.append(Result(scenario.name, row, Verdict.SKIP, reason=reason))
            continue
        results.append(Result(scenario.name, row, _verdict(row.target, values), values))
    return results


def _verdict(target: Target | None, values: list[float]) -> Verdict:
    if target is None:
        return Verdict.INFO
    if target.is_met_by(median(values)):
        return Verdict.PASS
    return Verdict.NOISE if any(map(target.is_met_by, values)) else Verdict.FAIL


def quantile(values: list[float], share: float) -> float:
    """The value that `share` of them do not exceed; not a number when there is none."""
    if not values:
        return math.nan
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, math.ceil(share * len(ordered)) - 1)]
