"""The reader of documents, as the rest of Palaver sees it."""

import asyncio
from collections.abc import AsyncIterable, AsyncIterator
from pathlib import Path

import structlog

from app.files.extraction.framing import BLOCK_BYTES
from app.files.extraction.models import DocumentLimits, ExtractedText, Reason, Refused, Request
from app.files.extraction.packages import megabytes
from app.files.extraction.pool import WorkerPool
from app.files.refusals import DocumentRefused

log = structlog.get_logger(__name__)


class DocumentReader:
    """Turns documents into text in at most `workers` processes, which start with the first document."""

    def __init__(self, limits: DocumentLimits | None = None, *, workers: int = 2) -> None:
        self.limits = limits or DocumentLimits()
        self._pool = WorkerPool(workers, self.limits.memory_bytes)

    async def read(
        self, content: bytes | Path | AsyncIterable[bytes], filename: str, media_type: str = ""
    ) -> ExtractedText:
        """The text of the document; `filename` and `media_type` are the sender's claims, which its content overrules.

        Raises DocumentRefused, Unavailable, and what reading `content` raises. A cancellation ends the work.
        """
        if isinstance(content, bytes) and len(content) > self.limits.max_file_bytes:
            raise self._too_large(filename)
        if isinstance(content, Path):
            content = _read_blocks(content)
        if not isinstance(content, bytes):
            content = self._bounded(content, filename)
        reply = await self._pool.run(Request(filename, media_type, self.limits), content)
        if isinstance(reply, Refused):
            log.info("document_refused", reason=reply.reason.value, detail=reply.detail)
            raise DocumentRefused(filename, reply.reason, reply.explanation)
        return reply

    def check_size(self, filename: str, size: int) -> None:
        """Raises DocumentRefused (413) for a file of more bytes than are read."""
        if size > self.limits.max_file_bytes:
            raise self._too_large(filename)

    async def close(self) -> None:
        """End the workers; documents that are being read raise Unavailable."""
        await self._pool.close()

    async def _bounded(self, content: AsyncIterable[bytes], filename: str) -> AsyncIterator[bytes]:
        size = 0
        async for data in content:
            size += len(data)
            self.check_size(filename, size)
            yield data

    def _too_large(self, filename: str) -> DocumentRefused:
        return DocumentRefused(filename, Reason.TOO_LARGE, f"it is larger than {megabytes(self.limits.max_file_bytes)}")


async def _read_blocks(path: Path) -> AsyncIterator[bytes]:
    file = await asyncio.to_thread(path.open, "rb")
    try:
        while block := await asyncio.to_thread(file.read, 16 * BLOCK_BYTES):
            yield block
    finally:
        file.close()
