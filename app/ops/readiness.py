"""The checks behind `/ready`."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Final

import structlog
from sqlalchemy import text

from app.database.engine import Database

CHECK_TIMEOUT_SECONDS: Final = 2.0
WRITE_EVERY_SECONDS: Final = 1.0

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


class PacedCheck:
    """A check that writes: made once in `seconds`, however often it is asked for; askers in between share the outcome.

    An asker that gives up does not end the check for the others.
    """

    def __init__(self, check: Check, seconds: float = WRITE_EVERY_SECONDS) -> None:
        self._check = check
        self._seconds = seconds
        self._outcome: asyncio.Future[object] | None = None
        self._due = 0.0

    async def __call__(self) -> object:
        if self._outcome is None or (self._outcome.done() and time.monotonic() >= self._due):
            self._outcome = asyncio.ensure_future(self._check())
            self._outcome.add_done_callback(self._wait)
        return await asyncio.shield(self._outcome)

    def _wait(self, outcome: asyncio.Future[object]) -> None:
        self._due = time.monotonic() + self._seconds
        if not outcome.cancelled():
            outcome.exception()  # retrieved, even if all askers have given up


def database_check(database: Database) -> Check:
    """Make the check of the database: it answers, has been migrated, and takes a write."""

    # A bare `SELECT 1` never reaches SQLite's file.
    query = text("SELECT version_num FROM alembic_version")
    # Written though it changes nothing: a full disk and a lock of another process show.
    update = text("UPDATE alembic_version SET version_num = version_num")
    return all_of(
        lambda: database.read(lambda connection: connection.execute(query).all()),
        PacedCheck(lambda: database.write(lambda connection: connection.execute(update).rowcount)),
    )


def all_of(*checks: Check) -> Check:
    """Make the check that is passed when all of these are."""

    async def check() -> None:
        for each in checks:
            await each()

    return check
