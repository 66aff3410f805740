"""Answers of model servers: bytes in any pieces become deltas or one failure, and never an exception."""

import json
from itertools import pairwise
from typing import Any

from hypothesis import strategies as st

from app.providers.answer import AnswerReader
from app.providers.error_shapes import parse_error
from app.providers.listing import parse_model_list
from app.providers.models import Usage
from app.providers.tool_calls import ToolCalls
from fuzz.values import json_values, nearly_json

LIMIT = 10_000
LABELS = ("text/event-stream", "application/json", "text/html", "")

_names = st.sampled_from([
    "choices", "index", "delta", "message", "content", "text", "type", "role", "reasoning", "reasoning_content",
    "refusal", "tool_calls", "id", "function", "name", "arguments", "finish_reason", "usage", "prompt_tokens",
    "completion_tokens", "prompt_tokens_details", "cached_tokens", "error", "code", "status", "detail", "object",
    "created", "model", "logprobs", "base_resp", "status_code", "errors", "metadata", "raw", "loc", "data", "models",
])  # fmt: skip
_words = st.sampled_from(
    ["", "a", "stop", "error", "null", "f", "{}", '{"a":', "1}", "text", "thinking", "\x00", "é", "🙂"]
)
_values = json_values(_names, _words)
_calls = st.fixed_dictionaries({}, optional={
    "index": st.none() | st.integers(-1, 2) | _words,
    "id": st.none() | _words,
    "function": st.fixed_dictionaries({}, optional={"name": st.none() | _words, "arguments": _words | _values}),
})  # fmt: skip
_deltas = st.fixed_dictionaries({}, optional={
    "content": st.none() | _words | _values,
    "reasoning": _words | _values,
    "tool_calls": st.lists(_calls, max_size=3) | _values,
})  # fmt: skip
_choices = st.fixed_dictionaries({}, optional={
    "index": st.none() | st.integers(-1, 2),
    "delta": _deltas,
    "message": _deltas,
    "finish_reason": st.none() | _words,
})  # fmt: skip
_chunks = st.one_of(
    st.fixed_dictionaries(
        {"choices": st.lists(_choices, max_size=3)},
        optional={"usage": _values, "created": st.floats()},
    ),
    _values,
)
_events = st.one_of(
    nearly_json(_chunks),
    st.sampled_from([b"[DONE]", b"", b" ", b'"[DONE]"', b"rubbish", b"\xff", b"[", b"{"]),
)
_line_ends = st.sampled_from([b"\n", b"\r\n", b"\r", b"\n\n", b""])
_fields = st.sampled_from([b"data: ", b"data:", b"event: ", b"error: ", b"id: ", b": ", b"", b"\xef\xbb\xbf", b"data"])
_lines = st.builds(lambda field, event, end: field + event + end, _fields, _events, _line_ends)
_usual = st.builds(lambda event: b"data: " + event + b"\n\n", _events)
_answers = st.one_of(
    st.lists(st.one_of(_usual, _usual, _lines), max_size=12).map(b"".join),
    nearly_json(_chunks),
    st.binary(max_size=200),
)
_inputs = st.tuples(
    _answers,
    st.lists(st.integers(0, 2000), max_size=6),
    st.sampled_from(LABELS),
    st.booleans(),
    st.booleans(),
    st.integers(1, 3),
)


def check(value: object) -> None:
    assert isinstance(value, tuple)
    data, cuts, label, stream, keep_raw, choices = value
    reader = AnswerReader(label, LIMIT, stream=stream, keep_raw=keep_raw, choices=choices)
    places = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    deltas = []
    for start, end in pairwise(places):
        deltas += reader.feed(data[start:end])
        assert isinstance(reader.is_complete, bool)
    deltas += reader.end()
    assert reader.decoder.done
    assert reader.decoder.failure is None or reader.decoder.failure.message.startswith("The model")
    calls = ToolCalls()
    for delta in deltas:
        _check_usage(delta.usage)
        assert (delta.text + delta.reasoning).encode() is not None
        for call in delta.tool_calls:
            calls.add(call)
        if delta.raw is not None:
            assert b"\n" not in delta.raw or not stream
            assert isinstance(json.loads(delta.raw), dict)
    assert all(call.arguments.encode() is not None for call in calls.calls)
    parse_error(data)
    _check_list(data)


def _check_usage(usage: Usage | None) -> None:
    if usage is not None:
        assert 0 <= usage.cached_tokens <= usage.prompt_tokens < 2**31
        assert 0 <= usage.completion_tokens < 2**31


def _check_list(data: bytes) -> None:
    try:
        names: Any = parse_model_list(data)
    except (ValueError, RecursionError):
        return
    assert names is None or all(isinstance(name, str) and name for name in names)


TARGET = (_inputs, check)
