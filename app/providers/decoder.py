"""From a model server's bytes to deltas: Server-Sent Events that hold `chat.completion.chunk`, and whole completions.

This runs once per token, so it works on bytes and makes one typed JSON decode per event. It takes about 3 us a token
when many come in one read.
"""

from collections.abc import Sequence
from typing import Any

import msgspec

from app.providers import lenient_json
from app.providers.chunk_shapes import (
    NO_CHOICE,
    Choice,
    Chunk,
    Function,
    TokenUsage,
    ToolCall,
    decode_chunk,
    read_chunk,
)
from app.providers.error_shapes import is_error
from app.providers.errors import BROKEN_OFF, event_error
from app.providers.models import Delta, ToolCallDelta, UpstreamError, Usage

MAX_MEMBERS_BYTES = 1024**2
"""Bytes that an event may have besides the text of the reply."""
RAW_RATIO = 8
"""Bytes of raw events that are kept for each byte of text that a reply may have."""
MAX_TOKENS = 2**31 - 1
"""The most tokens that a usage can name, so that it can be stored."""

_CR, _LF = 0x0D, 0x0A
_NO_COMPLETION = "The model server sent something that is not a chat completion"
_FAILURES = frozenset({"abort", "aborted", "failed", "failure", "insufficient_system_resource"})
"""Finish reasons of a reply that did not come to its end, besides those with `error` in them."""
_EMPTY_MESSAGES: dict[str | None, str] = {
    None: "The model server sent an empty reply",
    "content_filter": "The model server withheld its reply (content filter)",
    "length": "The model reached its token limit before it said anything",
}


