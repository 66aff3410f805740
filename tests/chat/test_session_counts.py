"""The number of a user's sessions that a listing tells, which triggers keep."""

from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import Connection, delete, insert, text, update

from app.chat.models import SessionRow
from app.database.engine import Database, open_database
from tests.support.client import Client

COUNTED = "SELECT creator, platform_id, COUNT(*) FROM sessions GROUP BY creator, platform_id ORDER BY 1, 2"
KEPT = "SELECT creator, platform_id, count FROM session_counts ORDER BY 1, 2"
NOW = datetime(2026, 1, 1, tzinfo=UTC)


async def test_the_total_follows_what_comes_and_goes(client: Client) -> None:
    assert await _total(client) == 0
    for session_id in ("s1", "s2", "s3", "s1"):
        await client.chat("Hi", session_id=session_id)
    assert (await _total(client), await _total(client, platform_id="webchat")) == (3, 3)
    await client.request("DELETE", "/api/v1/chat/sessions/s2", params={"username": "alice"})
    assert (await _total(client), await _total(client, platform_id="elsewhere")) == (2, 0)


async def test_triggers_keep_the_counts_in_step_with_the_sessions(database_url: str) -> None:
    database = open_database(database_url)

    def add(connection: Connection) -> None:
        for number in range(30):
            platform_id, creator = ("webchat", "api")[number % 2], ("alice", "bob", "eve")[number % 3]
            session = {"id": str(number), "platform_id": platform_id, "creator": creator, "is_group": False}
            connection.execute(insert(SessionRow).values(**session, created_at=NOW, updated_at=NOW))

    def change(connection: Connection) -> None:
        connection.execute(update(SessionRow).where(SessionRow.creator == "eve").values(creator="mallory"))
        connection.execute(delete(SessionRow).where((SessionRow.creator == "bob") | (SessionRow.id < "2")))

    def delete_in_vain(connection: Connection) -> None:
        connection.execute(delete(SessionRow))
        assert connection.execute(text(KEPT)).all() == []
        raise LookupError

    await database.write(add)
    assert await _rows(database, KEPT) == await _rows(database, COUNTED) != []
    await database.write(change)
    assert await _rows(database, KEPT) == await _rows(database, COUNTED) != []
    with pytest.raises(LookupError):
        await database.write(delete_in_vain)
    assert await _rows(database, KEPT) == await _rows(database, COUNTED) != []
    await database.close()


async def _rows(database: Database, query: str) -> list[tuple[Any, ...]]:
    return await database.read(lambda connection: [tuple(row) for row in connection.execute(text(query))])


async def _total(client: Client, **query: str) -> int:
    answer = await client.get("/api/v1/chat/sessions", username="alice", **query)
    total: int = answer.json()["data"]["total"]
    return total
