"""Frames of Server-Sent Events."""

import json

import pytest

from app.edge.sse import frame, numbered_frames

LINE_ENDS = "one\u2028two\u2029three\u0085four – “five”"


@pytest.mark.parametrize("character", ["\u2028", "\u2029", "\u0085"])
def test_characters_that_end_a_line_for_some_clients_are_escaped(character: str) -> None:
    data = json.dumps({"text": LINE_ENDS}, ensure_ascii=False).encode()
    for text in (frame(data).decode(), numbered_frames([(1, data), (2, data)]).decode()):
        assert character not in text
        lines = [line for line in text.splitlines() if line.startswith("data: ")]
        assert [json.loads(line.removeprefix("data: ")) for line in lines] == [{"text": LINE_ENDS}] * len(lines)
        assert len(lines) == text.count("data: ")
