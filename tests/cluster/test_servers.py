"""The table of servers: who lives, by the database's own clock, and whose runs are ended."""

from collections.abc import AsyncIterator, Sequence
from datetime import timedelta

import pytest
from sqlalchemy import Connection

from app.chat import run_store
from app.chat.runs import shared
from app.chat.values import Run, RunStatus
from app.clock import utc_now
from app.cluster.models import Server, ServerInfo
from app.cluster.servers import Servers
from app.cluster.store import LEASE, UNLOCKED_LEASE, list_servers
from app.database.engine import Database, open_database
from app.limits import Bounds, RunLimit
from tests.support.database import execute

pytestmark = pytest.mark.databases("postgresql")


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    database = open_database(database_url)
    yield database
    await database.close()


def info_of(name: str) -> ServerInfo:
    return ServerInfo(name, "host", "127.0.0.1:6185", "0")


@pytest.fixture
async def joined(database_url: str) -> AsyncIterator[tuple[Servers, Servers]]:
    """Two servers."""
    both = [
        Servers(open_database(database_url), info_of(name), {"runs": RunLimit("", "", Bounds(5, 9))}) for name in "ab"
    ]
    for each in both:
        await each.join()
    yield both[0], both[1]
    for each in both:
        await each.leave()


async def live(database: Database) -> list[str]:
    servers: Sequence[Server] = await database.read(list_servers)
    return [each.id for each in servers if each.is_live]


async def seen(database: Database, server_id: str, ago: timedelta, *, holds_lock: bool = False) -> None:
    await execute(
        database,
        f"INSERT INTO servers VALUES ('{server_id}', 'h', 'a', '0', now(), now() - interval '{ago.total_seconds()}"
        f" seconds', {holds_lock}, '{{}}')",
    )


async def test_a_server_lives_while_it_is_seen(database: Database) -> None:
    await seen(database, "new", timedelta())
    await seen(database, "late", LEASE - timedelta(seconds=1))
    await seen(database, "dead", LEASE)
    await seen(database, "killed", UNLOCKED_LEASE, holds_lock=True)
    await seen(database, "reconnecting", UNLOCKED_LEASE / 2, holds_lock=True)
    assert sorted(await live(database)) == ["late", "new", "reconnecting"]


async def test_a_server_that_has_its_lock_lives_for_the_whole_lease(database: Database) -> None:
    await seen(database, "slow", UNLOCKED_LEASE, holds_lock=True)

    def look(connection: Connection) -> list[Server]:
        connection.exec_driver_sql("SELECT pg_advisory_lock(hashtextextended('slow', 14))")
        try:
            return list_servers(connection)
        finally:
            connection.exec_driver_sql("SELECT pg_advisory_unlock_all()")

    assert [each.is_live for each in await database.write(look)] == [True]


async def test_servers_see_each_other_and_one_that_leaves_is_gone(
    joined: tuple[Servers, Servers], database: Database
) -> None:
    first, second = joined
    assert await live(database) == ["a", "b"]
    assert [each.id for each in await first.list()] == ["a", "b"]
    assert second.live == 2
    await second.leave()
    assert await live(database) == ["a"]


async def test_only_the_runs_of_the_dead_are_lost_however_wrong_a_clock_is(database: Database) -> None:
    wrong = utc_now().replace(year=2001)
    for owner, ago in (("living", timedelta()), ("dead", LEASE)):
        await seen(database, owner, ago)
    for owner in ("living", "dead", "gone"):
        run = Run(
            id=owner,
            session_id=None,
            username="alice",
            key_id="k1",
            status=RunStatus.QUEUED,
            streaming=True,
            message_id="m1",
            config_id="default",
            provider_id="p",
            model="m",
            created_at=wrong,
            owner=owner,
        )
        await database.write(lambda connection, run=run: run_store.add_run(connection, run, []))  # type: ignore[misc]
    assert {run.id for run in await database.read(shared.list_lost_runs)} == {"dead", "gone"}
    left = await database.read(lambda connection: shared.list_left_runs(connection, "living"))
    assert {run.id for run in left} == {"living", "gone"}


async def test_a_server_judges_nobody_at_first(joined: tuple[Servers, Servers]) -> None:
    assert not any(each.may_judge for each in joined)


async def test_a_server_that_lost_its_own_lock_judges_nobody_for_a_lease(
    joined: tuple[Servers, Servers], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A restart of PostgreSQL takes the locks of all servers."""
    monkeypatch.setattr("app.cluster.store.LEASE", timedelta(0))
    server = joined[0]
    server.set_lock(True)
    assert server.may_judge
    server.set_lock(False)
    assert not server.may_judge
