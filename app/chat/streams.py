"""Streams to callers."""

from collections.abc import AsyncGenerator, AsyncIterator

from app.auth.guards import KeyWatch
from app.limits import Slot
from app.telemetry.metrics import Metrics


async def guarded_stream(
    pieces: AsyncIterator[bytes], key_watch: KeyWatch, metrics: Metrics, slot: Slot, *, prefix: bytes = b""
) -> AsyncGenerator[bytes]:
    """Yield pieces while the caller's key is live; count the stream, and release its slot at the end.

    The first piece carries the `prefix`: sent by itself it would cost the server as much as any piece.
    """
    metrics.stream_opened()
    try:
        async for piece in pieces:
            if not await key_watch.holds():
                return
            yield prefix + piece
            prefix = b""
    finally:
        metrics.stream_closed()
        slot.release()
