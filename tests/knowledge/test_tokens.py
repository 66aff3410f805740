"""What texts and questions have in common."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.knowledge.tokens import MAX_TERM_CHARS, is_prefix, is_stopword, question_terms, terms_of


def finds(question: str, text: str) -> bool:
    """Whether every term of the question is in the text."""
    terms = terms_of(text)
    targets = question_terms(question)
    return bool(targets) and all(
        any(term.startswith(target) for term in terms) if is_prefix(target) else target in terms for target in targets
    )


@pytest.mark.parametrize(
    ("question", "text"),
    [
        ("CAFE", "Café"),
        ("ＣＡＦＥ", "cafe\u0301"),
        ("Strasse", "die STRASSE, die Straße"),
        ("hauser", "Häuser"),
        ("lodz", "Łódź"),
        ("εφημερίδα", "ΕΦΗΜΕΡΙΔΑ"),
        ("ещё", "ЕЩЕ"),
        ("engine", "the engine's oil"),
        ("eau", "l’eau"),
        ("dont", "don't"),
        ("filters", "change the filter"),
        ("E-1042", "error E-1042 on the display"),
        ("e1042", "E-1042"),
        ("1042", "E-1042"),
        ("v2.1", "since v2.1."),
        ("maxRetries", "max_retries"),
        ("1000", "1,000 metres"),
        ("知识库", "建立知识库的方法"),
        ("库", "知识库"),
        ("库", "库存"),
        ("ﾃﾞｰﾀ", "データベース"),
        ("検索", "全文検索エンジン"),
        ("엔진", "한국어 검색엔진을"),
        ("ภาษา", "ภาษาไทย"),
        ("हिन्दी", "हिन्दी भाषा"),
        ("手机", "iPhone手机"),
        ("iphone", "iPhone手机"),
    ],
)
def test_question_finds_text(question: str, text: str) -> None:
    assert finds(question, text)


@pytest.mark.parametrize(
    ("question", "text"), [("が", "か"), ("résumé", "rest"), ("知识", "识知"), ("E-1042", "E-1043"), ("机", "計")]
)
def test_question_does_not_find_text(question: str, text: str) -> None:
    assert not finds(question, text)


def test_words_that_say_little_are_light() -> None:
    assert all(map(is_stopword, ["the", "what", "是什", "の", "です", *question_terms("don't")]))
    assert not any(map(is_stopword, ["pump", "水泵", "e1042", "a1", "検索"]))


def test_unseen_characters_and_marks_are_no_terms() -> None:
    assert terms_of('\x00 " * ^ ( ) - 😀 \u200d \ufeff，。！') == []
    assert terms_of("know\u00adledge") == terms_of("knowledge")


def test_endless_words_are_cut() -> None:
    assert [len(term) for term in terms_of("a" * 1_000_000)] == [MAX_TERM_CHARS]
    assert len(terms_of("a-" * 500_000)) < 10


@given(st.text())
def test_terms_are_plain_and_a_text_finds_itself(text: str) -> None:
    terms = terms_of(text)
    assert all(term and len(term) <= MAX_TERM_CHARS and not set(term) & set(" \t\n\x00\"'*\\") for term in terms)
    assert set(question_terms(text)) <= set(terms)
