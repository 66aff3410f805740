"""The number of a user's sessions that a listing tells, which triggers keep."""

from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import delete, insert, text, update

from app.chat.models import SessionRow
from app.database.engine import Database
from tests.support.client import Client

pytestmark = pytest.mark.databases("sqlite", "postgresql")

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
    database = Database(database_url)
    async with database.write_block() as connection:
        for number in range(30):
            platform_id, creator = ("webchat", "api")[number % 2], ("alice", "bob", "eve")[number % 3]
            session = {"id": str(number), "platform_id": platform_id, "creator": creator, "is_group": False}
            await connection.execute(insert(SessionRow).values(**session, created_at=NOW, updated_at=NOW))
    assert await _rows(database, KEPT) == await _rows(database, COUNTED) != []
    async with database.write_block() as connection:
        await connection.execute(update(SessionRow).where(SessionRow.creator == "eve").values(creator="mallory"))
        await connection.execute(delete(SessionRow).where((SessionRow.creator == "bob") | (SessionRow.id < "2")))
    assert await _rows(database, KEPT) == await _rows(database, COUNTED) != []
    with pytest.raises(LookupError):
        async with database.write_block() as connection:
            await connection.execute(delete(SessionRow))
            assert (await connection.execute(text(KEPT))).all() == []
            raise LookupError
    assert await _rows(database, KEPT) == await _rows(database, COUNTED) != []
    await database.close()


async def _rows(database: Database, query: str) -> list[tuple[Any, ...]]:
    async with database.read_block() as connection:
        return [tuple(row) for row in await connection.execute(text(query))]


async def _total(client: Client, **query: str) -> int:
    answer = await client.get("/api/v1/chat/sessions", username="alice", **query)
    total: int = answer.json()["data"]["total"]
    return total
