"""The number of a user's sessions that a listing tells, which triggers keep."""

import sqlite3
from contextlib import closing
from pathlib import Path

from app.database import migrations
from app.database.engine import sqlite_url
from tests.support.client import Client

COUNTED = "SELECT creator, platform_id, COUNT(*) FROM sessions GROUP BY creator, platform_id ORDER BY 1, 2"
KEPT = "SELECT creator, platform_id, count FROM session_counts ORDER BY 1, 2"


async def test_the_total_follows_what_comes_and_goes(client: Client) -> None:
    assert await _total(client) == 0
    for session_id in ("s1", "s2", "s3", "s1"):
        await client.chat("Hi", session_id=session_id)
    assert (await _total(client), await _total(client, platform_id="webchat")) == (3, 3)
    await client.request("DELETE", "/api/v1/chat/sessions/s2", params={"username": "alice"})
    assert (await _total(client), await _total(client, platform_id="elsewhere")) == (2, 0)


def test_triggers_keep_the_counts_of_sessions_that_were_there_before_and_of_all_changes(tmp_path: Path) -> None:
    path = tmp_path / "palaver.db"
    migrations.upgrade(sqlite_url(path))
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for number in range(30):
            connection.execute(
                "INSERT INTO sessions (id, platform_id, creator, is_group, created_at, updated_at)"
                " VALUES (?, ?, ?, 0, '', '')",
                (str(number), ("webchat", "api")[number % 2], ("alice", "bob", "eve")[number % 3]),
            )
        assert connection.execute(KEPT).fetchall() == connection.execute(COUNTED).fetchall()
        connection.execute("UPDATE sessions SET creator = 'mallory' WHERE creator = 'eve'")
        connection.execute("DELETE FROM sessions WHERE creator = 'bob' OR id < '2'")
        assert connection.execute(KEPT).fetchall() == connection.execute(COUNTED).fetchall()
        connection.execute("BEGIN")
        connection.execute("DELETE FROM sessions")
        assert connection.execute(KEPT).fetchall() == []
        connection.execute("ROLLBACK")
        assert connection.execute(KEPT).fetchall() == connection.execute(COUNTED).fetchall() != []


async def _total(client: Client, **query: str) -> int:
    answer = await client.get("/api/v1/chat/sessions", username="alice", **query)
    total: int = answer.json()["data"]["total"]
    return total
