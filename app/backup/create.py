"""Making a backup."""

import errno
import os
import shutil
import sqlite3
import tarfile
import tempfile
from collections.abc import Iterable
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path

from app.backup.archive import ArchiveWriter, BackupError, backup_errors, fsync_folder, new_file
from app.backup.layout import ATTACHMENTS, DATABASE, MASTER_KEY, PROFILES, SETTINGS


@dataclass(frozen=True, slots=True)
class Report:
    """The contents of a backup: bytes of the database, attachments, those of them without bytes, and the key."""

    database_bytes: int
    attachments: int
    missing: int
    has_key: bool


def back_up(data_dir: Path, target: Path, *, with_attachments: bool = True) -> Report:
    """Write a backup of the folder to `target`, which must not exist; a server may be at work on the folder meanwhile.

    The database is as it was at one moment. All or nothing: until the file is whole and on the disk it has another
    name. Blocks. Raises BackupError.
    """
    if target.exists():
        raise _exists(target)
    if not (data_dir / DATABASE).is_file():
        raise BackupError(f"There is no database in {data_dir}")
    with backup_errors("The backup could not be made"), ExitStack() as stack:
        folder = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.absolute().parent))
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        snapshot, draft = folder / DATABASE, folder / "backup.tar"
        _snapshot(data_dir / DATABASE, snapshot)
        with new_file(draft) as file, tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as tar:
            writer = ArchiveWriter(tar)
            report = _fill(writer, data_dir, snapshot, with_attachments=with_attachments)
            writer.close(_revision_of(snapshot))
        _publish(draft, target)
    return report


def _fill(writer: ArchiveWriter, data_dir: Path, snapshot: Path, *, with_attachments: bool) -> Report:
    keys = _attachment_keys(snapshot) if with_attachments else []
    missing = [key for key in keys if not writer.add(f"{ATTACHMENTS}/{key}", data_dir / ATTACHMENTS / key)]
    # The database comes after the attachments: those that were deleted meanwhile are deleted in it too.
    deleted = _forget_deleted(snapshot, data_dir / DATABASE, missing)
    writer.add(DATABASE, snapshot)
    for profile in sorted((data_dir / PROFILES).glob("*.toml")):
        writer.add(f"{PROFILES}/{profile.name}", profile)
    writer.add(SETTINGS, data_dir / SETTINGS)
    has_key = writer.add(MASTER_KEY, data_dir / MASTER_KEY)
    return Report(snapshot.stat().st_size, len(keys) - len(missing), len(missing) - deleted, has_key)


def _snapshot(database: Path, copy: Path) -> None:
    """Copy a database that is in use, in one go: steps would have to begin anew after each write."""
    with (
        closing(sqlite3.connect(f"{database.absolute().as_uri()}?mode=ro", uri=True, timeout=30)) as source,
        closing(sqlite3.connect(copy)) as target,
    ):
        source.backup(target)
        # One file without companions, as it goes into the tar; the server makes it WAL again.
        target.execute("PRAGMA journal_mode=DELETE")
    with copy.open("rb") as file:
        os.fsync(file.fileno())


def _attachment_keys(database: Path) -> list[str]:
    with closing(sqlite3.connect(database)) as connection:
        return [row[0] for row in connection.execute("SELECT storage_key FROM attachments ORDER BY storage_key")]


def _forget_deleted(snapshot: Path, database: Path, missing: Iterable[str]) -> int:
    """Delete from the snapshot those missing attachments that the database has lost meanwhile; returns their number."""
    missing = set(missing)
    if not missing:
        return 0
    deleted = missing.difference(_attachment_keys(database))
    with closing(sqlite3.connect(snapshot)) as connection, connection:
        connection.executemany("DELETE FROM attachments WHERE storage_key = ?", [(key,) for key in deleted])
    return len(deleted)


def _revision_of(database: Path) -> str:
    with closing(sqlite3.connect(database)) as connection:
        return str(connection.execute("SELECT version_num FROM alembic_version").fetchone()[0])


def _publish(draft: Path, target: Path) -> None:
    """Give the finished file its name, unless another file has that name by now."""
    try:
        os.link(draft, target)
    except FileExistsError:
        raise _exists(target) from None
    except OSError as error:
        # Some network and memory-card file systems know no links.
        if error.errno not in (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS):
            raise
        draft.rename(target)
    fsync_folder(target.absolute().parent)


def _exists(target: Path) -> BackupError:
    return BackupError(f"{target} exists already: a backup is never written over")
