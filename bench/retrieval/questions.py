"""The corpus and the questions, as they are in the files beside this one."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import msgspec

FOLDER = Path(__file__).parent
CORPUS = FOLDER / "corpus"
QUESTIONS = FOLDER / "questions.jsonl"


class Kind(StrEnum):
    """Whether the corpus has the answer: yes; no, and nothing of the kind; no, but much about the same things."""

    ANSWERED = "answered"
    OTHER = "none"
    NEAR = "near"


class Answer(msgspec.Struct, frozen=True):
    """The right passage: that of `document` (a path in the corpus) in which `contains` stands, word for word."""

    document: str
    contains: str


class Question(msgspec.Struct, frozen=True):
    """A question; one without `answers` is about something that is not in the corpus."""

    id: str
    lang: str
    question: str
    answers: tuple[Answer, ...]

    @property
    def kind(self) -> Kind:
        return Kind.ANSWERED if self.answers else Kind(self.id.split("-")[1])


@dataclass(frozen=True, slots=True)
class Text:
    """A document of the corpus. `name` is its path there, `title` what an upload of it would be called."""

    name: str
    title: str
    content: str


def read_corpus() -> list[Text]:
    """All documents, in the order of their names."""
    return [
        Text(path.relative_to(CORPUS).as_posix(), path.name, path.read_text(encoding="utf-8"))
        for path in sorted(CORPUS.rglob("*.md"))
    ]


def read_questions() -> Sequence[Question]:
    """All questions, in the order of the file."""
    lines = QUESTIONS.read_bytes().splitlines()
    return [msgspec.json.decode(line, type=Question) for line in lines]
