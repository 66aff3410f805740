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
    assert [(passage.heading, passage.text) for passage in split(text)] == [
        ("", "Before."),
        ("Engine", "Intro."),
        ("Engine > Oil", "Change it."),
        ("Engine > Oil > Filter", "Too."),
        ("Engine > Water", "Fill it."),
    ]
    assert [passage.position for passage in split(text)] == [0, 1, 2, 3, 4]


def test_underlined_headings_count_and_rules_do_not() -> None:
    passages = split("Title\n=====\n\nText.\n\nPart\n----\n\nMore.\n\n---\n\nEnd.")
    assert [(passage.heading, passage.text) for passage in passages] == [
        ("Title", "Text."),
        ("Title > Part", "More.\n\n---\n\nEnd."),
    ]


def test_heading_with_nothing_below_it_is_a_text() -> None:
    passages = split("# A\n\n# B\n\n## C\n\ntext\n\n## D")
    assert [(passage.heading, passage.text) for passage in passages] == [("A", "A"), ("B > C", "text"), ("B > D", "D")]


def test_pages_and_sheets_are_places() -> None:
    passages = split("[page 1]\n\nFirst.\n\n[page 2]\n\nSecond.")
    assert [(passage.heading, passage.text) for passage in passages] == [("page 1", "First."), ("page 2", "Second.")]
    assert split("## Sheet: Prices\n\n| a |\n| - |\n| 1 |")[0].heading == "Sheet: Prices"


def test_nothing_in_a_fence_is_a_heading() -> None:
    passages = split("# Setup\n\n```sh\n# a comment\nmake\n\nmake test\n```\n\nDone.")
    assert passages == [PassageItem(0, "Setup", "```sh\n# a comment\nmake\n\nmake test\n```\n\nDone.")]


def test_block_that_fits_is_not_torn() -> None:
    table = "| a | b |\n| - | - |\n" + "\n".join(f"| {n} | {n} |" for n in range(15))
    passages = split(f"{'Some words. ' * 12}\n\n{table}", size=SIZE, overlap=0)
    assert [passage.text for passage in passages] == [("Some words. " * 12).strip(), table]


def test_parts_of_a_long_table_have_its_head() -> None:
    table = "| name | price |\n| - | - |\n" + "\n".join(f"| thing {n} | {n} |" for n in range(100))
    passages = split(table, size=SIZE)
    assert len(passages) > 5
    assert all(passage.text.startswith("| name | price |\n| - | - |\n| thing") for passage in passages)


def test_long_paragraph_is_cut_between_sentences_and_overlaps() -> None:
    text = " ".join(f"This is the sentence with the number {n}." for n in range(30))
    passages = split(text, size=SIZE, overlap=60)
    assert all(passage.text.startswith("This is") and passage.text.endswith(".") for passage in passages)
    for before, after in pairwise(passages):
        assert before.text.rsplit("This", 1)[1] in after.text


def test_chinese_is_cut_between_sentences() -> None:
    text = "".join(f"这是第{n}个句子，里面有一些字！" for n in range(60))
    passages = split(text, size=SIZE, overlap=0)
    assert len(passages) > 3
    assert all(passage.text.endswith("！") for passage in passages)
    assert "".join(passage.text for passage in passages) == text


def test_hard_cut_keeps_what_is_one_character_together() -> None:
    family = "👩\u200d👩\u200d👧\u200d👦"
    passages = split(family * 100, size=SIZE, overlap=0)
    assert len(passages) > 2
    assert all(len(passage.text) % len(family) == 0 for passage in passages)
    assert all(not passage.text.startswith("\u0301") for passage in split("e\u0301" * 500, size=51, overlap=0))


@given(MARKDOWN, st.integers(50, 300), st.integers(0, 200))
def test_nothing_is_lost_or_too_long(text: str, size: int, overlap: int) -> None:
    passages = split(text, size=size, overlap=overlap)
    assert [passage.position for passage in passages] == list(range(len(passages)))
    assert all(0 < len(passage.text) <= size and passage.text.strip() for passage in passages)
    characters = {character for passage in passages for character in passage.text + passage.heading}
    assert {c for c in bare(text) if c not in bare("[page 2]")} <= characters


@given(st.lists(st.text(alphabet="abc def。！.\n", max_size=300), max_size=8))
def test_without_overlap_prose_comes_back_in_its_order(paragraphs: list[str]) -> None:
    text = "\n\n".join(paragraphs)
    passages = split(text, size=60, overlap=0)
    assert "".join(bare(passage.text) for passage in passages) == bare(text)


def test_what_no_database_takes_is_replaced() -> None:
    (passage,) = split("a\x00b \ud800 c\r\nd")
    assert passage.text == "a?b ? c\nd"


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
    assert all(len(passage.text) <= 800 for passage in split(text))
