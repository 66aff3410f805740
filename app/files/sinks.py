"""Objects being written: to a file in a local folder, or to a bucket in parts."""

import asyncio
from collections.abc import Awaitable, Iterator
from contextlib import contextmanager
from io import FileIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import obstore
from obstore.exceptions import BaseError

from app.errors import Unavailable

if TYPE_CHECKING:
    from obstore.store import ObjectStore

# Buckets take parts of 5 MiB at least; two on their way and one being filled are all that an upload holds in memory.
PART_BYTES = 5 * 1024**2
PARTS_UNDER_WAY = 2
# As `cp` does it. The page cache keeps one write in one piece of memory, and large pieces have to be asked of the host:
# writes of a megabyte cost up to ten times as much in a virtual machine.
WRITE_BYTES = 128 * 1024
# Another request's clean-up may remove the empty folder before it is used, so many times in a row at most.
TRIES = 10


class StorageUnavailable(Unavailable):
    """The storage failed: disk full, bucket out of reach, object gone."""

    code = "storage_unavailable"

    def __init__(self) -> None:
        super().__init__("The storage is not available at the moment")


class Sink(Protocol):
    """An object being written."""

    async def write(self, block: memoryview) -> None:
        """Take the next bytes; once this has returned, the caller may put others in their place. Raises
        StorageUnavailable."""

    async def finish(self) -> None:
        """Make the object exist. Raises StorageUnavailable."""

    def abandon(self) -> None:
        """Let go of it. Unfinished bytes may remain, for the maker of the sink to remove."""


class FolderSink:
    """The file at `place`, staged at `staged_at(place)` until it is finished.

    Blocks are written from the caller's memory. obstore would keep them until it has five megabytes, so that each had
    to be memory of its own.
    """

    def __init__(self, place: Path) -> None:
        self._place = place
        self._file: FileIO | None = None

    async def write(self, block: memoryview) -> None:
        await _run(asyncio.to_thread(self._write, block))

    async def finish(self) -> None:
        await _run(asyncio.to_thread(self._finish))

    def abandon(self) -> None:
        if self._file is not None:
            self._file.close()

    def _write(self, block: memoryview) -> None:
        file = self._opened()
        while block:
            block = block[file.write(block[:WRITE_BYTES]) :]

    def _finish(self) -> None:
        self._opened().close()
        staged_at(self._place).rename(self._place)

    def _opened(self) -> FileIO:
        if self._file is None:
            self._file = _create(staged_at(self._place))
        return self._file


class BucketSink:
    """The object at `key`, sent part by part."""

    def __init__(self, store: "ObjectStore", key: str) -> None:
        self._writer: obstore.AsyncWritableFile | None = obstore.open_writer_async(
            store, key, buffer_size=PART_BYTES, max_concurrency=PARTS_UNDER_WAY
        )

    async def write(self, block: memoryview) -> None:
        assert self._writer is not None
        # The writer keeps the bytes until the part has been sent.
        await _run(self._writer.write(bytes(block)))

    async def finish(self) -> None:
        assert self._writer is not None
        await _run(self._writer.close())

    def abandon(self) -> None:
        # Letting go of the writer is what makes it give up its parts.
        self._writer = None


def staged_at(place: Path) -> Path:
    """The path of an unfinished file."""
    return place.with_name(f"{place.name}#1")


async def until_done(future: asyncio.Future[Any]) -> None:
    """Wait for the future, however it ends. A cancellation is passed on, but only then."""
    cancelled = False
    while not future.done():
        try:
            await asyncio.wait([future])
        except asyncio.CancelledError:
            cancelled = True
    if not future.cancelled():
        future.exception()  # retrieved: whoever awaits the result gets it too
    if cancelled:
        raise asyncio.CancelledError


async def _run(operation: Awaitable[object]) -> None:
    """Run a storage operation to its end, even when cancelled: later, it could undo the clearing up."""
    future = asyncio.ensure_future(operation)
    await until_done(future)
    with faults_as_unavailable():
        future.result()


@contextmanager
def faults_as_unavailable() -> Iterator[None]:
    try:
        yield
    except (OSError, BaseError) as error:
        raise StorageUnavailable from error


def _create(path: Path) -> FileIO:
    for _ in range(TRIES):
        try:
            return path.open("xb", buffering=0)
        except FileNotFoundError:
            path.parent.mkdir(parents=True, exist_ok=True)
    return path.open("xb", buffering=0)
