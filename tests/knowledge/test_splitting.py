"""Passages follow the text's structure, and lose nothing of it."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.knowledge.models import PassageItem
from app.knowledge.splitting import split

SIZE = 200

MARKDOWN = st.lists(
    st.one_of(
        st.text(max_size=80),
        st.sampled_from(
            [
                "# One",
                "## Two",
                "### Three ##",
                "",
                "| a | b |",
                "| --- | --- |",
                "```",
                "    code",
                "- item",
                "[page 2]",
            ]
        ),
        st.text(alphabet="ab 。！？.\n", max_size=500),
        st.just("x" * 500),
    ),
    max_size=30,
).map("\n".join)


def bare(text: str) -> str:
    return "".join(character for character in text if character.isalnum())


def test_headings_are_a_path() -> None:
    text = "Before.\n\n# Engine\n\nIntro.\n\n## Oil\n\nChange it.\n\n### Filter\n\nToo.\n\n## Water ##\n\nFill it."
    assert [(draft.heading, draft.text) for draft in split(text)] == [
        ("", "Before."),
        ("Engine", "Intro."),
        ("Engine > Oil", "Change it."),
        ("Engine > Oil > Filter", "Too."),
        ("Engine > Water", "Fill it."),
    ]
    assert [draft.position for draft in split(text)] == [0, 1, 2, 3, 4]


def test_underlined_headings_count_and_rules_do_not() -> None:
    drafts = split("Title\n=====\n\nText.\n\nPart\n----\n\nMore.\n\n---\n\nEnd.")
    assert [(draft.heading, draft.text) for draft in drafts] == [
        ("Title", "Text."),
        ("Title > Part", "More.\n\n---\n\nEnd."),
    ]


def test_heading_with_nothing_below_it_is_a_text() -> None:
    drafts = split("# A\n\n# B\n\n## C\n\ntext\n\n## D")
    assert [(draft.heading, draft.text) for draft in drafts] == [("A", "A"), ("B > C", "text"), ("B > D", "D")]


def test_pages_and_sheets_are_places() -> None:
    drafts = split("[page 1]\n\nFirst.\n\n[page 2]\n\nSecond.")
    assert [(draft.heading, draft.text) for draft in drafts] == [("page 1", "First."), ("page 2", "Second.")]
    assert split("## Sheet: Prices\n\n| a |\n| - |\n| 1 |")[0].heading == "Sheet: Prices"


def test_nothing_in_a_fence_is_a_heading() -> None:
    drafts = split("# Setup\n\n```sh\n# a comment\nmake\n\nmake test\n```\n\nDone.")
    assert drafts == [PassageItem(0, "Setup", "```sh\n# a comment\nmake\n\nmake test\n```\n\nDone.")]


def test_block_that_fits_is_not_torn() -> None:
    table = "| a | b |\n| - | - |\n" + "\n".join(f"| {n} | {n} |" for n in range(15))
    drafts = split(f"{'Some words. ' * 12}\n\n{table}", size=SIZE, overlap=0)
    assert [draft.text for draft in drafts] == [("Some words. " * 12).strip(), table]


def test_parts_of_a_long_table_have_its_head() -> None:
    table = "| name | price |\n| - | - |\n" + "\n".join(f"| thing {n} | {n} |" for n in range(100))
    drafts = split(table, size=SIZE)
    assert len(drafts) > 5
    assert all(draft.text.startswith("| name | price |\n| - | - |\n| thing") for draft in drafts)


def test_long_paragraph_is_cut_between_sentences_and_overlaps() -> None:
    text = " ".join(f"This is the sentence with the number {n}." for n in range(30))
    drafts = split(text, size=SIZE, overlap=60)
    assert all(draft.text.startswith("This is") and draft.text.endswith(".") for draft in drafts)
    for before, after in pairwise(drafts):
        assert before.text.rsplit("This", 1)[1] in after.text


def test_chinese_is_cut_between_sentences() -> None:
    text = "".join(f"这是第{n}个句子，里面有一些字！" for n in range(60))
    drafts = split(text, size=SIZE, overlap=0)
    assert len(drafts) > 3
    assert all(draft.text.endswith("！") for draft in drafts)
    assert "".join(draft.text for draft in drafts) == text


def test_hard_cut_keeps_what_is_one_character_together() -> None:
    family = "👩\u200d👩\u200d👧\u200d👦"
    drafts = split(family * 100, size=SIZE, overlap=0)
    assert len(drafts) > 2
    assert all(len(draft.text) % len(family) == 0 for draft in drafts)
    assert all(not draft.text.startswith("\u0301") for draft in split("e\u0301" * 500, size=51, overlap=0))


@given(MARKDOWN, st.integers(50, 300), st.integers(0, 200))
def test_nothing_is_lost_or_too_long(text: str, size: int, overlap: int) -> None:
    drafts = split(text, size=size, overlap=overlap)
    assert [draft.position for draft in drafts] == list(range(len(drafts)))
    assert all(0 < len(draft.text) <= size and draft.text.strip() for draft in drafts)
    there = {character for draft in drafts for character in draft.text + draft.heading}
    assert {c for c in bare(text) if c not in bare("[page 2]")} <= there


@given(st.lists(st.text(alphabet="abc def。！.\n", max_size=300), max_size=8))
def test_without_overlap_prose_comes_back_in_its_order(paragraphs: list[str]) -> None:
    text = "\n\n".join(paragraphs)
    drafts = split(text, size=60, overlap=0)
    assert "".join(bare(draft.text) for draft in drafts) == bare(text)


def test_what_no_database_takes_is_replaced() -> None:
    (draft,) = split("a\x00b \ud800 c\r\nd")
    assert draft.text == "a?b ? c\nd"


@pytest.mark.parametrize(
    "text",
    [
        "a" * 1_000_000,
        "# h\n" * 100_000,
        "漢。" * 300_000,
        "```\n" * 100_000,
        '."' * 300_000,
        "|" * 1_000_000,
        "\u200d" * 500_000,
        "a\n---\n" * 50_000,
        "# " + " " * 1_000_000,
        ". " * 300_000,
    ],
    ids=["word", "headings", "sentences", "fences", "quotes", "bars", "joiners", "underlines", "blanks", "dots"],
)
def test_hostile_texts_take_a_time_that_grows_with_their_length(text: str) -> None:
    # Quadratic work would take minutes here, and the test run's own limit would end it.
    assert all(len(draft.text) <= 800 for draft in split(text))
