"""The removal of what killed uploads left behind: unfinished files, and finished ones that no attachment names.

Files in the data folder are compared with the rows. In a bucket, or a folder that others may use too, finished objects
are removed only if an upload of this database was making them (`app/files/pending.py`). A bucket hides the parts of
unfinished objects, and removes them by a rule of its own.
"""

import asyncio
import os
import re
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

import structlog
from sqlalchemy import Connection, select

from app.background import Background
from app.database.engine import Database
from app.database.identity import identity_of
from app.files.models import AttachmentRow
from app.files.pending import forget, give_up_old, has_old
from app.files.sinks import faults_as_unavailable
from app.files.storage import AttachmentStorage, remove_file

DAY_SECONDS: Final = 24 * 3600.0
RETRY_SECONDS: Final = 60.0
BATCH: Final = 500

_FOLDER = re.compile(r"[0-9a-f]{2}")
_FILE = re.compile(r"([0-9a-f]+)(#\d+)?")

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _File:
    """A file with the storage's kind of name; `key` is that of its object."""

    path: Path
    key: str
    is_finished: bool
    is_old: bool


class Sweeper:
    """A background worker that looks through the storage's folder at the start, and once a day.

    Files older than a day are removed. So are younger ones that are unfinished, if this server is the `sole_user` of
    the folder. Finished files are removed only if `register` is given: a file that lists the databases which have
    used the folder. What this one does not name, another one of the list may. Without it, uploads are tracked.
    """

    def __init__(
        self, database: Database, storage: AttachmentStorage, *, register: Path | None, sole_user: bool
    ) -> None:
        self._database = database
        self._storage = storage
        self._register = register
        self._sole_user = sole_user
        self._identity: str | None = None
        self.background = Background(self._sweep, "sweep_postponed", DAY_SECONDS, RETRY_SECONDS)

    async def open(self) -> None:
        """Enter the database into the register. Raises StorageUnavailable, DatabaseUnavailable."""
        self._identity = await self._database.write(identity_of)
        await self._users()

    async def _sweep(self) -> None:
        if self._register is None:
            await self._remove_given_up()
        folder = self._storage.folder
        if folder is None:
            return
        users = await self._users()
        if len(users) > 1:
            log.warning("several_databases_used_the_folder", register=str(self._register))
        removed = 0
        with faults_as_unavailable():
            parts = await asyncio.to_thread(_folders_in, folder)
            old = await asyncio.to_thread(_time_in, folder) - DAY_SECONDS
            for part in parts:
                files = await asyncio.to_thread(_files_in, part, old)
                for start in range(0, len(files), BATCH):
                    dead = await self._dead(files[start : start + BATCH], with_finished=len(users) == 1)
                    removed += await asyncio.to_thread(_remove, folder, dead)
        if removed:
            log.info("unnamed_files_removed", count=removed)

    async def _remove_given_up(self) -> None:
        """Remove the objects of tracked uploads that never came to their row."""
        while await self._database.read(has_old):
            keys = await self._database.write(lambda connection: give_up_old(connection, BATCH))
            for key in keys:
                await self._storage.delete(key)
            await self._database.write(partial(forget, keys=keys))
            log.info("objects_of_dead_uploads_removed", count=len(keys))

    async def _dead(self, files: Sequence[_File], *, with_finished: bool) -> list[_File]:
        files = [file for file in files if not self._storage.is_under_way(file.key)]
        dead = [file for file in files if not file.is_finished and (file.is_old or self._sole_user)]
        finished = [file for file in files if file.is_finished and file.is_old] if with_finished else []
        if finished:
            keys = [file.key for file in finished]
            named = await self._database.read(lambda connection: _named(connection, keys))
            dead += [file for file in finished if file.key not in named]
        return dead

    async def _users(self) -> set[str]:
        """Enter the database into the register, and return the databases that are there."""
        if self._register is None or self._identity is None:
            return set()
        with faults_as_unavailable():
            return await asyncio.to_thread(_enter, self._register, self._identity)


def _named(connection: Connection, keys: Sequence[str]) -> set[str]:
    return set(connection.scalars(select(AttachmentRow.storage_key).where(AttachmentRow.storage_key.in_(keys))))


def _enter(register: Path, identity: str) -> set[str]:
    identities = set(register.read_text().split()) if register.exists() else set()
    if identity not in identities:
        with register.open("a") as file:
            file.write(f"{identity}\n")
    return identities | {identity}


def _folders_in(folder: Path) -> list[Path]:
    with os.scandir(folder) as entries:
        return [Path(each) for each in entries if _FOLDER.fullmatch(each.name) and each.is_dir(follow_symlinks=False)]


def _time_in(folder: Path) -> float:
    """Return the time by the folder's own clock: where servers share it, that is another machine's."""
    with tempfile.NamedTemporaryFile(dir=folder, prefix=".time-") as file:
        return os.fstat(file.fileno()).st_mtime


def _files_in(part: Path, old: float) -> list[_File]:
    """List the files with the storage's kind of name; those that were last written before `old` are old."""
    files = []
    for folder in _folders_in(part):
        with os.scandir(folder) as entries:
            for entry in entries:
                match = _FILE.fullmatch(entry.name)
                if match and match[1].startswith(part.name + folder.name) and entry.is_file(follow_symlinks=False):
                    key = f"{part.name}/{folder.name}/{match[1]}"
                    is_old = entry.stat(follow_symlinks=False).st_mtime < old
                    files.append(_File(Path(entry), key, is_finished=match[2] is None, is_old=is_old))
    return files


def _remove(folder: Path, files: Sequence[_File]) -> int:
    removed = 0
    for file in files:
        try:
            removed += remove_file(folder, file.path)
        except OSError as error:
            log.warning("unnamed_file_not_removed", file=str(file.path), error=error.strerror)
    return removed
