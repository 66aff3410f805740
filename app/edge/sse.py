"""Server-Sent Events: frames, heartbeats, and the response that carries them."""

from collections.abc import AsyncIterator, Iterable

from quart import Response

HEARTBEAT_SECONDS = 15.0
HEARTBEAT = b": keep-alive\n\n"

_LINE_ENDS = ((b"\xc2\x85", b"\\u0085"), (b"\xe2\x80\xa8", b"\\u2028"), (b"\xe2\x80\xa9", b"\\u2029"))

HEADERS = {
    # Clients that look for a charset take a text without one for Latin-1.
    "Content-Type": "text/event-stream; charset=utf-8",
    # `no-transform` and `X-Accel-Buffering` keep compression and proxies from holding the stream back.
    "Cache-Control": "no-cache, no-transform",
    "X-Accel-Buffering": "no",
}


def frame(data: bytes) -> bytes:
    """One event; `data` is a line of JSON."""
    event = b"data: %b\n\n" % data
    return _one_line(event) if b"\xe2\x80" in event or b"\xc2\x85" in event else event


def numbered_frames(events: Iterable[tuple[int, bytes]]) -> bytes:
    """Events with their ids, which `Last-Event-ID` brings back; each with a line of JSON."""
    frames = b"".join([b"id: %d\ndata: %b\n\n" % event for event in events])
    # What the characters in question begin with is looked for here: nearly no event has them.
    return _one_line(frames) if b"\xe2\x80" in frames or b"\xc2\x85" in frames else frames


def _one_line(frames: bytes) -> bytes:
    """Escape the characters that some clients take for the end of a line: U+0085, U+2028 and U+2029."""
    for character, escape in _LINE_ENDS:
        frames = frames.replace(character, escape)
    return frames


def stream_response(frames: AsyncIterator[bytes], headers: dict[str, str] | None = None) -> Response:
    response = Response(frames, headers={**HEADERS, **(headers or {})})
    response.timeout = None  # Quart would otherwise cut the stream, silently, after a minute
    return response
