"""Messages on the pipes between the server and a worker: four bytes that give a length, then as many bytes.

Plain bytes of known types, never pickles: a worker that a hostile file has taken over can send nonsense, but nothing
that the server would execute.
"""

from collections.abc import Iterator
from typing import BinaryIO, Final

LENGTH_BYTES: Final = 4
BLOCK_BYTES: Final = 64 * 1024
END: Final = bytes(LENGTH_BYTES)
"""An empty message, after the last block of a job's content."""


def framed(data: bytes | memoryview) -> bytes:
    return len(data).to_bytes(LENGTH_BYTES, "big") + data


def length_of(head: bytes) -> int:
    return int.from_bytes(head, "big")


def read_frame(stream: BinaryIO) -> bytes | None:
    """The next message, or None at the end of the stream."""
    head = stream.read(LENGTH_BYTES)
    if len(head) < LENGTH_BYTES:
        return None
    data = stream.read(length_of(head))
    return data if len(data) == length_of(head) else None


def blocks_of(data: bytes) -> Iterator[memoryview]:
    """`data` in blocks that fit a pipe: none of them keeps the event loop."""
    view = memoryview(data)
    for position in range(0, len(view), BLOCK_BYTES):
        yield view[position : position + BLOCK_BYTES]
