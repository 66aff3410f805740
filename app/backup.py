"""Backups of a data folder: one file that holds the database, attachments, profiles, settings and the master key.

The file is a tar. Its last member, `manifest.json`, names every other one with its size and SHA-256, so that a file
that was cut off is known by the manifest that it lacks. Without the master key API keys and bots' secrets could not be
read again; whoever has the file can therefore do what the server can.
"""

import errno
import hashlib
import os
import secrets
import shutil
import sqlite3
import tarfile
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import IO

import msgspec

from app import __version__
from app.database.engine import sqlite_url
from app.database.migrations import WrongSchema, head, problems, upgrade

FORMAT = 1
DATABASE = "palaver.db"
ATTACHMENTS = "attachments"
MANIFEST = "manifest.json"
MAX_MANIFEST_BYTES = 256 * 1024**2
BLOCK_BYTES = 1024**2

OWN = (DATABASE, ATTACHMENTS, "configs")
"""What a restore replaces even when the backup has none of it."""

CONTENTS = (*OWN, "palaver.toml", "secret.key")
"""What a backup takes of a data folder."""

BESIDE_DATABASE = (f"{DATABASE}-wal", f"{DATABASE}-shm")
"""What SQLite keeps beside its file: belongs to the one that is there, and to no other."""

JOURNAL = "restore.json"


class BackupError(Exception):
    """What keeps a backup from being made or restored; one line for the operator."""


class Member(msgspec.Struct, frozen=True):
    size: int
    sha256: str


class Manifest(msgspec.Struct, frozen=True):
    """What a backup holds; `revision` is that of the database's schema."""

    format: int
    palaver: str
    revision: str
    created_at: datetime
    members: dict[str, Member]


class _Journal(msgspec.Struct, frozen=True):
    """A restore that is decided: what lies in the folder `staged` takes the place of what is there now."""

    staged: str
    before: str
    entries: list[str]


@dataclass(frozen=True, slots=True)
class Report:
    """What a backup holds: bytes of the database, attachments, those of them without bytes, and whether the key."""

    database_bytes: int
    attachments: int
    missing: int
    has_key: bool


@dataclass(frozen=True, slots=True)
class Restored:
    """What was put in place; `before` is where what was there before is kept, if anything was."""

    manifest: Manifest
    before: Path | None


# Making one


def back_up(data_dir: Path, target: Path, *, with_attachments: bool = True) -> Report:
    """Write a backup of the folder to `target`, which must not exist; a server may be at work on the folder meanwhile.

    The database is as it was at one moment. All or nothing: until the file is whole and on the disk it has another
    name. Blocks. Raises BackupError.
    """
    if target.exists():
        raise BackupError(f"{target} exists already: a backup is never written over")
    if not (data_dir / DATABASE).is_file():
        raise BackupError(f"There is no database in {data_dir}")
    with _plainly("The backup could not be made"), ExitStack() as stack:
        folder = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.absolute().parent))
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        snapshot, draft = folder / DATABASE, folder / "backup.tar"
        _snapshot(data_dir / DATABASE, snapshot)
        with _new_file(draft) as file, tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as tar:
            writer = _Writer(tar)
            report = _fill(writer, data_dir, snapshot, with_attachments=with_attachments)
            writer.close(_revision_of(snapshot))
        _publish(draft, target)
    return report


def _fill(writer: "_Writer", data_dir: Path, snapshot: Path, *, with_attachments: bool) -> Report:
    keys = _attachment_keys(snapshot) if with_attachments else []
    missing = [key for key in keys if not writer.add(f"{ATTACHMENTS}/{key}", data_dir / ATTACHMENTS / key)]
    # The database comes after the attachments: those that were deleted meanwhile are deleted in it too.
    deleted = _forget_deleted(snapshot, data_dir / DATABASE, missing)
    writer.add(DATABASE, snapshot)
    for profile in sorted((data_dir / "configs").glob("*.toml")):
        writer.add(f"configs/{profile.name}", profile)
    writer.add("palaver.toml", data_dir / "palaver.toml")
    has_key = writer.add("secret.key", data_dir / "secret.key")
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


