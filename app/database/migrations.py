"""The database's schema: whether it is the one this version wants, and bringing it there."""

import asyncio
import logging
import re
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock
from sqlalchemy import NullPool, make_url, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import create_async_engine

from app.database.addresses import WrongDatabase, check_url, shown
from app.database.errors import is_fault
from app.database.postgresql import POOLED_ARGUMENTS

if TYPE_CHECKING:
    from alembic.config import Config

CONNECT_SECONDS = 10.0
INSUFFICIENT_PRIVILEGE = "42501"
FOLDER = Path(__file__).resolve().parents[2] / "migrations"
_REVISION = re.compile(r"""^(down_)?revision\b[^=]*=\s*(?:"([^"]*)"|None)""", re.MULTILINE)


class WrongSchema(WrongDatabase):
    """A database that cannot be brought to this version's schema."""


def head() -> str:
    """The newest revision, read from the files' texts: importing Alembic costs more than the rest of the start."""
    parents = _parents()
    (newest,) = parents.keys() - parents.values()
    return newest


def _parents() -> dict[str, str | None]:
    """The revisions, each with the one before it."""
    parents: dict[str, str | None] = {}
    for file in (FOLDER / "versions").glob("*.py"):
        names = {bool(is_parent): name for is_parent, name in _REVISION.findall(file.read_text(encoding="utf-8"))}
        parents[names[False]] = names[True] or None
    return parents


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
    Palaver made, WrongDatabase for one that cannot be used, and the driver's errors.
    """
    if not check_url(url).drivername.startswith("sqlite"):
        return _upgrade_server(url)
    if current(url) == head():
        return False
    # The server and the command line may both be first.
    with FileLock(f"{make_url(url).database}.lock", timeout=60):
        there = current(url)
        if there == head():
            return False
        _check_known(there)
        _use_wal(url)
        return _upgrade(url)


def downgrade(url: str, revision: str | None = None) -> str:
    """Bring the database at `url` back to an older revision, the one before its own if none is named; its name.

    What newer versions have stored in tables and columns of their own is gone then. No server may be using the
    database that needs them. Blocks. Raises WrongSchema for a revision that is not an older one of this version's,
    WrongDatabase, and the driver's errors.
    """
    is_file = check_url(url).drivername.startswith("sqlite")
    with refusing(url):
        there = current(url) if is_file else asyncio.run(current_of_server(url))
    _check_known(there)
    parents = _parents()
    older = [there] if there is not None else []
    while older and (parent := parents[older[-1]]) is not None:
        older.append(parent)
    target = revision or (older[1] if len(older) > 1 else None)
    if target is None or target not in older[1:]:
        raise WrongSchema(f"The schema is at revision {there}; there is no older one named {revision or 'before it'}")
    from alembic import command

    logging.getLogger("alembic").setLevel(logging.WARNING)
    command.downgrade(config_for(url), target)
    return target


def _upgrade_server(url: str) -> bool:
    with refusing(url):
        there = asyncio.run(current_of_server(url))
        if there == head():
            return False
        _check_known(there)
        # Of servers that start together, one migrates, and the others wait for its lock: see migrations/env.py.
        return _upgrade(url)


async def current_of_server(url: str) -> str | None:
    """The revision of the PostgreSQL database at `url`; None when there is none yet."""
    engine = create_async_engine(url, poolclass=NullPool, connect_args={"timeout": CONNECT_SECONDS, **POOLED_ARGUMENTS})
    try:
        async with engine.connect() as connection:
            if (await connection.execute(text("SELECT to_regclass('alembic_version')"))).scalar() is None:
                return None
            revision: str | None = (await connection.execute(text("SELECT version_num FROM alembic_version"))).scalar()
            return revision
    finally:
        await engine.dispose()


@contextmanager
def refusing(url: str) -> Iterator[None]:
    """Turn the errors of a server that is away or keeps Palaver out into WrongDatabase."""
    try:
        yield
    except TimeoutError as error:
        raise WrongDatabase(f"Cannot use the database {shown(url)}: it does not answer") from error
    except OSError as error:
        raise WrongDatabase(f"Cannot use the database {shown(url)}: {error}") from error
    except DBAPIError as error:
        if not is_fault(error) and getattr(error.orig, "sqlstate", None) != INSUFFICIENT_PRIVILEGE:
            raise
        raise WrongDatabase(f"Cannot use the database {shown(url)}: {error.orig}") from error


def _check_known(revision: str | None) -> None:
    """Raises WrongSchema for a revision of a newer version."""
    known = {file.name.split("_")[0] for file in (FOLDER / "versions").glob("*.py")}
    if revision is not None and revision not in known:
        raise WrongSchema("The database was made by a newer version of Palaver")


def _upgrade(url: str) -> bool:
    logging.getLogger("alembic").setLevel(logging.WARNING)
    from alembic import command

    command.upgrade(config_for(url), "head")
    return True


def _use_wal(url: str) -> None:
    """Switch WAL on, which stays on. Done here, once: connections that do it side by side find the file locked."""
    import sqlite3

    with closing(sqlite3.connect(make_url(url).database or "", timeout=30)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")


def config_for(url: str) -> "Config":
    """Alembic's configuration for the database at `url`."""
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(FOLDER))
    config.attributes["url"] = url
    return config
