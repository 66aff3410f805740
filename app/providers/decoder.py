"""From a model server's bytes to deltas: Server-Sent Events that hold `chat.completion.chunk`, and whole completions.

This runs once per token, so it works on bytes and makes one typed JSON decode per event. It takes about 3 us a token
when many come in one read.
"""

from collections.abc import Iterable
from typing import Any

import msgspec

from app.providers.errors import BROKEN_OFF, DETAIL_CHARS, parse_error_object
from app.providers.models import REQUEST_REFUSED, Delta, ErrorObject, ToolCallDelta, UpstreamError, Usage

MAX_EVENT_BYTES = 1024**2
RAW_RATIO = 8
"""Bytes of raw events that are kept for each byte of text that a reply may have."""

_CR, _LF = 0x0D, 0x0A


_EMPTY_MESSAGES: dict[str | None, str] = {
    None: "The model server sent an empty reply",
    "content_filter": "The model server withheld its reply (content filter)",
    "length": "The model reached its token limit before it said anything",
}


class _Function(msgspec.Struct, gc=False):
    name: str | None = None
    arguments: str | None = None


class _ToolCall(msgspec.Struct, gc=False):
    index: int | None = None
    id: str | None = None
    function: _Function | None = None


class _Message(msgspec.Struct, gc=False):
    """A chunk's `delta` or a completion's `message`. Servers disagree on the name of the field for reasoning."""

    content: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    refusal: str | None = None
    tool_calls: list[_ToolCall] | None = None


class _Choice(msgspec.Struct, gc=False):
    index: int = 0
    delta: _Message | None = None
    message: _Message | None = None
    finish_reason: str | None = None


class _PromptDetails(msgspec.Struct, gc=False):
    cached_tokens: int | None = None


class _Usage(msgspec.Struct, gc=False):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    prompt_tokens_details: _PromptDetails | None = None


class Chunk(msgspec.Struct, gc=False):
    """A chunk or a whole completion; an `error` can come in place of either."""

    choices: list[_Choice] | None = None
    usage: _Usage | None = None
    error: Any = None


_NO_CHOICE = _Choice()

_decode_chunk = msgspec.json.Decoder(Chunk).decode
"""Raises MsgspecError, UnicodeDecodeError and RecursionError."""


