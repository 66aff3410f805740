"""The encoder of chunks: many at once are the same as one by one, and each is the model server's, under one id."""

import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.chat.runs.events import Chunk, Completed, Event, Started
from app.chat.runs.log import RunLog
from app.chat.values import Run, RunStatus
from app.clock import utc_now
from app.completions.chunks import ChunkEncoder, completion_id
from app.doors.openai.dialect import OPENAI

RUN = Run(
    id="run",
    session_id=None,
    username="ann",
    key_id="key",
    status=RunStatus.RUNNING,
    streaming=True,
    user_message_id=None,
    reply_message_id=None,
    message_id="message",
    config_id="default",
    provider_id="p",
    model="m",
    error_code=None,
    error=None,
    created_at=utc_now(),
    started_at=None,
    finished_at=None,
)
ENVELOPE = {"id": "theirs", "object": "chat.completion.chunk", "created": 1_700_000_000, "model": "m"}

words = st.sampled_from(["a", " ", "\n", '"id"', '"}],"usage":{', '{"id":"theirs"', "ü", ""])
deltas = st.one_of(
    st.builds(lambda text: {"content": text}, words),
    st.builds(lambda text: {"tool_calls": [{"index": 0, "id": text, "function": {"arguments": text}}]}, words),
    st.just({}),
)
choices = st.builds(lambda delta, finish: {"index": 0, "delta": delta, "finish_reason": finish}, deltas, words)
chunks = st.one_of(
    st.builds(lambda choice: {**ENVELOPE, "choices": [choice]}, choices),
    st.builds(lambda one, other: {**ENVELOPE, "choices": [one, other]}, choices, choices),
    # The same beginning and end, and something of the model server's own in between.
    st.builds(lambda choice: {**ENVELOPE, "choices": [choice], "usage": None, "more": [{"x": 1}]}, choices),
    st.builds(lambda choice: {**ENVELOPE, "choices": [choice], "usage": {"total_tokens": 1}, "more": [{}]}, choices),
    st.just({**ENVELOPE, "choices": [], "usage": {"total_tokens": 3}}),
    st.just({"choices": [{"index": 0, "delta": {"content": "bare"}}]}),
)


@given(st.lists(chunks, max_size=12), st.booleans(), st.data())
def test_frames_are_the_model_servers_chunks_under_one_id(
    sent: list[dict[str, Any]], wants_usage: bool, data: st.DataObject
) -> None:
    compact = [json.dumps(chunk, separators=(",", ":")).encode() for chunk in sent]
    events: list[Event] = [Started(None, "run", "message"), *map(Chunk, compact), Completed("", "")]
    log = RunLog()
    log.append(*events)
    encode = ChunkEncoder(RUN, log, OPENAI, wants_usage=wants_usage)
    cuts = data.draw(st.lists(st.integers(0, len(events)), max_size=3).map(sorted))
    places = [0, *cuts, len(events)]
    pieces = [encode(range(a, b), events[a:b]) for a, b in pairwise(places)]

    frames = b"".join(pieces).decode().split("\n\n")
    assert frames[-2:] == ["data: [DONE]", ""]
    assert [json.loads(frame.removeprefix("data: ")) for frame in frames[:-2]] == [
        shown for chunk in sent if (shown := expected(chunk, sent, wants_usage=wants_usage)) is not None
    ]


def expected(chunk: dict[str, Any], sent: list[dict[str, Any]], *, wants_usage: bool) -> dict[str, Any] | None:
    if chunk.get("usage") is not None and not chunk["choices"] and not wants_usage:
        return None
    created = next((each["created"] for each in sent if "created" in each), int(RUN.created_at.timestamp()))
    shown = {"object": "chat.completion.chunk", "model": "m", **chunk, "id": completion_id(RUN), "created": created}
    return shown if wants_usage else {name: value for name, value in shown.items() if name != "usage"}


@pytest.mark.parametrize(
    ("created", "expected"),
    [
        ([0, 5], 5),
        ([None, 5], 5),
        ([0, 0, 5], 5),
        ([5.7], 5),
        (["5", 6], 5),
        ([[], 6], 6),
        ([-1, 6], 6),
        ([0], None),
        ([{}], None),
    ],
)
def test_created_is_the_first_time_that_is_one(created: list[Any], expected: int | None) -> None:
    chunks = [
        Chunk(json.dumps({"choices": [], "created": each, "object": "", "model": ""}).encode()) for each in created
    ]
    log = RunLog()
    log.append(*chunks, Completed("", ""))
    frames = ChunkEncoder(RUN, log, OPENAI, wants_usage=False)([1] * len(chunks), chunks).decode().split("\n\n")
    for frame in frames[:-1]:
        value = json.loads(frame.removeprefix("data: "))
        assert value["created"] == expected or (
            expected is None and value["created"] == int(RUN.created_at.timestamp())
        )
        assert (value["object"], value["model"]) == ("chat.completion.chunk", "m")
