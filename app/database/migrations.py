"""The database's schema: whether it is the one this version wants, and bringing it there."""

import logging
import re
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock
from sqlalchemy import make_url

from app.errors import OperatorError

if TYPE_CHECKING:
    from alembic.config import Config

FOLDER = Path(__file__).resolve().parents[2] / "migrations"
_REVISION = re.compile(r"""^(down_)?revision\b[^=]*=\s*(?:"([^"]*)"|None)""", re.MULTILINE)


class WrongSchema(OperatorError):
    """A database that cannot be brought to this version's schema."""


def head() -> str:
    """The newest revision, read from the files' texts: importing Alembic costs more than the rest of the start."""
    revisions: set[str] = set()
    parents: set[str] = set()
    for file in (FOLDER / "versions").glob("*.py"):
        for is_parent, name in _REVISION.findall(file.read_text(encoding="utf-8")):
            (parents if is_parent else revisions).add(name)
    (newest,) = revisions - parents
    return newest


def current(url: str) -> str | None:
    """The revision of the SQLite database at `url`; None when there is none yet. Raises sqlite3.Error."""
    import sqlite3

    path = Path(make_url(url).database or "")
    if not path.exists():
        return None
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=30)) as connection:
        table = connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'alembic_version'").fetchone()
        row = connection.execute("SELECT version_num FROM alembic_version").fetchone() if table else None
    return row[0] if row else None


def upgrade(url: str) -> bool:
    """Bring the database at `url` to the newest revision; False when it was there.

    Blocks: call it before the event loop, or in a thread. Raises WrongSchema for a database that a newer version of
    Palaver made, and the driver's errors.
    """
    if not url.startswith("sqlite"):
        return _upgrade(url)
    if current(url) == head():
        return False
    # The server and the command line may both be first.
    with FileLock(f"{make_url(url).database}.lock", timeout=60):
        there = current(url)
        if there == head():
            return False
        known = {file.name.split("_")[0] for file in (FOLDER / "versions").glob("*.py")}
        if there is not None and there not in known:
            raise WrongSchema("The database was made by a newer version of Palaver")
        _use_wal(url)
        return _upgrade(url)


def _upgrade(url: str) -> bool:
    logging.getLogger("alembic").setLevel(logging.WARNING)
    from alembic import command

    command.upgrade(_config(url), "head")
    return True


def problems(url: str) -> list[str]:
    """What is wrong with the database at `url`, a line each: its schema's revision and, of SQLite, its soundness.

    Blocks. Raises the driver's errors.
    """
    import sqlite3

    if not url.startswith("sqlite"):
        return []
    there = current(url)
    if there is None:
        return ["There is no database yet, or nothing in it: palaver db upgrade"]
    found = [] if there == head() else [f"The schema is at revision {there}, not {head()}: palaver db upgrade"]
    path = make_url(url).database
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=30)) as connection:
        found += [f"Damaged: {row[0]}" for row in connection.execute("PRAGMA integrity_check(20)") if row[0] != "ok"]
        broken = connection.execute("PRAGMA foreign_key_check").fetchmany(20)
    return found + [f"A row of {table} names one of {parent} that is not there" for table, _, parent, _ in broken]


def _use_wal(url: str) -> None:
    """Switch WAL on, which stays on. Done here, once: connections that do it side by side find the file locked."""
    import sqlite3

    with closing(sqlite3.connect(make_url(url).database or "", timeout=30)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")


def _config(url: str) -> "Config":
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(FOLDER))
    config.attributes["url"] = url
    return config