def _forget_deleted(snapshot: Path, database: Path, keys: Iterable[str]) -> int:
    """Delete from the snapshot the attachments, of these, that are deleted in the database by now; their number."""
    keys = list(keys)
    if not keys:
        return 0
    there = set(_attachment_keys(database))
    deleted = [(key,) for key in keys if key not in there]
    with closing(sqlite3.connect(snapshot)) as connection, connection:
        connection.executemany("DELETE FROM attachments WHERE storage_key = ?", deleted)
    return len(deleted)


def _revision_of(database: Path) -> str:
    with closing(sqlite3.connect(database)) as connection:
        return str(connection.execute("SELECT version_num FROM alembic_version").fetchone()[0])


class _Writer:
    """Adds files to a tar, and their checksums to its manifest."""

    def __init__(self, tar: tarfile.TarFile) -> None:
        self._tar = tar
        self._members: dict[str, Member] = {}

    def add(self, name: str, path: Path) -> bool:
        """Add a file; False when there is none."""
        try:
            file = path.open("rb")
        except FileNotFoundError:
            return False
        with file:
            info = _member(name, os.fstat(file.fileno()).st_size)
            hashed = _Hashed(file)
            self._tar.addfile(info, hashed)
        self._members[name] = Member(info.size, hashed.hexdigest())
        return True

    def close(self, revision: str) -> None:
        """Add the manifest: nothing can come after it."""
        manifest = Manifest(FORMAT, __version__, revision, datetime.now(UTC), self._members)
        draft = msgspec.json.format(msgspec.json.encode(manifest), indent=1)
        with tempfile.TemporaryFile() as file:
            file.write(draft)
            file.seek(0)
            self._tar.addfile(_member(MANIFEST, len(draft)), file)


class _Hashed:
    """A file that is hashed while it is read."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._hash = hashlib.sha256()

    def read(self, size: int = -1, /) -> bytes:
        data = self._file.read(size)
        self._hash.update(data)
        return data

    def hexdigest(self) -> str:
        return self._hash.hexdigest()


def _member(name: str, size: int) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.size = size
    info.mode = 0o600
    return info


@contextmanager
def _new_file(path: Path) -> Iterator[IO[bytes]]:
    """A file for its owner only, which is on the disk when the block has ended."""
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        yield file
        file.flush()
        os.fsync(file.fileno())


def _publish(draft: Path, target: Path) -> None:
    """Give the finished file its name, unless another has got it meanwhile."""
    try:
        os.link(draft, target)
    except FileExistsError:
        raise BackupError(f"{target} exists already: a backup is never written over") from None
    except OSError as error:
        # Some network and memory-card file systems know no links.
        if error.errno not in (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS):
            raise
        draft.rename(target)
    _fsync_folder(target.absolute().parent)


# Restoring one


def restore(data_dir: Path, source: Path, *, force: bool = False) -> Restored:
    """Put a backup's contents in the place of the folder's, when all of it was checked.

    The caller holds the folder's lock. Without `force` the folder must have no database. What was there before is kept
    in a folder of its own. Blocks. Raises BackupError, and nothing is changed then.
    """
    if (data_dir / DATABASE).exists() and not force:
        raise BackupError(f"{data_dir} has a database already: --force puts the backup in its place")
    mark = f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{secrets.token_hex(3)}"
    staged = data_dir / f"restoring-{mark}"
    with _plainly("The backup could not be restored"), ExitStack() as stack:
        staged.mkdir(mode=0o700)
        unwind = stack.enter_context(ExitStack())
        unwind.callback(shutil.rmtree, staged, ignore_errors=True)
        manifest = _unpack(source, staged)
        _check_database(staged / DATABASE)
        _fsync_tree(staged)
        entries = [name for name in CONTENTS if (staged / name).exists()]
        # From here on the restore is decided: what is cut off now is finished by the next start.
        _write_journal(data_dir, _Journal(staged.name, f"before-restore-{mark}", entries))
        unwind.pop_all()
        before = finish_restore(data_dir)
    return Restored(manifest, before)


def finish_restore(data_dir: Path) -> Path | None:
    """Carry out a restore that is decided, if there is one: where what was there before is kept, if anything was.

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
        replaced = name in journal.entries or name in OWN or name in BESIDE_DATABASE
        if replaced and not is_placed and (data_dir / name).exists():
            (data_dir / name).rename(before / name)
        if name in journal.entries and not is_placed:
            (staged / name).rename(data_dir / name)
    _fsync_folder(data_dir)
    (data_dir / JOURNAL).unlink()
    shutil.rmtree(staged, ignore_errors=True)
    with suppress(OSError):  # what was there before fills it
        before.rmdir()
    return before if before.exists() else None


