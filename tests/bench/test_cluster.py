"""The simulation of many servers: it says the same each time, what it says makes sense, and the docs have it."""

import subprocess
import sys

import pytest

from bench.cluster import Bounds, Figures, Load, simulate
from tests.support.programs import ROOT


def outcome(streams: int, servers: int, *, busy: float = 0.1, elsewhere: float = 0.1) -> dict[str, float]:
    load = Load(streams, busy, 20.0, elsewhere=elsewhere)
    result = simulate(load, servers, Figures(), Bounds(), seconds=2.0, seed=1)
    return {
        "cores": result.peak_cores,
        "memory": result.megabytes,
        "statements": result.statements,
        "messages": result.messages,
        "rows": result.rows,
    }


def test_twice_the_servers_have_half_each_and_the_database_all() -> None:
    few, many = outcome(40_000, 8), outcome(40_000, 16)
    assert many["cores"] == pytest.approx(few["cores"] / 2, rel=0.1)
    assert many["rows"] == pytest.approx(few["rows"], rel=0.1)
    assert many["memory"] < few["memory"]


def test_what_is_read_where_it_is_made_is_told_to_nobody() -> None:
    alone = outcome(5000, 1)
    assert alone["statements"] == alone["messages"] == outcome(5000, 4, elsewhere=0.0)["messages"] == 0
    assert outcome(5000, 4)["cores"] > outcome(5000, 4, elsewhere=0.0)["cores"]


def test_a_server_costs_what_was_measured() -> None:
    """256 streams of 50 tokens a second were 0.8 of a core."""
    load = Load(256, 1.0, 50.0, seconds=1e9)
    result = simulate(load, 1, Figures(), Bounds(), seconds=2.0, seed=1)
    assert result.peak_cores == pytest.approx(0.8, rel=0.05)


def test_statements_are_one_a_tick_at_most() -> None:
    assert outcome(100_000, 16, busy=1.0)["statements"] <= 16 * 100


def test_the_tables_of_the_docs_are_what_it_prints() -> None:
    command = [sys.executable, "-m", "bench.cluster"]
    printed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    tables = printed.split("\nSimulated")[0].strip()
    assert tables in (ROOT / "docs" / "cluster.md").read_text()
