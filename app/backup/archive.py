"""The tar of a backup, and the disk under it."""

import hashlib
import os
import shutil
import sqlite3
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import IO

import msgspec

from app import __version__
from app.backup.layout import CONTENTS, DATABASE, MANIFEST
from app.errors import OperatorError

FORMAT = 1
MAX_MANIFEST_BYTES = 256 * 1024**2
BLOCK_BYTES = 1024**2


class BackupError(OperatorError):
    """A backup that cannot be made or restored."""


class Member(msgspec.Struct, frozen=True):
    size: int
    sha256: str


class Manifest(msgspec.Struct, frozen=True):
    """The contents of a backup; `revision` is that of the database's schema."""

    format: int
    palaver: str
    revision: str
    created_at: datetime
    members: dict[str, Member]


class ArchiveWriter:
    """Adds files to a tar, and their checksums to its manifest."""

    def __init__(self, tar: tarfile.TarFile) -> None:
        self._tar = tar
        self._members: dict[str, Member] = {}

    def add(self, name: str, path: Path) -> bool:
        """Add a file; returns False when there is none."""
        try:
            file = path.open("rb")
        except FileNotFoundError:
            return False
        with file:
            info = _tar_info(name, os.fstat(file.fileno()).st_size)
            reader = _HashingReader(file)
            self._tar.addfile(info, reader)
        self._members[name] = Member(info.size, reader.hexdigest())
        return True

    def close(self, revision: str) -> None:
        """Add the manifest: nothing can come after it."""
        manifest = Manifest(FORMAT, __version__, revision, datetime.now(UTC), self._members)
        text = msgspec.json.format(msgspec.json.encode(manifest), indent=1)
        with tempfile.TemporaryFile() as file:
            file.write(text)
            file.seek(0)
            self._tar.addfile(_tar_info(MANIFEST, len(text)), file)


def unpack(source: Path, folder: Path) -> Manifest:
    """Unpack a backup into a folder, and check every file against the manifest. Raises BackupError."""
    size, free = source.stat().st_size, shutil.disk_usage(folder).free
    if size > free:
        raise BackupError(f"{source} has {size} bytes, and the disk of {folder.parent} has room for {free}")
    members: dict[str, Member] = {}
    manifest: Manifest | None = None
    try:
        with tarfile.open(source, mode="r:") as tar:
            for info in tar:
                if not info.isfile() or not _is_content(info.name) or info.name in members or manifest is not None:
                    raise BackupError(f"{source} is not a backup of Palaver: it holds {info.name!r}")
                if info.issparse():  # a few bytes that stand for any number; without them all fits the file's size
                    raise BackupError(f"{source} is not a backup of Palaver: {info.name!r} is sparse")
                if info.name == MANIFEST:
                    manifest = _read_manifest(tar, info)
                else:
                    members[info.name] = _extract(tar, info, folder / info.name)
    except (tarfile.TarError, EOFError) as error:
        raise BackupError(f"{source} is not a backup of Palaver, or is damaged: {error}") from error
    if manifest is None:
        raise BackupError(f"{source} is not whole: its end is missing")
    names = sorted(manifest.members.keys() | members)
    if damaged := [name for name in names if manifest.members.get(name) != members.get(name)]:
        raise BackupError(f"{source} is damaged: {damaged[0]} is not what was backed up")
    return manifest


@contextmanager
def new_file(path: Path) -> Iterator[IO[bytes]]:
    """Create a file for its owner only, which is on the disk when the block has ended."""
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        yield file
        file.flush()
        os.fsync(file.fileno())


def fsync_folder(folder: Path) -> None:
    with suppress(OSError):  # not every system can
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


@contextmanager
def backup_errors(problem: str) -> Iterator[None]:
    """Turn errors of the disk and of SQLite into a BackupError."""
    try:
        yield
    except (OSError, sqlite3.Error) as error:
        raise BackupError(f"{problem}: {error}") from error


class _HashingReader:
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


def _tar_info(name: str, size: int) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.size = size
    info.mode = 0o600
    return info


def _extract(tar: tarfile.TarFile, info: tarfile.TarInfo, path: Path) -> Member:
    """Write a member's bytes, and nothing else of what the tar says of it, to a new file."""
    file = tar.extractfile(info)
    assert file is not None
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    reader = _HashingReader(file)
    with new_file(path) as target:
        shutil.copyfileobj(reader, target, BLOCK_BYTES)
    return Member(path.stat().st_size, reader.hexdigest())


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
