"""The reader of documents for the rest of Palaver."""

from collections.abc import AsyncIterable, AsyncIterator
from contextlib import ExitStack
from dataclasses import dataclass

import msgspec
import structlog

from app.files.extraction.models import (
    BROKEN,
    TOO_MUCH_MEMORY,
    DocumentLimits,
    ExtractedText,
    Extraction,
    ExtractionRequest,
    NoText,
    Reason,
)
from app.files.extraction.packages import megabytes
from app.files.refusals import DocumentRefused
from app.limits import Bounds, ConcurrencyLimit
from app.workers.pool import MAX_WAITING, WorkerEnded, WorkerPool, WorkerTimeout
from app.workers.turns import NOBODY, Caller

_SIGKILL = -9
_SIGXCPU = -24
_DECODER: msgspec.json.Decoder[Extraction] = msgspec.json.Decoder(Extraction)

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class CallerBounds:
    """The most documents of a caller that are read or wait at once."""

    per_key: int = 100
    per_user: int = 50


class DocumentReader:
    """Turns documents into text in at most `workers` processes, started when needed. Callers take turns."""

    def __init__(
        self, limits: DocumentLimits | None = None, *, workers: int = 2, bounds: CallerBounds | None = None
    ) -> None:
        self.limits = limits or DocumentLimits()
        bounds = bounds or CallerBounds()
        total = MAX_WAITING + workers
        self._of_keys = ConcurrencyLimit("documents", "too_many_documents", Bounds(bounds.per_key, total))
        self._of_users = ConcurrencyLimit("documents", "too_many_documents", Bounds(bounds.per_user, total))
        self._pool = WorkerPool("app.files.extraction.worker", workers, self.limits.memory_bytes)

    async def read(
        self, content: bytes | AsyncIterable[bytes], filename: str, media_type: str = "", *, caller: Caller = NOBODY
    ) -> ExtractedText:
        """The text of the document; its content overrules the claims `filename` and `media_type`.

        Raises DocumentRefused, TooManyRequests, Unavailable, and what reading `content` raises. A cancellation ends
        the work.
        """
        if isinstance(content, bytes):
            self.check_size(filename, len(content))
        else:
            content = self._bounded(content, filename)
        request = ExtractionRequest(filename, media_type, self.limits)
        with ExitStack() as stack:
            stack.callback(self._of_keys.take(caller.key_id).release)
            stack.callback(self._of_users.take(f"{caller.key_id}:{caller.username}").release)
            extraction = await self._extract(request, content, caller)
        if isinstance(extraction, NoText):
            log.info("document_refused", reason=extraction.reason.value, detail=extraction.detail)
            raise DocumentRefused(filename, extraction.reason, extraction.explanation)
        return extraction

    def check_size(self, filename: str, size: int) -> None:
        """Raise DocumentRefused (413) for a file above the limit."""
        if size > self.limits.max_file_bytes:
            explanation = f"it is larger than {megabytes(self.limits.max_file_bytes)}"
            raise DocumentRefused(filename, Reason.TOO_LARGE, explanation)

    async def close(self) -> None:
        """End the workers; documents under way raise Unavailable."""
        await self._pool.close()

    async def _extract(
        self, request: ExtractionRequest, content: bytes | AsyncIterable[bytes], caller: Caller
    ) -> Extraction:
        """A worker's answer, or the refusal that stands for its death.

        The time counts from when the worker has all of the file.
        """
        too_slow = NoText(Reason.TOO_SLOW, f"reading it takes longer than {self.limits.timeout_seconds:g} seconds")
        try:
            async with self._pool.worker(caller) as worker:
                await worker.send(msgspec.json.encode(request), content)
                message = await worker.receive(self.limits.timeout_seconds)
                try:
                    extraction = _DECODER.decode(message)
                except msgspec.MsgspecError:
                    raise WorkerEnded from None
                # What a parser took may still be there.
                worker.is_reusable = not (
                    isinstance(extraction, NoText) and extraction.reason is Reason.TOO_MUCH_MEMORY
                )
                return extraction
        except WorkerTimeout:
            return too_slow
        except WorkerEnded as end:
            if end.status == _SIGXCPU:
                return too_slow
            if end.status == _SIGKILL:  # the kernel's, who picks the largest process when memory runs out
                return NoText(Reason.TOO_MUCH_MEMORY, TOO_MUCH_MEMORY)
            return NoText(Reason.BROKEN, BROKEN, f"worker ended: {end.status}")

    async def _bounded(self, content: AsyncIterable[bytes], filename: str) -> AsyncIterator[bytes]:
        size = 0
        async for data in content:
            size += len(data)
            self.check_size(filename, size)
            yield data
