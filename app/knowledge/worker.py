"""The process that makes passages and terms of long texts: `python -m app.knowledge.worker`, messages on stdin and
stdout. It ends when the server goes.
"""

import os
import signal
import sys
from contextlib import suppress

import msgspec

from app.files.extraction.framing import END, framed, read_frame
from app.knowledge.index import with_terms
from app.knowledge.splitting import split


class Order(msgspec.Struct, frozen=True):
    """What is wanted of the text that follows, in frames up to an empty one; sizes in characters."""

    title: str
    size: int
    overlap: int
    at_once: int


def main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the server ends it itself
    if sys.platform != "win32":
        os.nice(10)  # chats go first
    requests, replies = sys.stdin.buffer, sys.stdout.buffer
    encoder = msgspec.msgpack.Encoder()
    with suppress(BrokenPipeError):
        while (head := read_frame(requests)) is not None:
            order = msgspec.msgpack.decode(head, type=Order)
            blocks = []
            while block := read_frame(requests):
                blocks.append(block)
            drafts = split(b"".join(blocks).decode(), size=order.size, overlap=order.overlap)
            for start in range(0, len(drafts), order.at_once):
                prepared = with_terms(drafts[start : start + order.at_once], order.title)
                replies.write(framed(encoder.encode(prepared)))
                replies.flush()
            replies.write(END)
            replies.flush()


if __name__ == "__main__":
    main()
