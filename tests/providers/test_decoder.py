"""The decoder: bytes in pieces of any size become the same deltas, and what is wrong is named."""

import json
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.providers.decoder import MAX_MEMBERS_BYTES, ReplyDecoder
from app.providers.models import Delta, ToolCallDelta, Usage

LIMIT = 10_000
DONE = b"data: [DONE]\n\n"


def said(text: str | None = None, *, finish: str | None = None, **delta: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": {"content": text, **delta}, "finish_reason": finish}]}


def stream(*chunks: Any, end: bytes = DONE) -> bytes:
    return b"".join(b"data: %b\n\n" % json.dumps(chunk).encode() for chunk in chunks) + end


def decode(pieces: Iterable[bytes], limit: int = LIMIT) -> tuple[list[Delta], str | None]:
    """The deltas, and the message of the failure."""
    decoder = ReplyDecoder(limit)
    deltas: list[Delta] = []
    for piece in pieces:
        deltas += decoder.feed(piece)
    deltas += decoder.end()
    return deltas, decoder.failure.message if decoder.failure else None


def text_of(deltas: Sequence[Delta]) -> str:
    return "".join(delta.text for delta in deltas)


def split(data: bytes, cuts: Iterable[int]) -> list[bytes]:
    places = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    return [data[start:end] for start, end in pairwise(places)]


line_end = st.sampled_from([b"\n", b"\r\n", b"\r"])
chunks = st.one_of(
    st.builds(said, st.text(max_size=20)),
    st.builds(said, reasoning_content=st.text(max_size=10)),
    st.builds(said, finish=st.sampled_from(["stop", "length", None])),
    st.just({"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 2}}),
    st.just({"error": {"message": "no"}}),
)


@st.composite
def streams(draw: st.DrawFn) -> bytes:
    """Streams as no one server sends them: mixed line ends, comments, fields, data on several lines, rubbish."""
    end = draw(line_end)
    parts: list[bytes] = []
    for chunk in draw(st.lists(chunks, max_size=8)):
        indent = draw(st.sampled_from([None, 1]))
        data = json.dumps(chunk, ensure_ascii=draw(st.booleans()), indent=indent).encode(errors="replace")
        space = draw(st.sampled_from([b" ", b""]))
        parts += [b"data:%b%b%b" % (space, line, end) for line in data.split(b"\n")]
        parts.append(end)
        parts.append(draw(st.sampled_from([b"", b": hm" + end, b"event: x" + end, b"id: 1" + end, end])))
    parts.append(draw(st.sampled_from([b"", b"data: [DONE]" + end + end, b"data:[DONE]", b"data: {", b"\xff" + end])))
    return b"".join(parts)


@given(streams(), st.lists(st.integers(0, 5000), max_size=12))
def test_any_split_of_the_bytes_gives_the_same_deltas(data: bytes, cuts: list[int]) -> None:
    assert decode(split(data, cuts)) == decode([data])


@given(streams())
def test_bytes_one_by_one_give_the_same_deltas(data: bytes) -> None:
    assert decode(data[index : index + 1] for index in range(len(data))) == decode([data])


@given(st.binary(max_size=300))
def test_no_bytes_make_it_raise(data: bytes) -> None:
    _, failure = decode([data])
    assert failure is not None


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_lines_end_in_lf_crlf_and_cr(end: str) -> None:
    data = stream(said("Grüße "), said("🙂"), said(finish="stop")).replace(b"\n", end.encode())
    deltas, failure = decode([data])
    assert (text_of(deltas), failure) == ("Grüße 🙂", None)


def test_a_line_is_complete_at_its_cr() -> None:
    decoder = ReplyDecoder(LIMIT)
    assert text_of(decoder.feed(stream(said("a"), end=b"").replace(b"\n", b"\r"))) == "a"
    assert decoder.feed(b"\n: a comment\r\n") == []
    assert text_of(decoder.feed(stream(said("b")))) == "b"


def test_everything_that_a_chunk_says_is_in_its_delta() -> None:
    call = {"index": 1, "id": "c1", "function": {"name": "f", "arguments": "{}"}}
    usage = {"prompt_tokens": 7, "completion_tokens": 2, "prompt_tokens_details": {"cached_tokens": 5}}
    deltas, failure = decode(
        [
            stream(
                said("", role="assistant"),
                said(reasoning_content="hm"),
                said(reasoning="so"),
                said("a", tool_calls=[call]),
                said(tool_calls=[{"function": {"arguments": "x"}}]),
                said(finish="tool_calls"),
                {"choices": [], "usage": usage},
            )
        ]
    )
    assert failure is None
    assert deltas == [
        Delta(reasoning="hm"),
        Delta(reasoning="so"),
        Delta("a", tool_calls=(ToolCallDelta(1, "c1", "f", "{}"),)),
        Delta(tool_calls=(ToolCallDelta(None, None, None, "x"),)),
        Delta(finish_reason="tool_calls"),
        Delta(usage=Usage(7, 5, 2)),
    ]


def test_nulls_and_unknown_fields_are_taken_as_nothing() -> None:
    odd = [
        {"choices": None, "usage": None, "error": None, "x": {"y": [1]}},
        {"choices": [{"index": 0, "delta": None, "finish_reason": "", "logprobs": None}]},
        {"choices": [{"delta": {"content": None, "tool_calls": None, "refusal": None}}]},
        {"usage": {"prompt_tokens": None, "prompt_tokens_details": None}},
    ]
    deltas, failure = decode([stream(*odd, said("a", finish="stop"))])
    assert failure is None
    assert deltas == [Delta(usage=Usage(0, 0, 0)), Delta("a", finish_reason="stop")]


def test_only_the_first_choice_is_read() -> None:
    other = {"choices": [{"index": 1, "delta": {"content": "b"}}, {"index": 0, "delta": {"content": "a"}}]}
    assert text_of(decode([stream(other)])[0]) == "a"


def test_a_refusal_is_text() -> None:
    assert text_of(decode([stream(said(refusal="I will not"))])[0]) == "I will not"


def test_nothing_after_done_is_read() -> None:
    deltas, failure = decode([stream(said("a")), stream(said("b")), b"rubbish"])
    assert (text_of(deltas), failure) == ("a", None)


@pytest.mark.parametrize("end", [b"data: [DONE]", b"data: [DONE]\n", b"data:[DONE]\r\n\r\n"])
def test_the_last_lines_end_may_be_missing(end: bytes) -> None:
    deltas, failure = decode([stream(said("a"), end=end)])
    assert (text_of(deltas), failure) == ("a", None)


def test_a_finish_reason_is_as_good_as_done() -> None:
    assert decode([stream(said("a"), said(finish="stop"), end=b"")])[1] is None


BROKEN_OFF = "The model server broke off its reply"
NO_COMPLETION = "The model server sent something that is not a chat completion"


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", BROKEN_OFF),
        (stream(said("a"), end=b""), BROKEN_OFF),
        (stream(said("a"), end=b'data: {"choices": [{"del'), BROKEN_OFF),
        (stream(end=b'data: {"choices": [\n\n'), NO_COMPLETION),
        (stream(end=b"data: \xff\xfe\n\n"), NO_COMPLETION),
        (stream(end=b"data: %b\n\n" % (b'{"x":' * 100_000)), NO_COMPLETION),
        (stream([1]), NO_COMPLETION),
        (stream("hello"), NO_COMPLETION),
        (stream({"error": {"message": "secret", "code": 429}}), "The model server failed while it was replying"),
        (stream({"error": "secret"}), "The model server failed while it was replying"),
        (stream(), "The model server sent an empty reply"),
        (stream(said("", role="assistant"), said(finish="stop")), "The model server sent an empty reply"),
        (stream(said(finish="content_filter")), "The model server withheld its reply (content filter)"),
        (stream(said(finish="length")), "The model reached its token limit before it said anything"),
    ],
)
def test_what_is_wrong_has_a_safe_message(data: bytes, message: str) -> None:
    assert decode([data])[1] == message


def test_what_came_before_a_fault_is_kept_and_what_comes_after_is_not() -> None:
    deltas, failure = decode([stream(said("a"), {"error": {"message": "no"}}, said("b"))])
    assert (text_of(deltas), failure) == ("a", "The model server failed while it was replying")


def test_an_errors_code_is_its_status_when_it_is_one() -> None:
    for code, status in ((429, 429), ("rate_limit", None), (17, None)):
        decoder = ReplyDecoder(LIMIT)
        decoder.feed(stream({"error": {"code": code}}))
        assert decoder.failure is not None
        assert decoder.failure.status == status


def test_a_tool_call_without_arguments_is_not_an_empty_reply() -> None:
    call = {"index": 0, "id": "c", "function": {"name": "now", "arguments": ""}}
    assert decode([stream(said(tool_calls=[call]), said(finish="tool_calls"))])[1] is None


def test_a_reply_is_bounded_in_the_bytes_it_says() -> None:
    fits = stream(said("é" * 50))
    assert decode([fits], limit=100)[1] is None
    deltas, failure = decode([stream(said("é" * 50), said("x"))], limit=100)
    assert (text_of(deltas), failure) == ("é" * 50, "The model server's reply is longer than 100 bytes")


@pytest.mark.parametrize("start", [b"data: ", b": ", b""])
@pytest.mark.parametrize("at_once", [True, False])
def test_an_event_is_bounded(start: bytes, at_once: bool) -> None:
    data = start + b"x" * (LIMIT + MAX_MEMBERS_BYTES + 1) + b"\n\n"
    pieces = [data] if at_once else split(data, range(0, len(data), 100_000))
    assert decode(pieces)[1] == "The model server sent an event that is too large"


def test_an_event_of_many_lines_is_bounded() -> None:
    line = b"data: " + b"x" * 100_000 + b"\n"
    assert decode([line] * 11)[1] == "The model server sent an event that is too large"


def test_an_unended_line_does_not_grow_without_bound() -> None:
    decoder = ReplyDecoder(LIMIT)
    for _ in range(11):
        decoder.feed(b"x" * 100_000)
    assert decoder.done


def test_a_whole_completion_is_one_reply() -> None:
    body = {
        "choices": [{"message": {"role": "assistant", "content": "Hi", "reasoning": "hm"}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 1, "completion_tokens": 1},
    }
    decoder = ReplyDecoder(LIMIT)
    assert decoder.take_whole(json.dumps(body).encode()) == [Delta("Hi", "hm", (), "stop", Usage(1, 0, 1))]
    assert decoder.failure is None


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"{", NO_COMPLETION),
        (b'"hello"', NO_COMPLETION),
        (b'{"error": {"message": "secret"}}', "The model server failed while it was replying"),
        (b'{"choices": []}', "The model server sent an empty reply"),
        (b"", "The model server sent an empty reply"),
    ],
)
def test_a_whole_completion_that_is_none_is_a_failure(body: bytes, message: str) -> None:
    decoder = ReplyDecoder(LIMIT)
    assert decoder.take_whole(body) == []
    assert decoder.failure is not None
    assert decoder.failure.message == message
