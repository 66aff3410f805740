"""The file of an SQLite database, which must stay the one that was opened.

Whoever deletes or replaces it under a running server leaves the server with a file that has no name any more: all that
is written to it is gone when the server stops.
"""

import os
import sqlite3

import structlog
from sqlalchemy import make_url

log = structlog.get_logger(__name__)


class DatabaseFile:
    """The file at `url`; none for a database in memory."""

    def __init__(self, url: str) -> None:
        self._path = make_url(url).database or ""
        self._identity: tuple[int, int] | None = None
        self._missed = False

    def note(self) -> None:
        """Take the file that is there for the database, if it is the first that was opened."""
        if self._identity is None and self._path not in ("", ":memory:"):
            self._identity = self._current()

    def check(self) -> None:
        """Check that the file is still there. Raises sqlite3.OperationalError."""
        if self._identity is None:
            return
        if self._current() == self._identity:
            self._missed = False
            return
        if not self._missed:
            self._missed = True
            log.error("database_file_gone", file=self._path)
        raise sqlite3.OperationalError("the database's file was deleted or replaced while it was in use")

    def _current(self) -> tuple[int, int] | None:
        try:
            status = os.stat(self._path)  # noqa: PTH116  # before each commit, at a third of Path.stat's cost
        except OSError:
            return None
        return status.st_dev, status.st_ino
