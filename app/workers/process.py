"""The worker process's side: it answers jobs on stdin until the server goes.

Before it reads anything it gives up memory beyond its limit, files, and the stdout that a library might print to.
"""

import logging
import os
import signal
import sys
import warnings
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import BinaryIO

from app.workers.framing import END, framed, read_frame

if sys.platform != "win32":
    import resource

NICENESS = 10
OPEN_FILES = 64


def serve(answer: Callable[[bytes, bytes], Iterable[bytes]]) -> None:
    """Answer jobs: send the messages that `answer` makes of a job's head and content.

    The command line names the most bytes of memory (0: any).
    """
    requests, replies = _claim_pipes()
    _give_up_privileges(int(sys.argv[1]))
    with suppress(BrokenPipeError):
        replies.write(END)  # an empty message: ready
        replies.flush()
        while (head := read_frame(requests)) is not None and (content := _content(requests)) is not None:
            for message in answer(head, content):
                replies.write(framed(message))
                replies.flush()


def limit_cpu_time(seconds: float) -> None:
    """Let the kernel end this process after so much more CPU time, also when no server is left to do it."""
    if sys.platform == "win32":
        return
    used = resource.getrusage(resource.RUSAGE_SELF)
    soft = int(used.ru_utime + used.ru_stime + seconds) + 2
    hard = resource.getrlimit(resource.RLIMIT_CPU)[1]
    resource.setrlimit(resource.RLIMIT_CPU, (soft if hard == resource.RLIM_INFINITY else min(soft, hard), hard))


def _claim_pipes() -> tuple[BinaryIO, BinaryIO]:
    """The pipes to the server. Prints and logs of libraries go nowhere: they may repeat the document."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the server ends its workers itself
    requests = os.fdopen(os.dup(0), "rb")
    replies = os.fdopen(os.dup(1), "wb")
    nowhere = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1):
        os.dup2(nowhere, descriptor)
    logging.disable()
    warnings.simplefilter("ignore")
    return requests, replies


def _give_up_privileges(memory_bytes: int) -> None:
    if sys.platform == "win32":
        return
    os.nice(NICENESS)  # streams go first
    limits = {resource.RLIMIT_CORE: 0, resource.RLIMIT_FSIZE: 0, resource.RLIMIT_NOFILE: OPEN_FILES}
    if memory_bytes:
        limits[resource.RLIMIT_AS] = memory_bytes
    for limit, maximum in limits.items():
        hard = resource.getrlimit(limit)[1]
        value = maximum if hard == resource.RLIM_INFINITY else min(maximum, hard)
        with suppress(ValueError, OSError):  # macOS has no limit on address space
            resource.setrlimit(limit, (value, value))


def _content(requests: BinaryIO) -> bytes | None:
    blocks = []
    while block := read_frame(requests):
        blocks.append(block)
    return None if block is None else b"".join(blocks)
