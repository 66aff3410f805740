"""Server-Sent Events: frames, heartbeats, and the response that carries them."""

from collections.abc import AsyncIterator

from quart import Response

HEARTBEAT_SECONDS = 15.0
HEARTBEAT = b": keep-alive\n\n"

HEADERS = {
    "Content-Type": "text/event-stream",
    # `no-transform` and `X-Accel-Buffering` keep compression and proxies from holding the stream back.
    "Cache-Control": "no-cache, no-transform",
    "X-Accel-Buffering": "no",
}


def frame(data: bytes, event_id: int | None = None) -> bytes:
    """One event. `data` is a line of JSON; `event_id` is what `Last-Event-ID` will bring back."""
    if event_id is None:
        return b"data: %b\n\n" % data
    return b"id: %d\ndata: %b\n\n" % (event_id, data)


def stream_response(frames: AsyncIterator[bytes], headers: dict[str, str] | None = None) -> Response:
    response = Response(frames, headers={**HEADERS, **(headers or {})})
    response.timeout = None  # Quart would otherwise cut the stream, silently, after a minute
    return response