def _unpack(source: Path, folder: Path) -> Manifest:
    """Unpack a backup into a folder, and check every file against the manifest."""
    found: dict[str, Member] = {}
    manifest: Manifest | None = None
    try:
        with tarfile.open(source, mode="r:") as tar:
            for info in tar:
                if not info.isfile() or not _is_content(info.name) or info.name in found or manifest is not None:
                    raise BackupError(f"{source} is not a backup of Palaver: it holds {info.name!r}")
                if info.name == MANIFEST:
                    manifest = _read_manifest(tar, info)
                else:
                    found[info.name] = _extract(tar, info, folder / info.name)
    except (tarfile.TarError, EOFError) as error:
        raise BackupError(f"{source} is not a backup of Palaver, or is damaged: {error}") from error
    if manifest is None:
        raise BackupError(f"{source} is not whole: its end is missing")
    names = sorted(manifest.members.keys() | found)
    wrong = [name for name in names if manifest.members.get(name) != found.get(name)]
    if wrong:
        raise BackupError(f"{source} is damaged: {wrong[0]} is not what was backed up")
    return manifest


def _extract(tar: tarfile.TarFile, info: tarfile.TarInfo, path: Path) -> Member:
    """Write a member's bytes, and nothing else of what the tar says of it, to a new file."""
    file = tar.extractfile(info)
    assert file is not None
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    hashed = _Hashed(file)
    with _new_file(path) as target:
        shutil.copyfileobj(hashed, target, BLOCK_BYTES)
    return Member(path.stat().st_size, hashed.hexdigest())


def _is_content(name: str) -> bool:
    path = PurePosixPath(name)
    return name == MANIFEST or (path.parts[:1] != () and path.parts[0] in CONTENTS and ".." not in path.parts)


def _read_manifest(tar: tarfile.TarFile, info: tarfile.TarInfo) -> Manifest:
    file = tar.extractfile(info)
    assert file is not None
    try:
        manifest = msgspec.json.decode(file.read(MAX_MANIFEST_BYTES), type=Manifest)
    except msgspec.DecodeError as error:
        raise BackupError(f"The backup's manifest cannot be read: {error}") from error
    if manifest.format != FORMAT:
        raise BackupError(f"The backup has the format {manifest.format}, and this version of Palaver reads {FORMAT}")
    if DATABASE not in manifest.members:
        raise BackupError("The backup has no database")
    return manifest


def _check_database(database: Path) -> None:
    """Bring the database to this version's schema, and see that it is sound."""
    url = sqlite_url(database.absolute())
    try:
        upgrade(url)
        found = problems(url)
    except (WrongSchema, sqlite3.Error) as error:
        raise BackupError(f"The backup's database cannot be used by this version ({head()}): {error}") from error
    if found:
        raise BackupError(f"The backup's database is not sound: {found[0]}")
    database.with_name(f"{DATABASE}.lock").unlink(missing_ok=True)
    with database.open("rb") as file:
        os.fsync(file.fileno())


def _write_journal(data_dir: Path, journal: _Journal) -> None:
    draft = data_dir / f"{JOURNAL}.new"
    draft.unlink(missing_ok=True)
    with _new_file(draft) as file:
        file.write(msgspec.json.encode(journal))
    draft.rename(data_dir / JOURNAL)
    _fsync_folder(data_dir)


# Disks


@contextmanager
def _plainly(what: str) -> Iterator[None]:
    try:
        yield
    except (OSError, sqlite3.Error) as error:
        raise BackupError(f"{what}: {error}") from error


def _fsync_tree(folder: Path) -> None:
    """Make sure of the folders; their files are on the disk already."""
    for parent, _, _ in os.walk(folder):
        _fsync_folder(Path(parent))


def _fsync_folder(folder: Path) -> None:
    with suppress(OSError):  # not every system can
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
