"""The database of a server under test, read and changed past the server."""

from typing import Any

from sqlalchemy import Connection

from app.database.engine import Database


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
