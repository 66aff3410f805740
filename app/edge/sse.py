"""Server-Sent Events: frames, heartbeats, and the response that carries them."""

from collections.abc import AsyncIterator, Iterable

from quart import Response

HEARTBEAT_SECONDS = 15.0
HEARTBEAT = b": keep-alive\n\n"

HEADERS = {
    "Content-Type": "text/event-stream",
    # `no-transform` and `X-Accel-Buffering` keep compression and proxies from holding the stream back.
    "Cache-Control": "no-cache, no-transform",
    "X-Accel-Buffering": "no",
}


def frame(data: bytes) -> bytes:
    """One event; `data` is a line of JSON."""
    return b"data: %b\n\n" % data


def numbered_frames(events: Iterable[tuple[int, bytes]]) -> bytes:
    """Events with their ids, which `Last-Event-ID` brings back; each with a line of JSON."""
    return b"".join([b"id: %d\ndata: %b\n\n" % event for event in events])


def stream_response(frames: AsyncIterator[bytes], headers: dict[str, str] | None = None) -> Response:
    response = Response(frames, headers={**HEADERS, **(headers or {})})
    response.timeout = None  # Quart would otherwise cut the stream, silently, after a minute
    return response
