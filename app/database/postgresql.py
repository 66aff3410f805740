"""PostgreSQL: transactions on a pool of asyncpg's connections."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from sqlalchemy import Connection, event
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from app.database.errors import DRIVER_ERRORS, DatabaseUnavailable, is_conflict, is_fault, is_overtaken
from app.database.tables import ENGINE_OPTIONS

NUL_REPLACEMENT = "\ufffd"
TRIES = 5
"""How often a transaction is made that PostgreSQL gives up for another one."""

POOLED_ARGUMENTS: Mapping[str, Any] = {
    "statement_cache_size": 0,
    "prepared_statement_cache_size": 0,
    "prepared_statement_name_func": str,
}
"""Arguments of asyncpg's connections for a pooler, where the next transaction may be on another connection.

Statements without a name last until the next one is prepared, and leave nothing behind.
"""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class PostgresOptions:
    """The pool of connections, and how long is waited for what; `pooler` for one like PgBouncer in between."""

    pool_size: int = 15
    pool_timeout_seconds: float = 10.0
    connect_timeout_seconds: float = 5.0
    statement_timeout_seconds: float = 30.0
    lock_timeout_seconds: float = 10.0
    pooler: bool = False
    network_seconds: float = 5.0
    """How much longer than the server's timeout a statement's answer is waited for: the server may be gone."""

    def timeouts(self) -> dict[str, str]:
        """Return PostgreSQL's settings for them."""
        return {
            "statement_timeout": f"{self.statement_timeout_seconds * 1000:.0f}",
            "lock_timeout": f"{self.lock_timeout_seconds * 1000:.0f}",
        }


class PostgreSQL:
    """The PostgreSQL database at `url`."""

    def __init__(self, url: str, options: PostgresOptions) -> None:
        self.url = url
        self._engine = create_async_engine(
            url,
            pool_pre_ping=True,
            pool_size=options.pool_size,
            # Connections beyond the pool would be opened and closed again and again under load.
            max_overflow=0,
            pool_timeout=options.pool_timeout_seconds,
            connect_args=_connect_args(options),
            **ENGINE_OPTIONS,
        )
        # As on SQLite, all that one read sees is of one moment.
        self._snapshots = self._engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
        event.listen(self._engine.sync_engine, "before_cursor_execute", _replace_nul, retval=True)
        if options.pooler:
            # Those of the connection are the pooler's, and other clients'.
            event.listen(self._engine.sync_engine, "begin", _set_timeouts(options))

    async def read(self, act: Callable[[Connection], T]) -> T:
        return await _run(self._snapshots, act)

    async def write(self, act: Callable[[Connection], T]) -> T:
        return await _run(self._engine, act)

    async def close(self) -> None:
        await self._engine.dispose()


def _connect_args(options: PostgresOptions) -> dict[str, Any]:
    """Return the arguments of asyncpg's connections."""
    arguments: dict[str, Any] = {
        "timeout": options.connect_timeout_seconds,
        "command_timeout": options.statement_timeout_seconds + options.network_seconds,
    }
    if options.pooler:
        return {**arguments, **POOLED_ARGUMENTS}
    return {**arguments, "server_settings": options.timeouts()}


async def _run(engine: AsyncEngine, act: Callable[[Connection], T]) -> T:
    """Make the transaction; again, when it is given up for another one. Raises DatabaseUnavailable.

    It is made again, once, when a row was added or deleted that it had looked for: the second try sees that.
    """
    failure: DBAPIError | None = None
    for _ in range(TRIES):
        try:
            return await _attempt(engine, act)
        except DBAPIError as error:
            is_first_overtaking = is_overtaken(error) and not (failure is not None and is_overtaken(failure))
            if not (is_conflict(error) or is_first_overtaking):
                raise
            failure = error
    raise DatabaseUnavailable from failure


async def _attempt(engine: AsyncEngine, act: Callable[[Connection], T]) -> T:
    is_certain = True
    try:
        async with engine.connect() as connection:
            try:
                result = await connection.run_sync(act)
                is_certain = False
                await connection.commit()
            except OSError:  # there was no answer: to ask for a rollback would take as long again
                await connection.invalidate()
                raise
            return result
    # asyncpg connects and waits with the network's own errors.
    except (*DRIVER_ERRORS, OSError) as error:
        if is_conflict(error) or not (isinstance(error, OSError) or is_fault(error)):
            raise
        raise DatabaseUnavailable(is_certain=is_certain) from error


def _set_timeouts(options: PostgresOptions) -> Callable[[Connection], None]:
    """Make a function that sets the timeouts of a transaction that begins."""
    values = ", ".join(f"set_config('{name}', '{value}', true)" for name, value in options.timeouts().items())

    def set_timeouts(connection: Connection) -> None:
        connection.exec_driver_sql(f"SELECT {values}")

    return set_timeouts


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
