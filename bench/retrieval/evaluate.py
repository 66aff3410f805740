"""Ask every question, and see where the right passage comes."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from app.knowledge.models import FoundPassage
from app.knowledge.search import Searcher
from bench.retrieval.library import COLLECTION, Library
from bench.retrieval.questions import Kind, Question

DEPTH = 10
"""A right passage further down than this counts as not found."""
CHAT_DEPTH = 5
"""How many passages a chat is given."""


@dataclass(frozen=True, slots=True)
class Quality:
    """Shares from 0 to 1 of `questions` that have an answer: how many have it first, among the first three; and the
    mean of one through its place."""

    questions: int
    recall_1: float
    recall_3: float
    reciprocal_rank: float


@dataclass(frozen=True, slots=True)
class Relevance:
    """What `relevant_only` does, in shares from 0 to 1.

    `silent` are the questions about other things that got no passage, `near` those about the same things whose answer
    is not there, and `lost` the answers that were among the first five and are no longer.
    """

    silent: float
    near: float
    lost: float


@dataclass(frozen=True, slots=True)
class Asked:
    """A question, and its right passage's place, from 1; 0 when it was not found."""

    question: Question
    place: int


async def places(library: Library, questions: Sequence[Question], searcher: Searcher | None = None) -> list[Asked]:
    """Where the right passages come, for the questions that have some."""
    searcher = searcher or library.searcher
    asked = []
    for question in questions:
        if question.answers:
            found = await searcher.search(question.question, [COLLECTION], DEPTH)
            asked.append(Asked(question, place_of(library, question, found)))
    return asked


def place_of(library: Library, question: Question, found: Sequence[FoundPassage]) -> int:
    """The place of the first passage that has the answer, from 1; 0 when none has."""
    for place, passage in enumerate(found, 1):
        document = library.names[passage.document_id]
        if any(answer.document == document and answer.contains in passage.text for answer in question.answers):
            return place
    return 0


def quality(asked: Sequence[Asked], lang: str | None = None) -> Quality:
    """Of one language, or of all."""
    ranks = [each.place for each in asked if lang in (None, each.question.lang)]
    return Quality(
        len(ranks),
        fmean(rank == 1 for rank in ranks),
        fmean(1 <= rank <= 3 for rank in ranks),
        fmean(1 / rank if rank else 0.0 for rank in ranks),
    )


async def relevance(library: Library, questions: Sequence[Question]) -> Relevance:
    """What a chat would be given, which wants nothing that does not bear on the question."""
    got: dict[Kind, list[bool]] = {kind: [] for kind in Kind}
    lost: list[bool] = []
    for question in questions:
        found = await library.searcher.search(question.question, [COLLECTION], CHAT_DEPTH, relevant_only=True)
        got[question.kind].append(bool(found))
        if question.answers:
            everything = await library.searcher.search(question.question, [COLLECTION], CHAT_DEPTH)
            if place_of(library, question, everything):
                lost.append(not place_of(library, question, found))
    return Relevance(
        silent=1 - fmean(got[Kind.OTHER]), near=1 - fmean(got[Kind.NEAR]), lost=fmean(lost) if lost else 0.0
    )
