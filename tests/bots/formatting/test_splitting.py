"""Splitting Markdown: whatever the text, the pieces fit, lose nothing and keep their code blocks whole."""

import re
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.bots.formatting.dialects import to_mrkdwn, to_plain, to_telegram
from app.bots.formatting.splitting import Render, TextLimit, Unit, is_boundary, measure, split

FENCE = re.compile(r"^[ \t>]*(`{3,}|~{3,}).*$", re.MULTILINE)
LINES = st.sampled_from(
    [
        *("", "# Title", "plain words in a line.", "**bold** and _more_", "```", "```python", "~~~", "    indented"),
        *("> quoted", "- item", "| a | b |", "|---|---|", "<b>&amp;</b>", "一二三。四五六！", "x" * 90),
        *("👩\u200d👩\u200d👧\u200d👦🇩🇪🇫🇷é", "a\u0301" * 30),
    ]
)
TEXTS = st.lists(LINES | st.text(max_size=60), max_size=25).map("\n".join)
UNITS = st.sampled_from(["chars", "utf16", "utf8"])
RENDERS = st.sampled_from([str, to_plain, to_telegram, to_mrkdwn])


@settings(max_examples=150, deadline=None)
@given(TEXTS, st.integers(60, 400), UNITS, RENDERS)
def test_every_piece_fits_when_it_is_rendered(text: str, limit: int, unit: Unit, render: Render) -> None:
    for piece in split(text, TextLimit(limit, unit), render):
        assert measure(render(piece), unit) <= limit


@settings(max_examples=150, deadline=None)
@given(TEXTS, st.integers(60, 400), UNITS)
def test_no_character_is_lost_and_none_added_but_fences(text: str, limit: int, unit: Unit) -> None:
    pieces = split(text, TextLimit(limit, unit))
    assert _bare("\n".join(pieces)) == _bare(text)


def _bare(text: str) -> str:
    """The text without white space, and without the lines that begin and end code blocks."""
    return "".join(FENCE.sub("", text).split()).replace("`", "").replace("~", "")


@settings(max_examples=100, deadline=None)
@given(st.lists(st.sampled_from(["word one two", "```", "code = 1", "", "text."]), max_size=60).map("\n".join))
def test_code_blocks_are_balanced_in_every_piece_but_the_last(text: str) -> None:
    for piece in split(text, TextLimit(80))[:-1]:
        assert len(FENCE.findall(piece)) % 2 == 0, piece


@given(st.text(alphabet=st.sampled_from("ab👩\u200d👧🇩🇪\u0301\u093e👍\U0001f3fd\ufe0f "), max_size=300))
def test_no_character_as_people_see_it_is_cut(text: str) -> None:
    pieces = split(text, TextLimit(40))
    position = 0
    for piece in pieces[:-1]:
        position = text.index(piece, position) + len(piece)
        rest = text[position:].lstrip()
        if rest and len(piece) > 1 and not piece[-1].isspace():
            assert not unicodedata.combining(rest[0]) or not is_boundary(text, position) or position == 0


def test_a_text_that_fits_is_left_as_it_is() -> None:
    assert split("one\n\ntwo", TextLimit(8)) == ["one\n\ntwo"]
    assert split(" \n", TextLimit(8)) == []
    assert split("x" * 100, None) == ["x" * 100]


def test_cuts_are_made_at_the_best_place() -> None:
    assert split("first part\n\nsecond part", TextLimit(15)) == ["first part", "second part"]
    assert split("One. Two three", TextLimit(10)) == ["One. ", "Two three"]
    assert split("一二三。四五六七八", TextLimit(7)) == ["一二三。", "四五六七八"]


def test_a_cut_code_block_is_closed_and_opened_again() -> None:
    first, second = split("```python\n" + "print(1)\n" * 8 + "```", TextLimit(60))
    assert (first.splitlines()[0], first.splitlines()[-1]) == ("```python", "```")
    assert (second.splitlines()[0], second.splitlines()[-1]) == ("```python", "```")


@pytest.mark.parametrize(("unit", "size"), [("chars", 3), ("utf16", 4), ("utf8", 8)])
def test_units(unit: Unit, size: int) -> None:
    assert measure("aé😀"[:2] + "😀", unit) == size - (1 if unit == "utf8" else 0)
