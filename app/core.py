"""What the server and the command line share: the data folder, and the database, secrets and keys in it.

The command line needs no more than this, and is quick because it imports no more.
"""

import os
from dataclasses import dataclass, replace
from uuid import uuid4

from filelock import FileLock, Timeout

from app.auth.checks import operator_keys
from app.auth.service import KeyService
from app.crypto import SecretBox, load_or_create_master_key, parse_master_key
from app.database.engine import Database, open_database, sqlite_url
from app.database.postgresql import PostgresOptions
from app.settings import Settings


@dataclass(frozen=True, slots=True)
class Core:
    """The database of a data folder, its secrets and its keys."""

    settings: Settings
    database_url: str
    database: Database
    secrets: SecretBox
    keys: KeyService

    @property
    def is_embedded(self) -> bool:
        """Whether the database is the one of the data folder, which one server has to itself."""
        return self.database_url.startswith("sqlite")


class ServerIdentity:
    """The name of this server among those that share a database; after a restart on the same data folder the same.

    A second server on the folder gets another name for as long as the first one lasts.
    """

    def __init__(self, settings: Settings) -> None:
        path = settings.data_dir / "server.id"
        self._lock = FileLock(settings.data_dir / "server.lock")
        try:
            self._lock.acquire(timeout=0)
        except Timeout:
            self.id = str(uuid4())
            return
        if not path.exists():
            path.write_text(str(uuid4()))
        self.id = path.read_text()

    def release(self) -> None:
        self._lock.release()


def prepare_data_dir(settings: Settings) -> None:
    """Make the data folder, for its owner only. Raises OSError when it cannot be made or written."""
    settings.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not os.access(settings.data_dir, os.W_OK | os.X_OK):
        raise PermissionError(f"{settings.data_dir} is not writable")


def data_dir_lock(settings: Settings) -> FileLock:
    """The lock of the one server that may use the data folder; the same object in the whole process."""
    return FileLock(settings.data_dir / "palaver.lock", is_singleton=True)


def database_url_of(settings: Settings) -> str:
    return settings.database_url or sqlite_url((settings.data_dir / "palaver.db").absolute())


def open_core(settings: Settings) -> Core:
    """The core of the data folder, which must exist. Raises OSError, ValueError for a broken master key."""
    secrets = SecretBox(
        parse_master_key(settings.secret_key.get_secret_value())
        if settings.secret_key is not None
        else load_or_create_master_key(settings.data_dir / "secret.key")
    )
    url = database_url_of(settings)
    database = open_database(url, _postgres_options(settings))
    entries = [{**entry.model_dump(), "key": entry.key.get_secret_value()} for entry in settings.api_keys]
    keys = KeyService(database, secrets, settings.data_dir / "keys.changed", operator_keys(entries, secrets))
    return Core(settings, url, database, secrets, keys)


def open_aside(core: Core) -> Database:
    """The same database by one connection of its own, which no request can be in the way of."""
    return open_database(core.database_url, replace(_postgres_options(core.settings), pool_size=1))


def _postgres_options(settings: Settings) -> PostgresOptions:
    return PostgresOptions(
        pool_size=settings.database_pool_size,
        pool_timeout_seconds=settings.database_pool_timeout_seconds,
        connect_timeout_seconds=settings.database_connect_timeout_seconds,
        statement_timeout_seconds=settings.database_statement_timeout_seconds,
        lock_timeout_seconds=settings.database_lock_timeout_seconds,
        pooler=settings.database_pooler,
    )
