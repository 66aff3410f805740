"""PostgreSQL: transactions on a pool of asyncpg's connections."""

from collections.abc import Callable
from typing import Any, TypeVar

from sqlalchemy import Connection, event
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from app.database.errors import DRIVER_ERRORS, DatabaseUnavailable, is_fault
from app.database.tables import ENGINE_OPTIONS

T = TypeVar("T")

NUL_REPLACEMENT = "\ufffd"


class PostgreSQL:
    """The PostgreSQL database at `url`."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._engine = create_async_engine(url, pool_pre_ping=True, **ENGINE_OPTIONS)
        # As on SQLite, all that one read sees is of one moment.
        self._snapshots = self._engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
        event.listen(self._engine.sync_engine, "before_cursor_execute", _replace_nul, retval=True)

    async def read(self, act: Callable[[Connection], T]) -> T:
        return await _run(self._snapshots, act)

    async def write(self, act: Callable[[Connection], T]) -> T:
        return await _run(self._engine, act)

    async def close(self) -> None:
        await self._engine.dispose()


async def _run(engine: AsyncEngine, act: Callable[[Connection], T]) -> T:
    try:
        async with engine.begin() as connection:
            return await connection.run_sync(act)
    except DRIVER_ERRORS as error:
        if is_fault(error):
            raise DatabaseUnavailable from error
        raise


def _replace_nul(
    _connection: Connection, _cursor: Any, statement: str, parameters: Any, _context: Any, executemany: bool
) -> tuple[str, Any]:
    """Replace NUL characters, which PostgreSQL keeps in no text: an id with one then names nothing."""
    if executemany:
        return statement, [_without_nul(each) for each in parameters]
    return statement, _without_nul(parameters)


def _without_nul(parameters: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(
        value.replace("\0", NUL_REPLACEMENT) if isinstance(value, str) and "\0" in value else value
        for value in parameters
    )
