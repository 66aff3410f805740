"""The checks behind `/ready`."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Final

import structlog
from sqlalchemy import text

from app.database.engine import Database

CHECK_TIMEOUT_SECONDS: Final = 2.0

log = structlog.get_logger(__name__)

Check = Callable[[], Awaitable[object]]


@dataclass(frozen=True, slots=True)
class ReadyChecks:
    """The checks of all parts that must work: each raises when its part does not."""

    checks: Mapping[str, Check]
    timeout_seconds: float = CHECK_TIMEOUT_SECONDS

    async def run(self) -> dict[str, bool]:
        """Check every part, side by side; one that does not answer in time has failed."""
        outcomes = await asyncio.gather(
            *(asyncio.wait_for(check(), self.timeout_seconds) for check in self.checks.values()),
            return_exceptions=True,
        )
        results = dict(zip(self.checks, outcomes, strict=True))
        for name, outcome in results.items():
            if isinstance(outcome, BaseException):
                log.warning("not_ready", check=name, error=repr(outcome))
        return {name: not isinstance(outcome, BaseException) for name, outcome in results.items()}


def database_check(database: Database) -> Check:
    """Make the check of the database: it answers, and has been migrated."""

    # A bare `SELECT 1` never reaches SQLite's file.
    query = text("SELECT version_num FROM alembic_version")
    return lambda: database.read(lambda connection: connection.execute(query).all())
