"""`palaver keys` on a database that another process keeps locked."""

import os
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from app.cli import main


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Wait for less than usual, and put back the umask, which the command sets for its process."""
    monkeypatch.setattr("app.database.sqlite.BUSY_TIMEOUT_SECONDS", 0.1)
    monkeypatch.setattr("app.cli.keys.RETRY_SECONDS", 0.05)
    umask = os.umask(0o077)
    yield
    os.umask(umask)


@contextmanager
def locked(data_dir: Path, seconds: float) -> Iterator[None]:
    """Keep writers out of the database for so long."""
    is_locked = threading.Event()

    def lock() -> None:
        with closing(sqlite3.connect(data_dir / "palaver.db", isolation_level=None)) as connection:
            connection.execute("BEGIN IMMEDIATE")
            is_locked.set()
            time.sleep(seconds)
            connection.execute("ROLLBACK")

    thread = threading.Thread(target=lock)
    thread.start()
    is_locked.wait(5)
    yield
    thread.join()


def keys(data_dir: Path, *arguments: str) -> Result:
    return CliRunner().invoke(main, ["keys", *arguments, "--data-dir", str(data_dir)])


def new_key(data_dir: Path) -> str:
    assert keys(data_dir, "create", "--name", "a", "--scope", "chat").exit_code == 0
    return keys(data_dir, "list").stdout.splitlines()[-1].split()[0]


def test_a_key_is_revoked_once_the_database_is_free(data_dir: Path) -> None:
    key_id = new_key(data_dir)
    with locked(data_dir, seconds=1.0):
        result = keys(data_dir, "revoke", key_id)
    assert (result.exit_code, result.stdout) == (0, f"Key {key_id} (a) is revoked\n")
    assert result.stderr == "The database takes no changes; trying for 60 seconds\n"


def test_a_revocation_that_cannot_be_stored_says_so(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.cli.keys.REVOKE_SECONDS", 0.3)
    key_id = new_key(data_dir)
    with locked(data_dir, seconds=3.0):
        result = keys(data_dir, "revoke", key_id)
    assert (result.exit_code, result.stdout) == (1, "")
    error = result.stderr.splitlines()[-1]
    assert error == "Error: The database is not available at the moment; nothing was changed"
    assert keys(data_dir, "list").stdout.splitlines()[-1].split()[1] == "live"
