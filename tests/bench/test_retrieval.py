"""The questions of the retrieval benchmark fit their corpus, so that its figures mean what they say."""

from collections import Counter
from pathlib import Path

from bench.retrieval.evaluate import places, quality, relevance
from bench.retrieval.library import library
from bench.retrieval.questions import Answer, Kind, Question, read_corpus, read_questions


def test_each_answer_stands_once_in_its_document() -> None:
    contents = {text.name: text.content for text in read_corpus()}
    wrong = [
        (question.id, answer.document, answer.contains)
        for question in read_questions()
        for answer in question.answers
        if contents.get(answer.document, "").count(answer.contains) != 1
    ]
    assert wrong == []


def test_no_question_is_there_twice() -> None:
    questions = read_questions()
    for each in ([question.id for question in questions], [question.question for question in questions]):
        assert [twice for twice, count in Counter(each).items() if count > 1] == []


def test_both_languages_have_enough_questions_of_each_kind() -> None:
    counts = Counter((question.lang, question.kind) for question in read_questions())
    for lang in ("en", "zh"):
        assert counts[lang, Kind.ANSWERED] >= 120
        assert counts[lang, Kind.OTHER] >= 15
        assert counts[lang, Kind.NEAR] >= 5


async def test_places_are_those_of_the_passages_with_the_answer(tmp_path: Path) -> None:
    texts = [text for text in read_corpus() if text.name in ("en/cat-care.md", "en/recipes.md", "zh/养猫须知.md")]
    right = Answer("en/cat-care.md", "One tray more than there are cats")
    questions = [
        Question("en-1", "en", "How many litter trays for my cats?", (right,)),
        Question("en-2", "en", "How many litter trays for my cats?", (Answer("en/recipes.md", right.contains),)),
        Question("zh-1", "zh", "猫砂盆要几个？", (Answer("zh/养猫须知.md", "数量等于猫数加一"),)),
        Question("en-none-1", "en", "Who won the chess championship?", ()),
    ]
    async with library(tmp_path / "palaver.db", texts) as shelf:
        asked = await places(shelf, questions)
        found = await relevance(shelf, questions[3:] + questions[:1] + [Question("en-near-1", "en", "cats", ())])
    assert [each.place for each in asked] == [1, 0, 1]
    assert (quality(asked).recall_3, quality(asked, "zh").recall_3, quality(asked, "en").recall_1) == (2 / 3, 1, 0.5)
    assert (found.silent, found.near, found.lost) == (1, 0, 0)
