"""A model server's answer, whatever it is labelled: its first bytes show what it is."""

import re

from app.providers import lenient_json
from app.providers.chunks import chunks_of, completion_of
from app.providers.decoder import MAX_MEMBERS_BYTES, ReplyDecoder
from app.providers.models import Delta

EVENTS_TYPE, JSON_TYPE = "text/event-stream", "application/json"
NO_REPLY = "The model server answered with something that is not a reply"

_BOM = b"\xef\xbb\xbf"
_BLANKS = b" \t\r\n"
_LINE_ENDS_AS_BLANKS = bytes.maketrans(b"\r\n", b"  ")
"""Between the tokens of JSON both are space, and a client's stream has one line for each event."""
_FIELDS = (b"data", b"event", b"id", b"retry", b"error")
_FIELD = re.compile(rb"(?:data|event|id|retry|error)?[:\r\n]")


class AnswerReader:
    """The deltas of one answer, from its bytes: a stream of events, or a whole completion.

    It is fed as its `decoder` is, which knows how far the reply has come. With `keep_raw` the deltas hold what the
    request asked for, whichever came: chunks with `stream`, a completion without. `choices` is the number of replies
    that were asked for.
    """

    __slots__ = (
        "_body", "_collected", "_content_type", "_is_stream", "_keep_raw", "_max_reply_bytes", "_stream", "decoder",
    )  # fmt: skip

    def __init__(
        self, content_type: str, max_reply_bytes: int, *, stream: bool, keep_raw: bool, choices: int = 1
    ) -> None:
        self._content_type = content_type
        self._max_reply_bytes = max_reply_bytes
        self._stream = stream
        self._keep_raw = keep_raw
        self.decoder = ReplyDecoder(max_reply_bytes, keep_raw=keep_raw, choices=choices)
        self._is_stream: bool | None = None
        self._body = bytearray()  # a whole answer so far, or bytes that do not show yet what the answer is
        self._collected: list[Delta] = []

    @property
    def is_complete(self) -> bool:
        """Whether nothing is missing if nothing more comes."""
        return self.decoder.is_complete if self._is_stream else _is_json(self._body)

    def feed(self, data: bytes) -> list[Delta]:
        if self._is_stream is None:
            self._is_stream, data = self._look_at(data)
        if self._is_stream:
            deltas = self.decoder.feed(data)
            if self._stream or not self._keep_raw:
                return deltas
            self._collected += deltas
        else:
            self._body += data
            if len(self._body) > self._max_reply_bytes + MAX_MEMBERS_BYTES:
                message = f"The model server's reply is longer than {self._max_reply_bytes} bytes"
                self.decoder.fail(message, f"{len(self._body)} bytes of JSON were read")
        return []

    def end(self) -> list[Delta]:
        if self.decoder.failure is not None:
            return self._collected
        if self._is_stream is None and self._content_type != JSON_TYPE:
            self._is_stream = True
            self.decoder.feed(bytes(self._body))
        if self._is_stream:
            return self._end_stream([*self._collected, *self.decoder.end()])
        body = bytes(self._body)
        self._body.clear()
        if self._stream and self._keep_raw and (chunks := chunks_of(body)):
            return self.decoder.feed(chunks) + self.decoder.end()
        if b"}\n{" in body.replace(b"\r", b""):  # objects, one a line
            return self._end_stream(self.decoder.feed(body) + self.decoder.end())
        return self.decoder.take_whole(body.translate(_LINE_ENDS_AS_BLANKS))

    def _end_stream(self, deltas: list[Delta]) -> list[Delta]:
        if self._stream or not self._keep_raw or self.decoder.failure is not None:
            return deltas
        completion = completion_of([delta.raw for delta in deltas if delta.raw is not None])
        return ReplyDecoder(self._max_reply_bytes, keep_raw=True).take_whole(completion)

    def _look_at(self, data: bytes) -> tuple[bool | None, bytes]:
        """Whether the answer is a stream, None as long as that is open, and the bytes to go on with."""
        if data.startswith((b"data:", b":")):
            return True, data
        head = bytes(self._body) + data
        self._body.clear()
        if _BOM.startswith(head):
            return None, head
        head = head.removeprefix(_BOM).lstrip(_BLANKS)
        if head.startswith((b"{", b"[")):
            return False, head
        if head.startswith(b"<"):  # a page
            self.decoder.fail(NO_REPLY, "a page")
            return False, b""
        if _FIELD.match(head):
            return True, head
        if any(field.startswith(head) for field in _FIELDS):
            return None, head
        if self._content_type in (EVENTS_TYPE, JSON_TYPE):
            return self._content_type == EVENTS_TYPE, head
        self.decoder.fail(NO_REPLY, "neither events nor JSON")
        return False, b""


def _is_json(body: bytearray) -> bool:
    if not body.rstrip(_BLANKS).endswith((b"}", b"]")):
        return False
    try:
        lenient_json.decode(bytes(body))
    except (ValueError, RecursionError):
        return False
    return True