class ReplyDecoder:
    """The deltas of one reply, from its bytes.

    Pass each read to `feed`, in pieces of any size, and call `end` after the last. Neither raises: both return the
    deltas before a fault, and `failure` is the fault. `done` means that nothing more needs to be read, `finished` that
    every one of the reply's `choices` has a finish reason: only the usage can follow.
    With `keep_raw` every event makes a delta, which holds it, and a reply may consist of its finish reason alone.
    """

    # fmt: off
    __slots__ = (
        "_choices", "_data", "_ended", "_event_bytes", "_event_name", "_finish_reason", "_finished_indices", "_index",
        "_indices", "_keep_raw", "_max_event_bytes", "_max_raw_bytes", "_max_reply_bytes", "_more_data", "_raw_bytes",
        "_reply_bytes", "_skip_lf", "_tail", "done", "failure", "finished",
    )
    # fmt: on

    def __init__(self, max_reply_bytes: int, *, keep_raw: bool = False, choices: int = 1) -> None:
        self.done = False
        self.finished = False
        self.failure: UpstreamError | None = None
        self._max_reply_bytes = max_reply_bytes
        self._max_event_bytes = max_reply_bytes + MAX_MEMBERS_BYTES
        self._max_raw_bytes = max_reply_bytes * RAW_RATIO + MAX_MEMBERS_BYTES
        self._keep_raw = keep_raw
        self._raw_bytes = 0
        self._reply_bytes = 0
        self._choices = choices
        self._index = None if choices == 1 else 0  # the choice that is read; some servers count from 1
        self._indices: set[int] = set()
        self._finished_indices: set[int] = set()
        self._finish_reason: str | None = None
        self._tail = bytearray()  # the line that is not complete yet
        self._data: bytes | None = None  # the first line of data of the event that is not complete yet
        self._more_data: list[bytes] = []  # its other lines
        self._event_bytes = 0
        self._event_name = b""
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
        if len(self._tail) > self._max_event_bytes and not self.done:
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
        if not self.done and not self.is_complete:
            self.fail(BROKEN_OFF, "the stream ended without finish_reason and [DONE]")
        self.done = True
        has_content = self._reply_bytes or (self._keep_raw and self._finished_indices)
        if self.failure is None and not has_content:
            self.fail(
                _EMPTY_MESSAGES.get(self._finish_reason, _EMPTY_MESSAGES[None]),
                "no content",
            )
        return deltas

    @property
    def is_complete(self) -> bool:
        """Whether nothing is missing if nothing more comes."""
        return self._finish_reason is not None and self._indices <= self._finished_indices

    def take_whole(self, body: bytes) -> list[Delta]:
        """The deltas of a completion in one piece, from a server that does not stream."""
        deltas: list[Delta] = []
        self._take_event(body, deltas)
        # A whole body cannot have been cut off, whether or not it says how it finished.
        self._finish_reason = self._finish_reason or "stop"
        self._indices.clear()
        return deltas + self.end()

    def _take_lines(self, lines: list[bytes], deltas: list[Delta]) -> None:
        data = self._data
        for line in lines:
            if not line:
                if self._event_name or self._more_data:
                    self._dispatch(data or b"", deltas)
                elif data is not None:
                    self._take_event(data, deltas)
                data = None
                if self.done:
                    return
            elif len(line) > self._max_event_bytes:
                self._fail_on_size()
                return
            elif line.startswith(b"data: ") and data is None:
                data = line[6:]
            elif line.startswith(b"data:"):
                value = line[6:] if line[5:6] == b" " else line[5:]
                if data is None:
                    data = value
                elif not self._add_data(data, value):
                    return
            else:
                self._take_field(line, deltas)
                if self.done:
                    return
        self._data = data

    def _add_data(self, first: bytes, value: bytes) -> bool:
        """Add another line to the event's data; False when it is too large."""
        if not self._more_data:
            self._event_bytes = len(first)
        self._more_data.append(value)
        self._event_bytes += len(value) + 1
        if self._event_bytes > self._max_event_bytes:
            self._fail_on_size()
            return False
        return True

    def _take_field(self, line: bytes, deltas: list[Delta]) -> None:
        """Take a line that is not data. Comments and the fields `id` and `retry` are not needed."""
        if line.startswith(b"event:"):
            self._event_name = line[6:].strip()
        elif line.startswith(b"error:"):
            self._fail_on_error(line[6:].strip())
        elif line.startswith((b"{", b"[{")):  # JSON without its field name, as some servers send errors
            value = _read(line)
            if is_error(value) or (isinstance(value, dict) and "choices" in value):
                self._take_event(line, deltas)

    def _dispatch(self, data: bytes, deltas: list[Delta]) -> None:
        """Take an event that has a name, or several lines of data."""
        name, self._event_name = self._event_name, b""
        if self._more_data:
            # One line, as it must be in a client's stream: a line's end in JSON is only space between tokens.
            data = b" ".join([data, *self._more_data])
            self._more_data.clear()
        if not name:
            self._take_event(data, deltas)
        elif name == b"error":
            self._fail_on_error(data)
        elif data.strip().startswith((b"{", b"[")):  # other named events, such as pings, may hold anything else
            self._take_event(data, deltas)

    def _take_event(self, data: bytes, deltas: list[Delta]) -> None:
        try:
            chunk = decode_chunk(data)
            if self._keep_raw and not data.isascii():
                data.decode()  # members that are not read are passed on too
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            self._take_odd_event(data, deltas)
            return
        if chunk.error or chunk.choices is None:
            self._take_odd_event(data, deltas)
        else:
            self._take_chunk(chunk, data, deltas)

    def _take_odd_event(self, data: bytes, deltas: list[Delta]) -> None:
        """Take an event that is not a chunk in OpenAI's shape: it can be an error, the end, or a chunk nevertheless."""
        marker = data.strip(b" \t\"'\xef\xbb\xbf")
        if marker.upper() in (b"[DONE]", b"DONE"):
            self._finish_reason = self._finish_reason or "stop"
            self._indices.clear()
            self.done = True
            return
        if not marker:
            return
        value = _read(data.removeprefix(b"\xef\xbb\xbf"))
        if is_error(value):
            self._fail_on_error(value, len(data))
        elif isinstance(value, dict):
            self._take_chunk(read_chunk(value), _valid_json(data, value), deltas)
        elif not self.is_complete:  # what is finished is not undone by rubbish behind it
            self.fail(BROKEN_OFF if self._ended else _NO_COMPLETION, f"{len(data)} bytes that are no object")

    def _take_chunk(self, chunk: Chunk, data: bytes, deltas: list[Delta]) -> None:
        choices = chunk.choices
        if choices and choices[0].index == self._index and self._choices == 1:
            choice = choices[0]
        else:
            choice = self._choice_in(choices or ())
        delta = to_delta(choice, chunk.usage, data if self._keep_raw else None)
        if delta is None:
            return
        if delta.finish_reason is not None:
            if _is_failure(delta.finish_reason):
                self._fail_on_finish(data, delta, deltas)
                return
            self._finish_reason = delta.finish_reason
            self._finish(choice.index)
        elif self._finish_reason is not None and (delta.text or delta.reasoning):
            # The reply is over; what follows is not a part of it.
            delta = Delta(tool_calls=delta.tool_calls, usage=delta.usage, raw=delta.raw if self._choices > 1 else None)
        if delta.raw is not None:
            self._raw_bytes += len(data)
        self._reply_bytes += _size_of(delta)
        # Raw events are limited too: they hold further choices, and much besides the text.
        if self._reply_bytes > self._max_reply_bytes or self._raw_bytes > self._max_raw_bytes:
            self.fail(
                f"The model server's reply is longer than {self._max_reply_bytes} bytes",
                "the reply was cut at PALAVER_MAX_REPLY_BYTES",
            )
            return
        deltas.append(delta)

    def _choice_in(self, choices: Sequence[Choice]) -> Choice:
        """The choice that is read, wherever it stands; an empty one when there is none."""
        if not choices:
            return NO_CHOICE
        if self._index is None:
            self._index = 0 if any(choice.index == 0 for choice in choices) else choices[0].index
        if self._choices > 1:
            for choice in choices:
                self._indices.add(choice.index)
                if choice.finish_reason and choice.index != self._index:
                    self._finish(choice.index)
        return next((choice for choice in choices if choice.index == self._index), NO_CHOICE)

    def _finish(self, index: int) -> None:
        self._finished_indices.add(index)
        self.finished = len(self._finished_indices) >= self._choices

    def _fail_on_finish(self, data: bytes, delta: Delta, deltas: list[Delta]) -> None:
        """Fail for a finish reason that is an error; its reason stands in the choice or beside it."""
        if delta.text or delta.reasoning:
            self._reply_bytes += _size_of(delta)
            deltas.append(Delta(delta.text, delta.reasoning))
        value = _read(data)
        choices = value.get("choices") if isinstance(value, dict) else None
        choice = choices[0] if isinstance(choices, list) and choices and isinstance(choices[0], dict) else {}
        self._fail_on_error(choice.get("error") or {"message": choice.get("message")}, len(data))

    def _fail_on_error(self, error: Any, size: int = 0) -> None:
        self.failure = event_error(error, size)
        self.done = True

    def _fail_on_size(self) -> None:
        self.fail("The model server sent an event that is too large", f"more than {self._max_event_bytes} bytes")

    def fail(self, message: str, detail: str) -> None:
        self.failure = UpstreamError(message, detail=detail)
        self.done = True


