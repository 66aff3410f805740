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


@pytest.mark.databases("postgresql")
async def test_clients_that_come_and_go_find_everything_on_postgresql(tmp_path: Path, database_url: str) -> None:
    plan = Plan(seed=20261121, seconds=20, kills=0, cuts=10, clients=6, sessions=3)
    storm = await weather(plan, tmp_path, lambda _: None, database_url)
    assert storm.findings == []
    assert storm.unfinished == 0
    assert storm.reached_its_size


async def test_writers_in_three_processes_never_find_the_database_locked(tmp_path: Path) -> None:
    writing = await write(tmp_path, writers=50, messages=8)
    assert writing.problems == []
    assert writing.commands
    assert writing.keys


@pytest.mark.xdist_group("timing")
@pytest.mark.databases("postgresql")
async def test_two_servers_lose_nothing_when_either_is_killed(tmp_path: Path, database_url: str) -> None:
    plan = Plan(seed=20261128, seconds=40, kills=2, cuts=20, clients=8, sessions=4, servers=2, outages=True)
    storm = await weather(plan, tmp_path, lambda _: None, database_url)
    assert storm.findings == []
    assert storm.unfinished == 0
    assert storm.reached_its_size
