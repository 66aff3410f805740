"""The ranking of passages by BM25, their relevance, and the fusion with a ranking by vectors."""

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from app.knowledge.fulltext.base import PassageTerms, QueryTerm
from app.knowledge.similarity import Neighbour
from app.knowledge.tokens import is_stopword

HEADING: Final = 1.0
"""The weight of a term in the heading or the title, relative to one in the text."""
COVERAGE: Final = 0.15
"""A passage is relevant if it has two of the query's terms, stopwords apart, and this share of their weights."""
SINGLE_COVERAGE: Final = 0.3
"""The share that a single term must have."""
FUSION: Final = 60
"""Reciprocal rank fusion's constant: how little the first places count more than the later ones."""
_K1: Final = 1.2
_B: Final = 0.5


@dataclass(frozen=True, slots=True)
class Match:
    """A passage that may answer a query; `score` is from 0 to 1."""

    passage_id: int
    score: float
    is_relevant: bool


def weight_of(frequency: int, total: int) -> float:
    """BM25's weight of a term in `frequency` of `total` passages, never below 0."""
    return math.log(1 + (max(total - frequency, 0) + 0.5) / (frequency + 0.5))


def rank(terms: Sequence[QueryTerm], passages: Iterable[PassageTerms]) -> list[Match]:
    """The passages, best first; those without any of the terms come last and score 0."""
    # With a space on both sides of each term: counting in the text costs a third of splitting it.
    padded = [(passage.passage_id, f" {passage.body} ", f" {passage.heading} ") for passage in passages]
    if not padded:
        return []
    lengths = [body.count(" ") - 1 for _, body, _ in padded]
    mean_length = sum(lengths) / len(lengths) or 1.0
    total_weight = sum(term.weight for term in terms) or 1.0
    keywords = {term.text for term in terms if not is_stopword(term.text)}
    keyword_weight = sum(term.weight for term in terms if term.text in keywords) or 1.0
    patterns = [(f" {term.text}" if term.is_prefix else f" {term.text} ", term) for term in terms]
    matches = []
    for (id, body, heading), length in zip(padded, lengths, strict=True):
        norm = _K1 * (1 - _B + _B * length / mean_length)
        score = coverage = 0.0
        hits = 0
        for pattern, term in patterns:
            count = body.count(pattern) + HEADING * heading.count(pattern)
            if count:
                score += term.weight * count / (count + norm)
                if term.text in keywords:
                    hits += 1
                    coverage += term.weight / keyword_weight
        is_relevant = coverage >= (COVERAGE if hits > 1 else SINGLE_COVERAGE)
        matches.append(Match(id, min(score / total_weight, 1.0), is_relevant))
    return sorted(matches, key=lambda match: (-match.score, match.passage_id))


def fuse(matches: Sequence[Match], neighbours: Sequence[Neighbour], depth: int) -> list[Match]:
    """Fuse the first `depth` of both rankings by reciprocal ranks. The first of both has score 1."""
    by_id = {match.passage_id: match for match in matches}
    scores: defaultdict[int, float] = defaultdict(float)
    for ids in (
        [match.passage_id for match in matches if match.score],
        [neighbour.passage_id for neighbour in neighbours],
    ):
        for place, id in enumerate(ids[:depth], 1):
            scores[id] += (FUSION + 1) / (2 * (FUSION + place))
    outstanding = {neighbour.passage_id for neighbour in neighbours if neighbour.stands_out}
    ranking = [
        Match(id, score, by_id[id].is_relevant or id in outstanding) for id, score in scores.items() if id in by_id
    ]
    return sorted(ranking, key=lambda match: (-match.score, match.passage_id))