class ReplyDecoder:
    """The deltas of one reply, from its bytes.

    Pass each read to `feed`, in pieces of any size, and call `end` after the last. Neither raises: both return the
    deltas before a fault, and `failure` is the fault. `done` means that nothing more needs to be read.
    With `keep_raw` every event makes a delta, which holds it, and a reply may consist of its finish reason alone.
    """

    # fmt: off
    __slots__ = (
        "_data", "_ended", "_finish_reason", "_finished", "_keep_raw", "_max_raw_bytes", "_max_reply_bytes",
        "_raw_bytes", "_reply_bytes", "_skip_lf", "_tail", "done", "failure",
    )
    # fmt: on

    def __init__(self, max_reply_bytes: int, *, keep_raw: bool = False) -> None:
        self.done = False
        self.failure: UpstreamError | None = None
        self._max_reply_bytes = max_reply_bytes
        self._max_raw_bytes = max_reply_bytes * RAW_RATIO + MAX_EVENT_BYTES
        self._keep_raw = keep_raw
        self._raw_bytes = 0
        self._finished = False
        self._reply_bytes = 0
        self._finish_reason: str | None = None
        self._tail = bytearray()  # the line that is not complete yet
        self._data: bytes | None = None  # the data of the event that is not complete yet
        self._ended = False
        self._skip_lf = False  # the last read ended between CR and LF

    def feed(self, data: bytes) -> list[Delta]:
        deltas: list[Delta] = []
        if self._skip_lf and data:
            data = data[1:] if data[0] == _LF else data
            self._skip_lf = False
        if self.done or not data:
            return deltas
        last = data[-1]
        self._skip_lf = last == _CR
        # Splits at CR, LF and CRLF, the line ends of an event stream.
        lines = data.splitlines()
        rest = b"" if last in (_CR, _LF) else lines.pop()
        if self._tail and lines:
            lines[0] = bytes(self._tail) + lines[0]
            self._tail.clear()
        self._take_lines(lines, deltas)
        self._tail += rest
        if len(self._tail) > MAX_EVENT_BYTES and not self.done:
            self._fail_on_size()
        return deltas

    def end(self) -> list[Delta]:
        """The last deltas. Without a finish reason or `[DONE]` before it, the end is a fault."""
        deltas: list[Delta] = []
        self._ended = True
        if not self.done:
            # Some servers leave out the last line's end, or the empty line after it.
            self._take_lines([bytes(self._tail), b""], deltas)
            self._tail.clear()
        if not self.done and self._finish_reason is None:
            self._fail(BROKEN_OFF, "the stream ended without finish_reason and [DONE]")
        self.done = True
        if self.failure is None and not self._reply_bytes and not self._finished:
            self._fail(
                _EMPTY_MESSAGES.get(self._finish_reason, _EMPTY_MESSAGES[None]),
                f"finish_reason {self._finish_reason}, no content",
            )
        return deltas

    def take_whole(self, body: bytes) -> list[Delta]:
        """The deltas of a completion in one piece, from a server that does not stream."""
        deltas: list[Delta] = []
        self._take_event(body, deltas)
        # A whole body cannot have been cut off, whether or not it says how it finished.
        self._finish_reason = self._finish_reason or "stop"
        return deltas + self.end()

    def _take_lines(self, lines: list[bytes], deltas: list[Delta]) -> None:
        data = self._data
        for line in lines:
            if not line:
                if data is not None:
                    self._take_event(data, deltas)
                    data = None
                    if self.done:
                        return
            elif len(line) > MAX_EVENT_BYTES:
                self._fail_on_size()
                return
            elif line.startswith(b"data: ") and data is None:
                data = line[6:]
            elif line.startswith(b"data:"):
                value = line[6:] if line[5:6] == b" " else line[5:]
                data = value if data is None else b"%b\n%b" % (data, value)
                if len(data) > MAX_EVENT_BYTES:
                    self._fail_on_size()
                    return
            # Comments and the fields `event`, `id` and `retry` are not needed.
        self._data = data

    def _take_event(self, data: bytes, deltas: list[Delta]) -> None:
        try:
            chunk = _decode_chunk(data)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            self._take_other(data, error)
            return
        if chunk.error:
            self._fail_on_error(chunk.error, data)
            return
        delta = _to_delta(chunk, data if self._keep_raw else None)
        if delta is None:
            return
        if delta.raw is not None:
            self._raw_bytes += len(data)
            self._finished = self._finished or delta.finish_reason is not None
        self._reply_bytes += _size_of(delta)
        # Raw events are limited too: they hold further choices, and much besides the text.
        if self._reply_bytes > self._max_reply_bytes or self._raw_bytes > self._max_raw_bytes:
            self._fail(
                f"The model server's reply is longer than {self._max_reply_bytes} bytes",
                "the reply was cut at PALAVER_MAX_REPLY_BYTES",
            )
            return
        if delta.finish_reason is not None:
            self._finish_reason = delta.finish_reason
        deltas.append(delta)

    def _take_other(self, data: bytes, error: Exception) -> None:
        marker = data.strip()
        if marker == b"[DONE]":
            self._finish_reason = self._finish_reason or "stop"
            self.done = True
        elif marker:
            self._fail(
                BROKEN_OFF if self._ended else "The model server sent something that is not a chat completion",
                f"{error}: {data[:DETAIL_CHARS].decode(errors='replace')}",
            )

    def _fail_on_error(self, error: Any, data: bytes) -> None:
        code = error.get("code") if isinstance(error, dict) else None
        status = code if isinstance(code, int) and 400 <= code < 600 else None
        self._fail(
            "The model server failed while it was replying",
            data[:DETAIL_CHARS].decode(errors="replace"),
            status=status,
            refusal=parse_error_object(data) if status in REQUEST_REFUSED else None,
        )

    def _fail_on_size(self) -> None:
        self._fail("The model server sent an event that is too large", f"more than {MAX_EVENT_BYTES} bytes")

    def _fail(self, message: str, detail: str, status: int | None = None, refusal: ErrorObject | None = None) -> None:
        self.failure = UpstreamError(message, status=status, detail=detail, refusal=refusal)
        self.done = True


def _to_delta(chunk: Chunk, raw: bytes | None) -> Delta | None:
    """The chunk's part of the first choice; None when that is nothing and there is no `raw` to keep."""
    usage = None if chunk.usage is None else _to_usage(chunk.usage)
    choices = chunk.choices
    choice = choices[0] if choices and choices[0].index == 0 else _first(choices or ())
    finish_reason = choice.finish_reason or None
    message = choice.delta or choice.message
    text = reasoning = ""
    calls: tuple[ToolCallDelta, ...] = ()
    if message is not None:
        text = message.content or message.refusal or ""
        reasoning = message.reasoning_content or message.reasoning or ""
        if message.tool_calls:
            calls = tuple(_to_tool_call(index, call) for index, call in enumerate(message.tool_calls))
    if text or raw is not None or reasoning or calls or finish_reason or usage:
        return Delta(text, reasoning, calls, finish_reason, usage, raw)
    return None


def _size_of(delta: Delta) -> int:
    """The bytes of the delta's text in UTF-8; a tool call has a size even without arguments."""
    text = delta.text
    size = len(text) if text.isascii() else len(text.encode())
    if delta.reasoning:
        size += len(delta.reasoning.encode())
    if delta.tool_calls:
        size += sum(1 + len(call.arguments.encode()) for call in delta.tool_calls)
    return size


def _first(choices: Iterable[_Choice]) -> _Choice:
    """The choice with index 0, wherever it stands; an empty one when there is none."""
    return next((choice for choice in choices if choice.index == 0), _NO_CHOICE)


def _to_tool_call(position: int, call: _ToolCall) -> ToolCallDelta:
    function = call.function or _Function()
    index = position if call.index is None else call.index
    return ToolCallDelta(index, call.id or None, function.name or None, function.arguments or "")


def _to_usage(usage: _Usage) -> Usage:
    details = usage.prompt_tokens_details
    return Usage(usage.prompt_tokens or 0, (details.cached_tokens or 0) if details else 0, usage.completion_tokens or 0)
