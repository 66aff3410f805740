"""Calls of tools are told apart however a model server numbers and names them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.providers.models import ToolCallDelta
from app.providers.tool_calls import ToolCalls


def piece(
    index: int | None = None, id: str | None = None, name: str | None = None, arguments: str = ""
) -> ToolCallDelta:
    return ToolCallDelta(index, id, name, arguments)


def gathered(*pieces: ToolCallDelta) -> list[tuple[str, str, str]]:
    calls = ToolCalls()
    for each in pieces:
        calls.add(each)
    return [(call.id, call.name, call.arguments) for call in calls.calls]


ONE = [("a", "f", '{"x":1}')]
TWO = [("a", "f", '{"x":1}'), ("b", "g", '{"y":2}')]
SAME_FUNCTION = [("a", "f", '{"x":1}'), ("b", "f", '{"x":1}')]
NO_IDS = [("", "f", '{"x":1}'), ("", "g", '{"y":2}')]


@pytest.mark.parametrize(
    ("pieces", "calls"),
    [
        ([piece(0, "a", "f", '{"x"'), piece(0, arguments=":1}")], ONE),
        (
            [piece(0, "a", "f"), piece(1, "b", "g"), piece(1, None, None, '{"y":2}'), piece(0, None, None, '{"x":1}')],
            TWO,
        ),
        # The index says nothing
        ([piece(0, "a", "f", '{"x":1}'), piece(0, "b", "g", '{"y":2}')], TWO),
        ([piece(0, "a", "f", '{"x":1}'), piece(0, "b", "f", '{"x":1}')], SAME_FUNCTION),
        (
            [piece(0, "a", "f"), piece(0, None, None, '{"x":1}'), piece(0, "b", "g"), piece(0, None, None, '{"y":2}')],
            TWO,
        ),
        ([piece(0, "a", "f", '{"x":1}'), piece(0, "b"), piece(0, None, "g", '{"y":2}')], TWO),
        ([piece(0, None, "f", '{"x":1}'), piece(0, None, "g", '{"y":2}')], NO_IDS),
        (
            [piece(0, None, "f", '{"x":1}'), piece(0, None, "f", '{"x":2}')],
            [("", "f", '{"x":1}'), ("", "f", '{"x":2}')],
        ),
        # No index
        ([piece(None, "a", "f", '{"x"'), piece(None, None, None, ":1}")], ONE),
        ([piece(None, "a", "f", '{"x":1}'), piece(None, "b", "g", '{"y":2}')], TWO),
        (
            [
                piece(None, "a", "f"),
                piece(None, "b", "g"),
                piece(None, "a", None, '{"x":1}'),
                piece(None, "b", None, '{"y":2}'),
            ],
            TWO,
        ),
        ([piece(None, None, "f", '{"x":1}'), piece(None, None, "g", '{"y":2}')], NO_IDS),
        (
            [
                piece(0, "a", "f", '{"x"'),
                piece(None, None, None, ":1}"),
                piece(1, "b", "g"),
                piece(None, None, None, '{"y":2}'),
            ],
            TWO,
        ),
        # One id at two indices
        ([piece(0, "a", "f", '{"x":1}'), piece(1, "a", "f", '{"x":1}')], ONE),
        ([piece(0, "a", "f"), piece(1, "a", None, '{"x":1}')], ONE),
        ([piece(0, "a", "f"), piece(1, "a", "f", '{"x"'), piece(1, None, None, ":1}")], ONE),
        # Id and name apart, repeated, empty
        ([piece(0, "a"), piece(0, None, "f"), piece(0, None, None, '{"x":1}')], ONE),
        ([piece(0, None, "f"), piece(0, "a"), piece(0, None, None, '{"x":1}')], ONE),
        ([piece(None, "a"), piece(None, None, "f", '{"x":1}')], ONE),
        ([piece(0, "a", "f", '{"x"'), piece(0, "a", "f", ":1}")], ONE),
        ([piece(0, "a", "f", '{"x":1}'), piece(0, "a", "f", "")], ONE),
        ([piece(0, "a", "f", '{"x"'), piece(0, "b", None, ":1}")], ONE),
        ([piece(0, "a", "get_"), piece(0, None, "weather")], [("a", "get_weather", "")]),
        # The whole call once more at its end
        ([piece(0, "a", "f", '{"x"'), piece(0, None, None, ":1}"), piece(0, "a", "f", '{"x":1}')], ONE),
        ([piece(0, "a", "f", "{}"), piece(1, "b", "g", "{}")], [("a", "f", "{}"), ("b", "g", "{}")]),
    ],
)
def test_pieces_find_their_call(pieces: list[ToolCallDelta], calls: list[tuple[str, str, str]]) -> None:
    assert gathered(*pieces) == calls


@given(st.lists(st.sampled_from(['{"a":', "1", "}", ",", '"b":{}', " "]), max_size=8), st.integers(1, 4))
def test_openais_own_pieces_are_never_mixed_up(arguments: list[str], count: int) -> None:
    pieces = [piece(number, f"id{number}", f"f{number}") for number in range(count)]
    pieces += [piece(number, arguments=each) for each in arguments for number in range(count)]
    expected = "".join(arguments)
    assert gathered(*pieces) == [(f"id{number}", f"f{number}", expected) for number in range(count)]
