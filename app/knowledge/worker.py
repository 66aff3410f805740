"""The worker process that makes passages and terms of long texts: `python -m app.knowledge.worker`."""

from collections.abc import Iterator

import msgspec

from app.knowledge.index import with_terms
from app.knowledge.splitting import split
from app.workers.process import serve


class PassageRequest(msgspec.Struct, frozen=True):
    """The head of a job; the text, in UTF-8, is its content. Sizes are in characters."""

    title: str
    size: int
    overlap: int
    batch_size: int


def answer(head: bytes, text: bytes) -> Iterator[bytes]:
    """The passages in batches, and an empty message after the last one."""
    request = msgspec.msgpack.decode(head, type=PassageRequest)
    encoder = msgspec.msgpack.Encoder()
    passages = split(text.decode(), size=request.size, overlap=request.overlap)
    for start in range(0, len(passages), request.batch_size):
        yield encoder.encode(with_terms(passages[start : start + request.batch_size], request.title))
    yield b""


if __name__ == "__main__":
    serve(answer)
