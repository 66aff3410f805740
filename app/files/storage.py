"""The storage of attachments' bytes: a local folder, or a bucket at a URL.

Keys are random and say nothing of their objects. An object exists wholly or not at all: until it is finished its
bytes are in a staged file beside its place (`<key>#1`), or in parts that the bucket does not show.
"""

import asyncio
import os
import re
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import obstore
import structlog
from obstore.store import LocalStore, from_url

from app.files.sinks import BucketSink, FolderSink, Sink, StorageUnavailable, faults_as_unavailable, staged_at

if TYPE_CHECKING:
    from obstore.store import ObjectStore

BLOCK_BYTES = 1024**2
CHECK_BYTES = 4096

log = structlog.get_logger(__name__)


class AttachmentStorage:
    """Objects under keys; `folder` is None for a bucket."""

    def __init__(self, store: "ObjectStore", folder: Path | None = None) -> None:
        self._store = store
        self._folder = folder

    @staticmethod
    def new_key() -> str:
        """A key for a new object, in one of 65,536 folders: none grows too long to list."""
        name = secrets.token_hex(16)
        return f"{name[:2]}/{name[2:4]}/{name}"

    @asynccontextmanager
    async def new_object(self, key: str) -> AsyncIterator[Sink]:
        """A sink for the object at `key`. When the block raises, the object is removed, finished or not."""
        sink = self._sink(key)
        try:
            yield sink
        except BaseException:
            sink.abandon()
            await self._discard(key)
            raise

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
        if self._folder is not None and not await asyncio.to_thread(os.access, self._folder, os.R_OK | os.W_OK):
            raise StorageUnavailable
        with faults_as_unavailable(), suppress(FileNotFoundError):
            await obstore.head_async(self._store, "00/00/readiness")

    async def check_writing(self) -> None:
        """Raise StorageUnavailable when a folder takes no new file, because its disk is full for example."""
        if self._folder is not None:
            with faults_as_unavailable():
                await asyncio.to_thread(_write_and_remove, self._folder / f".ready-{os.getpid()}")

    async def sweep(self) -> int:
        """Remove the files of killed uploads from the local folder, and return their number.

        Only for the start of the one server that uses the folder: running uploads look the same. Buckets hide
        unfinished parts, and remove them by a lifecycle rule.
        """
        if self._folder is None:
            return 0
        with faults_as_unavailable():
            removed = await asyncio.to_thread(_sweep_folder, self._folder)
        if removed:
            log.info("staged_uploads_swept", count=removed)
        return removed

    def _sink(self, key: str) -> Sink:
        return BucketSink(self._store, key) if self._folder is None else FolderSink(self._folder / key)

    async def _discard(self, key: str) -> None:
        try:
            await self.delete(key)
            if self._folder is not None:
                await asyncio.to_thread(_remove_staged, self._folder, key)
        except StorageUnavailable as error:
            # The error that is being handled matters to the caller; this one leaves an object that no row names.
            log.warning("object_not_discarded", storage_key=key, exc_info=error.__cause__)


def open_storage(place: str | Path) -> AttachmentStorage:
    """The storage in a local folder, made if need be, or at a URL (`s3://bucket/prefix`, with the cloud's own
    environment variables for credentials). Raises OSError, ValueError and obstore's errors, for the operator."""
    if isinstance(place, str) and "://" in place and not place.startswith("file://"):
        return AttachmentStorage(from_url(place))
    folder = Path(str(place).removeprefix("file://")).absolute()
    folder.mkdir(parents=True, exist_ok=True)
    return AttachmentStorage(LocalStore(folder, automatic_cleanup=True, mkdir=True), folder)


_STAGED = re.compile(r"#\d+$")


def _sweep_folder(folder: Path) -> int:
    removed = 0
    for parent, _, names in os.walk(folder, topdown=False):
        staged = [name for name in names if _STAGED.search(name)]
        for name in staged:
            Path(parent, name).unlink(missing_ok=True)
        removed += len(staged)
        if Path(parent) != folder:
            with suppress(OSError):  # not empty
                Path(parent).rmdir()
    return removed


def _write_and_remove(path: Path) -> None:
    try:
        path.write_bytes(bytes(CHECK_BYTES))
    finally:
        path.unlink(missing_ok=True)


def _remove_staged(folder: Path, key: str) -> None:
    with faults_as_unavailable(), suppress(FileNotFoundError):
        staged_at(folder / key).unlink()
    for parent in list(Path(key).parents)[:-1]:
        try:
            (folder / parent).rmdir()
        except OSError:  # not empty, or never made
            continue
