"""The questions of the retrieval benchmark fit their corpus, so that its figures mean what they say."""

from collections import Counter

from bench.retrieval.questions import Kind, read_corpus, read_questions


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
