"""Images for a model: checked and converted in worker processes, once for all who show the same one."""

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import AsyncIterable, Callable
from dataclasses import dataclass
from typing import Final

import msgspec
import structlog

from app.files.extraction.models import BROKEN, TOO_MUCH_MEMORY, NoText, Reason
from app.files.imaging.models import ImageFacts, ImageLimits, ImageRequest, ImageVerdict, looks_like_image
from app.files.models import Attachment
from app.files.refusals import ImageRefused
from app.files.service import FileService
from app.workers.pool import WorkerEnded, WorkerPool, WorkerTimeout
from app.workers.turns import NOBODY, Caller

__all__ = ["CheckedImage", "ImageLimits", "ImageReader", "looks_like_image"]

QUICK_SECONDS: Final = 1.0
"""What most images take at the very most. One that takes longer is begun again behind the others of its kind."""
REMEMBERED_IMAGES: Final = 10_000
REMEMBERED_BYTES: Final = 64 * 1024**2
LARGE_BYTES: Final = 256 * 1024
"""The size from which images are hashed in a thread."""

_MODULE: Final = "app.files.imaging.worker"
_SIGKILL: Final = -9
_SIGXCPU: Final = -24
_DECODER: msgspec.json.Decoder[ImageVerdict] = msgspec.json.Decoder(ImageVerdict)

Content = Callable[[], bytes | AsyncIterable[bytes]]

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class CheckedImage:
    """A decodable image; `data` is the sender's own unless it was `changed`."""

    data: bytes
    media_type: str
    width: int
    height: int
    changed: bool


@dataclass(frozen=True, slots=True)
class _Result:
    """A verdict, and the image's new bytes if it was changed."""

    verdict: ImageVerdict
    data: bytes = b""


class _Results:
    """The newest results by the image's SHA-256; those that hold bytes within REMEMBERED_BYTES."""

    def __init__(self) -> None:
        self._results: OrderedDict[str, _Result] = OrderedDict()
        self._size = 0

    def get(self, sha256: str) -> _Result | None:
        if (result := self._results.get(sha256)) is not None:
            self._results.move_to_end(sha256)
        return result

    def add(self, sha256: str, result: _Result) -> None:
        self._drop(sha256)
        self._results[sha256] = result
        self._size += len(result.data)
        while len(self._results) > REMEMBERED_IMAGES or self._size > REMEMBERED_BYTES:
            self._drop(next(iter(self._results)))

    def _drop(self, sha256: str) -> None:
        if (result := self._results.pop(sha256, None)) is not None:
            self._size -= len(result.data)


class ImageReader:
    """Checks images and makes them fit, `workers` at once that are quick, and one that is not."""

    def __init__(self, limits: ImageLimits | None = None, *, workers: int = 2) -> None:
        self.limits = limits or ImageLimits()
        self._quick = WorkerPool(_MODULE, workers, self.limits.memory_bytes)
        self._slow = WorkerPool(_MODULE, 1, self.limits.memory_bytes)
        self._results = _Results()

    async def check(self, data: bytes, filename: str, caller: Caller = NOBODY) -> CheckedImage:
        """Check the image in `data`. Raises ImageRefused, Unavailable. A cancellation ends the work."""
        self._check_size(len(data), filename)
        hashed = hashlib.sha256(data) if len(data) < LARGE_BYTES else await asyncio.to_thread(hashlib.sha256, data)
        facts, changed = await self._find(hashed.hexdigest(), lambda: data, filename, caller)
        return CheckedImage(changed or data, facts.media_type, facts.width, facts.height, facts.changed)

    async def check_attachment(
        self, files: FileService, attachment: Attachment, caller: Caller
    ) -> tuple[ImageFacts, bytes]:
        """Check an attachment; its bytes are given only if they were changed. Raises ImageRefused, Unavailable."""
        self._check_size(attachment.size, attachment.filename)
        return await self._find(attachment.sha256, lambda: files.stream(attachment), attachment.filename, caller)

    async def close(self) -> None:
        """End the workers; images under way raise Unavailable."""
        await self._quick.close()
        await self._slow.close()

    def _check_size(self, size: int, filename: str) -> None:
        if size > self.limits.max_bytes:
            raise ImageRefused(filename, Reason.TOO_LARGE, f"it is larger than {self.limits.max_bytes:,} bytes")

    async def _find(self, sha256: str, content: Content, filename: str, caller: Caller) -> tuple[ImageFacts, bytes]:
        result = self._results.get(sha256)
        if result is None:
            result = await self._read(content, caller)
        verdict = result.verdict
        if isinstance(verdict, NoText) and verdict.reason is Reason.TOO_SLOW:  # next time, the machine may be less busy
            raise ImageRefused(filename, verdict.reason, verdict.explanation)
        self._results.add(sha256, result)
        if isinstance(verdict, NoText):
            raise ImageRefused(filename, verdict.reason, verdict.explanation)
        return verdict, result.data

    async def _read(self, content: Content, caller: Caller) -> _Result:
        """Decode an image in the quick lane, or else in the slow one: there it holds up slow ones only."""
        seconds = self.limits.timeout_seconds
        try:
            result = await self._decode(self._quick, caller, content(), min(QUICK_SECONDS, seconds))
            if result is None:
                result = await self._decode(self._slow, caller, content(), seconds)
        except WorkerEnded as end:
            reason, explanation = Reason.BROKEN, BROKEN
            if end.status == _SIGKILL:  # the kernel's, who picks the largest process when memory runs out
                reason, explanation = Reason.TOO_MUCH_MEMORY, TOO_MUCH_MEMORY
            result = _Result(NoText(reason, explanation, f"worker ended: {end.status}"))
        if result is None:
            result = _Result(NoText(Reason.TOO_SLOW, f"reading it takes longer than {seconds:g} seconds"))
        if isinstance(result.verdict, NoText):
            log.info("image_refused", reason=result.verdict.reason.value, detail=result.verdict.detail)
        return result

    async def _decode(
        self, pool: WorkerPool, caller: Caller, content: bytes | AsyncIterable[bytes], seconds: float
    ) -> _Result | None:
        """A worker's result; None when it took longer. The worker is killed then, which gives its place free."""
        try:
            async with pool.worker(caller) as worker:
                await worker.send(msgspec.json.encode(ImageRequest(self.limits, seconds)), content)
                message = await worker.receive(seconds)
                try:
                    verdict = _DECODER.decode(message)
                except msgspec.MsgspecError:
                    raise WorkerEnded from None
                worker.is_reusable = not (isinstance(verdict, NoText) and verdict.reason is Reason.TOO_MUCH_MEMORY)
                is_changed = isinstance(verdict, ImageFacts) and verdict.changed
                return _Result(verdict, await worker.receive(seconds) if is_changed else b"")
        except WorkerTimeout:
            return None
        except WorkerEnded as end:
            if end.status == _SIGXCPU:
                return None
            raise
