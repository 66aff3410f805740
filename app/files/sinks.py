"""Objects being written: to a file in a local folder, or to a bucket in parts."""

import asyncio
from collections.abc import Awaitable, Iterator
from contextlib import contextmanager
from io import FileIO
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import obstore
from obstore.exceptions import BaseError

from app.errors import Unavailable

if TYPE_CHECKING:
    from obstore.store import ObjectStore

# Buckets take parts of 5 MiB at least; two on their way and one being filled are all that an upload holds in memory.
PART_BYTES = 5 * 1024**2
PARTS_UNDER_WAY = 2
# As `cp` does it. The system keeps what it is given in one piece in one piece of its memory, and large ones are those
# that it has to ask its host for: writes of a megabyte cost up to ten times as much in a virtual machine.
WRITE_BYTES = 128 * 1024
# A folder that is empty may be cleared away between its making and its use, so many times in a row at most.
TRIES = 10


class StorageUnavailable(Unavailable):
    """The storage did not take or give the bytes: disk full, bucket out of reach, object gone."""

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
        """Let go of it. What is there of it may remain, for whoever made the sink to remove."""


class FileSink:
    """The file `place`, which is `staged_at(place)` until it is finished.

    Blocks are written from the caller's memory. obstore keeps what it is given until five megabytes have come, so that
    each block had to be memory of its own.
    """

    def __init__(self, place: Path) -> None:
        self._place = place
        self._file: FileIO | None = None

    async def write(self, block: memoryview) -> None:
        await to_its_end(asyncio.to_thread(self._write, block))

    async def finish(self) -> None:
        await to_its_end(asyncio.to_thread(self._finish))

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
    """The object at `key`, sent in parts while the next one is collected."""

    def __init__(self, store: "ObjectStore", key: str) -> None:
        self._writer: obstore.AsyncWritableFile | None = obstore.open_writer_async(
            store, key, buffer_size=PART_BYTES, max_concurrency=PARTS_UNDER_WAY
        )

    async def write(self, block: memoryview) -> None:
        assert self._writer is not None
        # It keeps what it is given until the part has been sent.
        await to_its_end(self._writer.write(bytes(block)))

    async def finish(self) -> None:
        assert self._writer is not None
        await to_its_end(self._writer.close())

    def abandon(self) -> None:
        # Letting go of the writer is what makes it give up its parts.
        self._writer = None


def staged_at(place: Path) -> Path:
    """Where the file that will be `place` is while it is written."""
    return place.with_name(f"{place.name}#1")


async def to_its_end(operation: Awaitable[object]) -> None:
    """Wait for a storage operation; when cancelled, wait all the same and pass the cancellation on then.

    An operation that goes on by itself could make its staged file after the clearing up.
    """
    future = asyncio.ensure_future(operation)
    with faults_as_unavailable():
        try:
            await asyncio.shield(future)
        except asyncio.CancelledError:
            await asyncio.wait([future])
            if not future.cancelled():
                future.exception()  # seen: the cancellation is what counts
            raise


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
