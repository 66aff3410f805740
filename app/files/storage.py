"""The storage of attachments' bytes: a local folder, or a bucket at a URL.

Keys are random and say nothing of their objects. An object exists wholly or not at all: until it is finished its
bytes are in a staged file beside its place (`<key>#1`), or in parts that the bucket does not show.
"""

import asyncio
import os
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import obstore
import structlog
from obstore.exceptions import BaseError
from obstore.store import LocalStore, from_url

from app.errors import OperatorError
from app.files.sinks import BucketSink, FolderSink, Sink, StorageUnavailable, faults_as_unavailable, staged_at

if TYPE_CHECKING:
    from obstore.store import ObjectStore

BLOCK_BYTES = 1024**2
CHECK_BYTES = 4096

log = structlog.get_logger(__name__)


class AttachmentStorage:
    """Objects under keys; `folder` is None for a bucket."""

    def __init__(self, store: "ObjectStore", folder: Path | None = None) -> None:
        self.folder = folder
        self._store = store
        self._under_way: set[str] = set()

    @staticmethod
    def new_key() -> str:
        """A key for a new object, in one of 65,536 folders: none grows too long to list."""
        name = secrets.token_hex(16)
        return f"{name[:2]}/{name[2:4]}/{name}"

    @asynccontextmanager
    async def new_object(self, key: str) -> AsyncIterator[Sink]:
        """A sink for the object at `key`. When the block raises, the object is removed, finished or not."""
        sink = self._sink(key)
        self._under_way.add(key)
        try:
            yield sink
        except BaseException:
            await sink.abandon()
            await self._discard(key)
            raise
        finally:
            self._under_way.discard(key)

    def is_under_way(self, key: str) -> bool:
        """Whether this server is in the `new_object` block of the key."""
        return key in self._under_way

    async def read(self, key: str, start: int, end: int) -> bytes:
        """The bytes from `start` up to but without `end`. Raises StorageUnavailable."""
        if end <= start:
            return b""
        with faults_as_unavailable():
            return bytes(await obstore.get_range_async(self._store, key, start=start, end=end))

    async def stream(self, key: str, start: int, end: int) -> AsyncIterator[bytes]:
        """The same in blocks of at most BLOCK_BYTES; nothing is open between two of them."""
        for position in range(start, end, BLOCK_BYTES):
            yield await self.read(key, position, min(position + BLOCK_BYTES, end))

    async def delete(self, key: str) -> None:
        """Remove the object, if it is there. Raises StorageUnavailable."""
        with faults_as_unavailable(), suppress(FileNotFoundError):
            await obstore.delete_async(self._store, key)

    async def check(self) -> None:
        """Raise StorageUnavailable when objects cannot be read, or a folder's permissions admit no writing."""
        if self.folder is not None and not await asyncio.to_thread(os.access, self.folder, os.R_OK | os.W_OK):
            raise StorageUnavailable
        with faults_as_unavailable(), suppress(FileNotFoundError):
            await obstore.head_async(self._store, "00/00/readiness")

    async def check_writing(self) -> None:
        """Raise StorageUnavailable when a folder takes no new file, because its disk is full for example."""
        if self.folder is not None:
            with faults_as_unavailable():
                await asyncio.to_thread(_write_and_remove, self.folder / f".ready-{os.getpid()}")

    def _sink(self, key: str) -> Sink:
        return BucketSink(self._store, key) if self.folder is None else FolderSink(self.folder / key)

    async def _discard(self, key: str) -> None:
        try:
            await self.delete(key)
            if self.folder is not None:
                with faults_as_unavailable():
                    await asyncio.to_thread(remove_file, self.folder, staged_at(self.folder / key))
        except StorageUnavailable as error:
            # The error that is being handled matters to the caller; this one leaves an object that no row names.
            log.warning("object_not_discarded", storage_key=key, exc_info=error.__cause__)


class UnusableStorage(OperatorError):
    """A storage that cannot be opened."""


def open_storage(place: str | Path) -> AttachmentStorage:
    """The storage in a local folder, made if need be, or at a URL (`s3://bucket/prefix`, with the cloud's own
    environment variables for credentials). Raises UnusableStorage."""
    try:
        if isinstance(place, str) and "://" in place and not place.startswith("file://"):
            return AttachmentStorage(from_url(place))
        folder = Path(str(place).removeprefix("file://")).absolute()
        folder.mkdir(parents=True, exist_ok=True)
        return AttachmentStorage(LocalStore(folder, automatic_cleanup=True, mkdir=True), folder)
    except OSError as error:
        raise UnusableStorage(f"Cannot keep attachments in {folder}: {error.strerror}") from error
    except (BaseError, ValueError) as error:
        # What follows the first line is for obstore's developers.
        reason = (str(error).splitlines() or [""])[0]
        raise UnusableStorage(f"PALAVER_STORAGE_URL names no storage that can be used: {reason}") from error


def _write_and_remove(path: Path) -> None:
    try:
        path.write_bytes(bytes(CHECK_BYTES))
    finally:
        path.unlink(missing_ok=True)


def remove_file(folder: Path, path: Path) -> bool:
    """Remove a file below the folder, and the folders in between that are empty then; False if it was gone."""
    try:
        path.unlink()
        is_removed = True
    except FileNotFoundError:
        is_removed = False
    for parent in path.relative_to(folder).parents[:-1]:
        try:
            (folder / parent).rmdir()
        except OSError:  # not empty, or never made
            continue
    return is_removed
