"""The database of a server under test, read and changed past the server."""

from collections.abc import Callable
from typing import Any, TypeVar

import pytest
from sqlalchemy import Connection

from app.database.engine import Database
from app.database.errors import DatabaseUnavailable
from app.database.postgresql import PostgreSQL
from app.database.sqlite import SQLite

T = TypeVar("T")


async def execute(database: Database, sql: str, parameters: Any = None) -> None:
    """Run one statement; a list of parameters runs it once for each."""

    def act(connection: Connection) -> None:
        connection.exec_driver_sql(sql, parameters)

    await database.write(act)


async def count_rows(database: Database, *tables: str) -> list[int]:
    """Return how many rows each table has."""
    return await database.read(
        lambda connection: [
            connection.exec_driver_sql(f"SELECT count(*) FROM {table}").scalar_one() for table in tables
        ]
    )


def lose_confirmation(monkeypatch: pytest.MonkeyPatch, table: str) -> list[str]:
    """Report the next commit that adds rows to `table` as of unknown outcome, though it is stored.

    Returns a list that has the table's name once that has happened.
    """
    lost: list[str] = []

    def losing(kind: type[SQLite | PostgreSQL]) -> Callable[..., Any]:
        write = kind.write

        async def write_and_lose(database: Any, act: Callable[[Connection], T]) -> T:
            def counting(connection: Connection) -> tuple[T, bool]:
                query = f"SELECT count(*) FROM {table}"
                before = connection.exec_driver_sql(query).scalar_one()
                return act(connection), connection.exec_driver_sql(query).scalar_one() > before

            result, has_added = await write(database, counting)
            if has_added and not lost:
                lost.append(table)
                raise DatabaseUnavailable(is_certain=False)
            return result

        return write_and_lose

    for kind in (SQLite, PostgreSQL):
        monkeypatch.setattr(kind, "write", losing(kind))
    return lost
