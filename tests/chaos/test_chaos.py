"""`make chaos` in small; the trial of the stopped reader is left to the whole one, which needs half a minute."""

from pathlib import Path

import pytest

from chaos.plan import Plan
from chaos.storm import weather
from chaos.writers import write


@pytest.mark.xdist_group("timing")
async def test_nothing_is_lost_doubled_or_out_of_order(tmp_path: Path) -> None:
    plan = Plan(seed=20261121, seconds=20, kills=2, cuts=25, clients=10, sessions=5)
    storm = await weather(plan, tmp_path, lambda _: None)
    assert storm.findings == []
    assert storm.unfinished == 0
    assert storm.reached_its_size


async def test_writers_in_three_processes_never_find_the_database_locked(tmp_path: Path) -> None:
    writing = await write(tmp_path, writers=50, messages=8)
    assert writing.problems == []
    assert writing.commands
    assert writing.keys
