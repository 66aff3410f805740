"""What other servers than OpenAI's send: where only text counts, no other member costs the reply."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.providers.decoder import MAX_TOKENS, ReplyDecoder
from app.providers.models import Delta, Usage
from tests.providers.test_decoder import DONE, LIMIT, decode, said, stream, text_of

HELLO = said("Hello")
STOP = said(finish="stop")


def choice(**members: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": {"content": "Hello"}, "finish_reason": None, **members}]}


def delta(**members: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": {"content": "Hello", **members}, "finish_reason": None}]}


ODD = [
    choice(index=None),
    choice(index="0"),
    choice(index=0.0),
    choice(index=1),
    choice(index=[]),
    choice(finish_reason=0),
    choice(finish_reason=False),
    choice(finish_reason="null"),
    choice(finish_reason=[]),
    choice(logprobs="x"),
    choice(message=7),
    delta(reasoning={"effort": 1}),
    delta(reasoning=[1]),
    delta(reasoning_content=False),
    delta(refusal=[]),
    delta(tool_calls={}),
    delta(tool_calls="none"),
    delta(tool_calls=[None, 1]),
    delta(role=3),
    {"choices": {"index": 0, "delta": {"content": "Hello"}}},
    {"choices": [None, {"index": 0, "delta": {"content": "Hello"}}]},
    {"choices": [{"index": 0, "delta": "Hello"}]},
    {"choices": [{"index": 0, "delta": {"content": [{"type": "text", "text": "Hello"}]}}]},
    {"choices": [{"index": 0, "delta": {"content": ["Hel", {"text": {"value": "lo"}}]}}]},
    {"choices": [{"index": 0, "delta": {"content": {"type": "text", "text": "Hello"}}}]},
    {**HELLO, "usage": []},
    {**HELLO, "usage": "12"},
    {**HELLO, "usage": {"prompt_tokens": [], "prompt_tokens_details": []}},
    {**HELLO, "created": 1.5, "id": 7, "model": None, "object": [], "data": None},
    {**HELLO, "error": None},
    {**HELLO, "error": ""},
    {**HELLO, "message": "from a proxy", "code": 7},
]


@pytest.mark.parametrize("chunk", ODD, ids=json.dumps)
def test_an_odd_member_does_not_cost_the_text(chunk: dict[str, Any]) -> None:
    deltas, failure = decode([stream(chunk, STOP)])
    assert (text_of(deltas), failure) == ("Hello", None)


@pytest.mark.parametrize("chunk", ODD, ids=json.dumps)
def test_it_reaches_who_asked_for_the_chunks_themselves(chunk: dict[str, Any]) -> None:
    decoder = ReplyDecoder(LIMIT, keep_raw=True)
    (first, *_) = decoder.feed(stream(chunk, STOP))
    assert first.raw is not None
    assert json.loads(first.raw) == chunk


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
        lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
        max_leaves=4,
    ),
    st.sampled_from(["index", "logprobs", "message", "usage", "created", "reasoning", "refusal", "role", "tool_calls"]),
)
def test_whatever_comes_next(value: Any, name: str) -> None:  # fmt: skip
    chunk: dict[str, Any] = said("Hello")
    place = {"index": chunk["choices"][0], "logprobs": chunk["choices"][0], "message": chunk["choices"][0]}
    (place.get(name) or (chunk if name in ("usage", "created") else chunk["choices"][0]["delta"]))[name] = value
    deltas, failure = decode([stream(chunk, STOP)])
    assert (text_of(deltas), failure) == ("Hello", None)


@pytest.mark.parametrize(
    ("usage", "counts"),
    [
        ({"prompt_tokens": 5.5, "completion_tokens": 7}, Usage(5, 0, 7)),
        ({"prompt_tokens": "5", "completion_tokens": "7"}, Usage(5, 0, 7)),
        ({"prompt_tokens": 5, "completion_tokens": True}, Usage(5, 0, 0)),
        ({"prompt_tokens": -5, "completion_tokens": -(2**70)}, Usage(0, 0, 0)),
        ({"prompt_tokens": 2**70, "completion_tokens": 1e300}, Usage(MAX_TOKENS, 0, MAX_TOKENS)),
        ({"prompt_tokens": 5, "prompt_tokens_details": {"cached_tokens": 9}}, Usage(5, 5, 0)),
        ({"prompt_tokens": 5, "prompt_tokens_details": {"cached_tokens": -9}}, Usage(5, 0, 0)),
        ({"prompt_tokens": 5, "prompt_tokens_details": []}, Usage(5, 0, 0)),
        ([], None),
    ],
)
def test_usage_is_counts_that_can_be_stored(usage: Any, counts: Usage | None) -> None:
    deltas, failure = decode([stream(HELLO, STOP, {"choices": [], "usage": usage})])
    assert failure is None
    assert [delta.usage for delta in deltas if delta.usage] == ([] if counts is None else [counts])


@pytest.mark.parametrize("arguments", [{"city": "Oslo"}, '{"city":"Oslo"}'])
def test_arguments_may_be_an_object(arguments: Any) -> None:
    call = {"index": "0", "id": 5, "function": {"name": "f", "arguments": arguments}}
    deltas, failure = decode([stream(said(tool_calls=[call]), said(finish="tool_calls"))])
    assert failure is None
    (piece,) = deltas[0].tool_calls
    assert (piece.index, piece.id, piece.name, json.loads(piece.arguments)) == (0, "5", "f", {"city": "Oslo"})


@pytest.mark.parametrize(
    "content",
    [
        [{"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}, {"type": "text", "text": "Hello"}],
        [{"type": "reasoning", "text": "hm"}, "Hello"],
    ],
)
def test_reasoning_among_parts_is_reasoning(content: Any) -> None:
    deltas, _ = decode([stream(said(content), STOP)])
    assert deltas[0] == Delta("Hello", "hm")


@pytest.mark.parametrize(
    "data",
    [
        b'{"choices":[{"index":0,"delta":{"content":"Hello"},"logprobs":{"x":NaN,"y":-Infinity}}]}',
        b'{"choices":[{"index":0,"delta":{"content":"Hello"}}],"x":1e999}',
        b'{"choices":[{"index":0,"delta":{"content":"Hello"}}],"x":"\\ud83d"}',
        b'{"choices":[{"index":0,"delta":{"content":"Hello"}}],"x":"\xff"}',
        b'{"choices":[{"index":0,"delta":{"content":"Hello","\x80":1}}]}',
        b'{"choices":[{"index":0,"delta":{"content":"Hello","tool_calls":7}}],"x":"a\tb"}',
        b'{"choices":[{"index":0,"delta":{"content":"Hello"}}],"x":' + b"9" * 5000 + b"}",
    ],
)
def test_what_is_nearly_json_is_read_and_passed_on_as_json(data: bytes) -> None:
    decoder = ReplyDecoder(LIMIT, keep_raw=True)
    deltas = decoder.feed(b"data: " + data + b"\n\n" + stream(STOP))
    assert (text_of(deltas), decoder.failure) == ("Hello", None)
    assert all(json.loads((delta.raw or b"").decode(), parse_constant=pytest.fail, parse_int=str) for delta in deltas)


def test_bytes_that_are_no_text_are_replaced() -> None:
    data = b'data: {"choices":[{"index":0,"delta":{"content":"H\xf0\x9f"}}]}\n\n' + stream(STOP)
    deltas, failure = decode([data])
    assert (text_of(deltas), failure) == ("H\ufffd", None)
    half = b'data: {"choices":[{"index":0,"delta":{"content":"\\ud83d."}}]}\n\n' + stream(STOP)
    assert text_of(decode([half])[0]) == "\ufffd."


class TestFraming:
    def test_a_byte_order_mark_is_no_part_of_the_first_event(self) -> None:
        deltas, failure = decode([b"data: \xef\xbb\xbf" + stream(HELLO, STOP)[6:]])
        assert (text_of(deltas), failure) == ("Hello", None)

    def test_data_on_several_lines_is_passed_on_as_one(self) -> None:
        lines = json.dumps(HELLO, indent=1).splitlines()
        decoder = ReplyDecoder(LIMIT, keep_raw=True)
        (first, *_) = decoder.feed("".join(f"data: {line}\n" for line in lines).encode() + b"\n" + stream(STOP))
        assert first.raw is not None
        assert b"\n" not in first.raw
        assert json.loads(first.raw) == HELLO

    @pytest.mark.parametrize("end", [b"data: [done]\n\n", b'data: "[DONE]"\n\n', b"data: DONE\n\n", b"data:[DONE]"])
    def test_the_end_is_spelt_in_more_ways_than_one(self, end: bytes) -> None:
        deltas, failure = decode([stream(HELLO, end=end)])
        assert (text_of(deltas), failure) == ("Hello", None)

    @pytest.mark.parametrize(
        "event",
        [b"event: ping\ndata: now\n\n", b"event: ping\n\n", b'event: ping\ndata: {"type":"ping"}\n\n', b": hm\n\n"],
    )
    def test_pings_mean_nothing(self, event: bytes) -> None:
        deltas, failure = decode([stream(HELLO, end=b"") + event + stream(STOP)])
        assert (text_of(deltas), failure) == ("Hello", None)

    def test_chunks_may_stand_without_their_field_name(self) -> None:
        deltas, failure = decode([b"%b\n%b\n" % (json.dumps(HELLO).encode(), json.dumps(STOP).encode())])
        assert (text_of(deltas), failure) == ("Hello", None)

    def test_many_lines_of_data_take_no_more_than_their_length(self) -> None:
        data = b"data:\n" * 200_000 + b"data: " + stream(HELLO, STOP)[6:]
        deltas, failure = decode([data], limit=1_000_000)
        assert (text_of(deltas), failure) == ("Hello", None)


class TestFinish:
    @pytest.mark.parametrize(
        "rest", [b"data: {\n\n", b"data: rubbish\n\n", b"rubbish", b'data: {"choices":[{"del', b"data: [1]\n\n"]
    )
    def test_what_is_finished_is_not_undone_by_rubbish(self, rest: bytes) -> None:
        deltas, failure = decode([stream(HELLO, STOP, end=rest)])
        assert (text_of(deltas), failure) == ("Hello", None)

    def test_text_behind_a_finish_reason_is_no_part_of_the_reply(self) -> None:
        usage = {"choices": [], "usage": {"prompt_tokens": 1}}
        deltas, failure = decode([stream(HELLO, STOP, said(" and more"), usage)])
        assert (text_of(deltas), failure) == ("Hello", None)
        assert deltas[-1].usage == Usage(1, 0, 0)

    def test_a_finish_reason_in_every_chunk_is_not_the_end(self) -> None:
        assert text_of(decode([stream(said("Hel", finish="stop"), said("lo", finish="stop"))])[0]) == "Hello"

    def test_each_of_several_choices_must_finish(self) -> None:
        other = {"choices": [{"index": 1, "delta": {"content": "b"}}]}
        decoder = ReplyDecoder(LIMIT, keep_raw=True, choices=2)
        decoder.feed(stream(HELLO, other, STOP, end=b""))
        is_early = decoder.finished
        decoder.feed(stream({"choices": [{"index": 1, "delta": {}, "finish_reason": "stop"}]}, end=b""))
        assert (is_early, decoder.finished) == (False, True)
        decoder.end()
        assert decoder.failure is None

    def test_a_choice_that_breaks_off_is_a_fault(self) -> None:
        decoder = ReplyDecoder(LIMIT, keep_raw=True, choices=2)
        decoder.feed(stream(HELLO, {"choices": [{"index": 1, "delta": {"content": "b"}}]}, STOP, end=b""))
        decoder.end()
        assert decoder.failure is not None


WHY = "The disk is full"
FAILED = "The model server failed while it was replying"
ERRORS: list[bytes] = [
    *(
        b"data: %b\n\n" % json.dumps(error).encode()
        for error in (
            {"error": {"message": WHY}},
            {"error": WHY},
            {"error": [WHY]},
            {"object": "error", "message": WHY, "type": "InternalServerError", "param": None, "code": 500},
            {"type": "error", "error": {"type": "overloaded_error", "message": WHY}},
            {"type": "error", "message": WHY},
            {"code": 20012, "message": WHY, "data": None},
            {"code": "InternalError", "message": WHY},
            {"error_code": 336, "error_msg": WHY},
            {"status": 500, "title": WHY},
            {"status": "failed", "message": WHY},
            {"detail": WHY},
            {"detail": [{"loc": ["body"], "msg": WHY}]},
            {"success": False, "message": WHY},
            {"base_resp": {"status_code": 1004, "status_msg": WHY}, "choices": None},
            {"choices": [], "error": {"message": WHY}},
            {"choices": [{"index": 0, "delta": {"content": "x"}}], "error": {"message": WHY}},
            [{"error": {"code": 500, "message": WHY}}],
            {"choices": [{"index": 0, "delta": {}, "finish_reason": "error", "error": {"message": WHY}}]},
            {"choices": [{"index": 0, "delta": {"content": ""}, "finish_reason": "error"}]},
            {"choices": [{"index": 0, "delta": {}, "finish_reason": "network_error"}]},
            {"choices": [{"index": 0, "delta": {}, "finish_reason": "abort"}]},
        )
    ),
    b'event: error\ndata: {"code":500,"message":"no"}\n\n',
    b'event: error\ndata: {"choices":[]}\n\n',
    b"event: error\ndata: it broke\n\n",
    b"event: error\n\n",
    b"event:error\ndata: no\ndata: no\n\n",
    b'error: {"code":500}\n\n',
    b"error: it broke\n",
    b'{"error":{"message":"no"}}\n\n',
    b'[{"error":{"message":"no"}}]\n',
]


@pytest.mark.parametrize("error", ERRORS)
@pytest.mark.parametrize("end", [DONE, b"", stream(STOP)])
@pytest.mark.parametrize("keep_raw", [False, True])
def test_an_error_of_any_shape_is_a_failure(error: bytes, end: bytes, keep_raw: bool) -> None:
    decoder = ReplyDecoder(LIMIT, keep_raw=keep_raw)
    deltas = decoder.feed(stream(said("The total is "), end=b"") + error + end)
    deltas += decoder.end()
    assert text_of(deltas) == "The total is "
    assert decoder.failure is not None
    assert decoder.failure.message == FAILED


@pytest.mark.parametrize(
    ("error", "status"),
    [
        ({"code": 400, "message": WHY}, 400),
        ({"code": "400", "message": WHY}, 400),
        ({"error": {"type": "invalid_request_error", "message": WHY}}, 400),
        ({"object": "error", "type": "BadRequestError", "message": WHY, "code": 40303}, 400),
        ([{"error": {"code": 400, "status": "INVALID_ARGUMENT", "message": WHY}}], 400),
        ({"error": {"status": 422, "detail": [{"msg": WHY}]}}, 422),
    ],
)
def test_a_refusal_in_a_stream_keeps_its_reason(error: Any, status: int) -> None:
    decoder = ReplyDecoder(LIMIT)
    decoder.feed(stream(error))
    assert decoder.failure is not None
    assert (decoder.failure.status, decoder.failure.refusal and decoder.failure.refusal.message) == (status, WHY)