def to_delta(choice: Choice, usage: TokenUsage | None, raw: bytes | None) -> Delta | None:
    """What a choice says; None when that is nothing and there is no `raw` to keep."""
    counts = None if usage is None else _to_usage(usage)
    finish_reason = choice.finish_reason or None
    if finish_reason == "null":  # as some servers write null
        finish_reason = None
    message = choice.delta or choice.message
    text = reasoning = ""
    calls: tuple[ToolCallDelta, ...] = ()
    if message is not None:
        text = message.content or message.refusal or ""
        reasoning = message.reasoning_content or message.reasoning or ""
        if message.tool_calls:
            calls = _to_tool_calls(message.tool_calls)
    if text or raw is not None or reasoning or calls or finish_reason or counts:
        return Delta(text, reasoning, calls, finish_reason, counts, raw)
    return None


def _to_tool_calls(calls: list[ToolCall]) -> tuple[ToolCallDelta, ...]:
    """Calls that come together without numbers are numbered; a single one without a number goes on with the last."""
    deltas = []
    for position, call in enumerate(calls):
        index = position if call.index is None and len(calls) > 1 else call.index
        function = call.function or Function()
        deltas.append(ToolCallDelta(index, call.id or None, function.name or None, function.arguments or ""))
    return tuple(deltas)


def _to_usage(usage: TokenUsage) -> Usage:
    details = usage.prompt_tokens_details
    prompt = _clamp(usage.prompt_tokens)
    cached = _clamp(details.cached_tokens) if details else 0
    return Usage(prompt, min(cached, prompt), _clamp(usage.completion_tokens))


def _clamp(count: int | None) -> int:
    return min(max(count or 0, 0), MAX_TOKENS)


def _read(data: bytes) -> Any:
    """The value of JSON; None if it is none."""
    try:
        return lenient_json.decode(data)
    except (ValueError, RecursionError):
        return None


def _is_failure(finish_reason: str) -> bool:
    reason = finish_reason.lower()
    return "error" in reason or reason in _FAILURES


def _valid_json(data: bytes, value: Any) -> bytes:
    """The event for clients, which take nothing but JSON."""
    try:
        msgspec.json.decode(data, type=dict[str, msgspec.Raw])
        data.decode()
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return lenient_json.encode(value)
    return data


def _size_of(delta: Delta) -> int:
    """The bytes of the delta's text in UTF-8; a tool call has a size even without arguments."""
    text = delta.text
    size = len(text) if text.isascii() else len(text.encode())
    if delta.reasoning:
        size += len(delta.reasoning.encode())
    if delta.tool_calls:
        size += sum(1 + len(call.arguments.encode()) for call in delta.tool_calls)
    return size
