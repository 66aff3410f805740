"""Restoring a backup, and finishing a restore that was cut off."""

import os
import secrets
import shutil
import sqlite3
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from app.backup.archive import BackupError, Manifest, backup_errors, fsync_folder, new_file, unpack
from app.backup.layout import ALWAYS_REPLACED, BESIDE_DATABASE, CONTENTS, DATABASE, JOURNAL
from app.database.checking import problems
from app.database.engine import sqlite_url
from app.database.migrations import WrongSchema, head, upgrade


class _Journal(msgspec.Struct, frozen=True):
    """A restore that is decided: the entries of the folder `staged` replace the present ones, which go to `before`."""

    staged: str
    before: str
    entries: list[str]


@dataclass(frozen=True, slots=True)
class Restored:
    """The contents that were put in place; `before` is the folder of those that they replaced, if there were any."""

    manifest: Manifest
    before: Path | None


def restore(data_dir: Path, source: Path, *, force: bool = False) -> Restored:
    """Replace the folder's contents by a backup's, once all of it has been checked.

    The caller holds the folder's lock. Without `force` the folder must have no database. The contents that are replaced
    are kept in a folder of their own. Blocks. Raises BackupError, and nothing is changed then.
    """
    if (data_dir / DATABASE).exists() and not force:
        raise BackupError(f"{data_dir} has a database already: --force puts the backup in its place")
    suffix = f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{secrets.token_hex(3)}"
    staged = data_dir / f"restoring-{suffix}"
    with backup_errors("The backup could not be restored"), ExitStack() as stack:
        staged.mkdir(mode=0o700)
        unwind = stack.enter_context(ExitStack())
        unwind.callback(shutil.rmtree, staged, ignore_errors=True)
        manifest = unpack(source, staged)
        _check_database(staged / DATABASE)
        _fsync_tree(staged)
        entries = [name for name in CONTENTS if (staged / name).exists()]
        # From here on the restore is decided: what is cut off now is finished by the next start.
        _write_journal(data_dir, _Journal(staged.name, f"before-restore-{suffix}", entries))
        unwind.pop_all()
        before = finish_restore(data_dir)
    return Restored(manifest, before)


def finish_restore(data_dir: Path) -> Path | None:
    """Carry out a restore that is decided, if there is one; returns the folder of the replaced contents, if any.

    The caller holds the folder's lock. Raises OSError, and can be called again then.
    """
    try:
        journal = msgspec.json.decode((data_dir / JOURNAL).read_bytes(), type=_Journal)
    except FileNotFoundError:
        return None
    staged, before = data_dir / journal.staged, data_dir / journal.before
    before.mkdir(mode=0o700, exist_ok=True)
    for name in (*BESIDE_DATABASE, *CONTENTS):
        is_placed = name in journal.entries and not (staged / name).exists()
        is_replaced = name in (*journal.entries, *ALWAYS_REPLACED, *BESIDE_DATABASE)
        if is_replaced and not is_placed and (data_dir / name).exists():
            (data_dir / name).rename(before / name)
        if name in journal.entries and not is_placed:
            (staged / name).rename(data_dir / name)
    fsync_folder(data_dir)
    (data_dir / JOURNAL).unlink()
    shutil.rmtree(staged, ignore_errors=True)
    with suppress(OSError):  # it is not empty
        before.rmdir()
    return before if before.exists() else None


def _check_database(database: Path) -> None:
    """Bring the database to this version's schema, and check it for damage."""
    url = sqlite_url(database.absolute())
    try:
        upgrade(url)
        faults = problems(url)
    except (WrongSchema, sqlite3.Error) as error:
        raise BackupError(f"The backup's database cannot be used by this version ({head()}): {error}") from error
    if faults:
        raise BackupError(f"The backup's database is not sound: {faults[0]}")
    database.with_name(f"{DATABASE}.lock").unlink(missing_ok=True)
    with database.open("rb") as file:
        os.fsync(file.fileno())


def _write_journal(data_dir: Path, journal: _Journal) -> None:
    draft = data_dir / f"{JOURNAL}.new"
    draft.unlink(missing_ok=True)
    with new_file(draft) as file:
        file.write(msgspec.json.encode(journal))
    draft.rename(data_dir / JOURNAL)
    fsync_folder(data_dir)


def _fsync_tree(folder: Path) -> None:
    """Write the folders to the disk; their files are there already."""
    for parent, _, _ in os.walk(folder):
        fsync_folder(Path(parent))
