"""A stream to a caller, whichever door it is of: counted, and told no more once the caller's key is ended."""

from collections.abc import AsyncGenerator, AsyncIterator

from app.auth.guards import Admission
from app.kit.concurrency import Place
from app.kit.observability import Metrics


async def admitted(
    pieces: AsyncIterator[bytes], admission: Admission, metrics: Metrics, place: Place, *, begin: bytes = b""
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
