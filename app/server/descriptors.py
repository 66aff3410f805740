"""File descriptors: as many as there may be, some kept for other things than connections, and a word in the log."""

import asyncio
import errno
import os
import resource
import time
from typing import Final

import structlog

RESERVED: Final = 128
"""For the database, files and model servers, which must work when strangers hold all connections that there may be."""
CHECK_SECONDS: Final = 5.0
LOG_SECONDS: Final = 60.0

log = structlog.get_logger(__name__)


def raise_descriptor_limit() -> int:
    """Raise the soft limit of open files to the hard one, and return it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        except (OSError, ValueError):  # macOS has a hard limit that it does not grant
            return soft
    return hard


def max_connections() -> int:
    """The most connections, which leave RESERVED descriptors, or half of them where there are few."""
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if limit == resource.RLIM_INFINITY:
        return 1_000_000
    return max(limit - RESERVED, limit // 2)


class Connections:
    """The open connections, and their bound."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._count = 0
        self._logged = float("-inf")

    def admit(self) -> bool:
        """Count a connection that begins; False if it is one too many. Each is to `leave` at its end."""
        self._count += 1
        if self._count <= self._limit:
            return True
        now = time.monotonic()
        if now - self._logged >= LOG_SECONDS:
            self._logged = now
            log.error("too_many_connections", limit=self._limit)
        return False

    def leave(self) -> None:
        self._count -= 1


async def watch_descriptors() -> None:
    """Log that the descriptors have run out: the loop drops connections then without an error."""
    logged = float("-inf")
    while True:
        await asyncio.sleep(CHECK_SECONDS)
        if _has_descriptor():
            continue
        now = time.monotonic()
        if now - logged >= LOG_SECONDS:
            logged = now
            log.error("out_of_file_descriptors", limit=resource.getrlimit(resource.RLIMIT_NOFILE)[0])


def _has_descriptor() -> bool:
    try:
        os.close(os.open(os.devnull, os.O_RDONLY))
    except OSError as error:
        return error.errno not in (errno.EMFILE, errno.ENFILE)
    return True
