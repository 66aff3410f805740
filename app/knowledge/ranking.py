"""How well passages match a question: BM25 over its terms, and how much of the question they cover."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from app.knowledge.fulltext import IndexedTerms, Wanted
from app.knowledge.tokens import is_light

LIGHT: Final = 0.2
"""What a term counts that says little, such as `the`, of what it would by its rarity."""
UNKNOWN_PAIR: Final = 0.35
"""What a pair of characters counts that is in no passage: most straddle two words and mean nothing."""
HEADING: Final = 1.0
"""What a term in the heading or the title counts, of one in the text."""
COVERAGE: Final = 0.15
"""A passage bears on a question if it has two of its terms, light ones apart, and this share of their weights."""
LONE_COVERAGE: Final = 0.3
"""The share that a single term must have."""
_K1: Final = 1.2
_B: Final = 0.5


@dataclass(frozen=True, slots=True)
class Match:
    """A passage as it matches; `score` is from 0 to 1."""

    passage_id: int
    score: float
    bears_on_it: bool


def weight_of(frequency: int, total: int) -> float:
    """What a term counts that is in `frequency` of `total` passages: BM25's, which is never below 0."""
    return math.log(1 + (max(total - frequency, 0) + 0.5) / (frequency + 0.5))


def rank(terms: Sequence[Wanted], passages: Iterable[IndexedTerms]) -> list[Match]:
    """The passages, best first; those that have none of the terms come last and score 0."""
    # Spaces around each term: counting in the text costs a third of taking it apart.
    spaced = [(passage.passage_id, f" {passage.body} ", f" {passage.heading} ") for passage in passages]
    if not spaced:
        return []
    lengths = [body.count(" ") - 1 for _, body, _ in spaced]
    usual_length = sum(lengths) / len(lengths) or 1.0
    everything = sum(term.weight for term in terms) or 1.0
    telling = {term.term for term in terms if not is_light(term.term)}
    told = sum(term.weight for term in terms if term.term in telling) or 1.0
    matches = []
    sought = [(f" {term.term}" if term.beginning else f" {term.term} ", term) for term in terms]
    for (id, body, heading), length in zip(spaced, lengths, strict=True):
        norm = _K1 * (1 - _B + _B * length / usual_length)
        score = covered = 0.0
        hits = 0
        for text, term in sought:
            times = body.count(text) + HEADING * heading.count(text)
            if times:
                score += term.weight * times / (times + norm)
                if term.term in telling:
                    hits += 1
                    covered += term.weight / told
        bears_on_it = covered >= (COVERAGE if hits > 1 else LONE_COVERAGE)
        matches.append(Match(id, min(score / everything, 1.0), bears_on_it))
    return sorted(matches, key=lambda match: (-match.score, match.passage_id))
