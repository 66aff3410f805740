"""The results: lines of a table as they come, and a JSON file of all."""

import platform
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec
import psutil

from app import __version__
from bench.scenario import Result, Verdict

_WIDTHS = (15, 68, 9, 24)


def line(scenario: str, what: str, target: str, figure: str, verdict: str) -> str:
    cells = (scenario, what, target, figure)
    return "  ".join(f"{cell:<{width}}" for cell, width in zip(cells, _WIDTHS, strict=True)) + f"  {verdict}"


HEAD = line("scenario", "what", "target", "figure (rounds)", "verdict")


def row_of(result: Result) -> str:
    """One line of the table; the rounds' least and greatest stand behind the median."""
    target = "" if result.row.target is None else str(result.row.target)
    if result.figure is None:
        return line(result.scenario, result.row.what, target, "-", f"{result.verdict}: {result.reason}")
    figure = f"{number(result.figure)} {result.row.unit}"
    if len(result.values) > 1:
        figure += f" ({number(min(result.values))}..{number(max(result.values))})"
    return line(result.scenario, result.row.what, target, figure, str(result.verdict))


def number(value: float) -> str:
    """The value with about three digits."""
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.2f}"


def write_json(path: Path, results: Sequence[Result], *, smoke: bool, seconds: float) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    report = {
        "palaver": __version__,
        "python": platform.python_version(),
        "machine": f"{platform.system()} {platform.machine()}",
        "cores": psutil.cpu_count(),
        "load_average": psutil.getloadavg(),
        "ended_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "seconds": round(seconds, 1),
        "smoke": smoke,
        "results": [
            {
                "scenario": result.scenario,
                "key": result.row.key,
                "what": result.row.what,
                "unit": result.row.unit,
                "target": None if result.row.target is None else str(result.row.target),
                "figure": result.figure,
                "rounds": result.values,
                "verdict": result.verdict.value or "info",
                "reason": result.reason,
            }
            for result in results
        ],
    }
    path.write_bytes(msgspec.json.format(msgspec.json.encode(report), indent=2) + b"\n")


def summary(results: Sequence[Result]) -> str:
    counts = {verdict: sum(1 for result in results if result.verdict is verdict) for verdict in Verdict}
    said = ", ".join(f"{count} {verdict}" for verdict, count in counts.items() if count and verdict)
    return said or "nothing was measured"
