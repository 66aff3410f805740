"""A stream to a caller, whichever door it is of: counted, and told no more once the caller's key is ended."""

from collections.abc import AsyncGenerator, AsyncIterator

from app.auth.guards import KeyWatch
from app.limits import Slot
from app.telemetry.metrics import Metrics


async def guarded_stream(
    pieces: AsyncIterator[bytes], admission: KeyWatch, metrics: Metrics, place: Slot, *, begin: bytes = b""
) -> AsyncGenerator[bytes]:
    """The pieces, `begin` before the first of them. The place among the streams is released with the last."""
    metrics.stream_opened()
    try:
        async for piece in pieces:
            if not await admission.holds():
                return
            yield begin + piece  # by itself it would cost the server as much as any piece
            begin = b""
    finally:
        metrics.stream_closed()
        place.release()
