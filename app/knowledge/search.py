"""Finding the passages that bear on a question."""

import time
from collections.abc import Mapping, Sequence
from typing import Final

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from app.kit.db import Database
from app.knowledge.fulltext import FullText, IndexedTerms, Wanted, fulltext_for
from app.knowledge.models import DocumentRow, DocumentStatus, Found, PassageRow
from app.knowledge.ranking import LIGHT, UNKNOWN_PAIR, Match, rank, weight_of
from app.knowledge.tokens import is_beginning, is_light, question_terms
from app.knowledge.vectors import Embedder

MAX_QUERY_CHARS: Final = 2_000
MAX_TERMS: Final = 48
RELEVANT_COVERAGE: Final = 0.3
"""The share of a question, by its terms' weights, that a passage must have to bear on it."""

_CANDIDATES: Final = 80
_RANKED_ROWS: Final = 3_000
"""BM25 costs 2 to 3 microseconds a row in SQLite, adding up weights less than one: hence these two bounds."""
_WEIGHED_ROWS: Final = 12_000
_FREQUENT: Final = 2_000
_REMEMBERED_SECONDS: Final = 60.0
_SMALL: Final = 5_000
_SCOPED_BELOW: Final = 0.5


class Searcher:
    """Searches the passages of documents that are ready; by words, and by meaning where a collection has vectors."""

    def __init__(self, database: Database, embedder: Embedder | None = None) -> None:
        self._database = database
        self._embedder = embedder
        self._statistics = _Statistics()

    async def search(
        self, query: str, collection_ids: Sequence[str], limit: int = 5, *, relevant_only: bool = False
    ) -> list[Found]:
        """The passages that match best, best first; with `relevant_only` none that does not bear on the query.

        Of a query of more than MAX_QUERY_CHARS characters its beginning and its end count. Raises DatabaseUnavailable.
        """
        names = _names_in(query)
        if not names or not collection_ids or limit < 1:
            return []
        async with self._database.read() as connection:
            matches = await self._by_words(connection, names, collection_ids, limit)
            if relevant_only:
                matches = [match for match in matches if match.coverage >= RELEVANT_COVERAGE]
            return await _found(connection, matches[:limit])

    async def _by_words(
        self, connection: AsyncConnection, names: Sequence[str], collection_ids: Sequence[str], limit: int
    ) -> list[Match]:
        fulltext = fulltext_for(connection.dialect.name)
        sizes = await self._statistics.sizes(connection, collection_ids)
        total = max(sum(sizes.values()), 1)
        searched = sum(sizes.get(id, 0) for id in collection_ids)
        frequencies = await self._statistics.frequencies(connection, fulltext, names)
        terms = [_wanted(name, frequencies[name], total) for name in names]
        candidates = await _candidates(
            connection,
            fulltext,
            _Plan(terms, frequencies, searched, scoped=searched < total * _SCOPED_BELOW),
            collection_ids,
            max(_CANDIDATES, 3 * limit),
        )
        return rank(terms, candidates)


class _Plan:
    """Which of a question's terms are looked for: the rarest, as many as can be afforded."""

    def __init__(self, terms: Sequence[Wanted], frequencies: Mapping[str, int], searched: int, *, scoped: bool) -> None:
        known = sorted((term for term in terms if frequencies[term.term]), key=lambda term: frequencies[term.term])
        strong = [term for term in known if not is_light(term.term)] or known
        self.scoped = scoped
        self.ranked = sum(frequencies[term.term] for term in strong) <= _RANKED_ROWS
        self.terms: list[Wanted] = []
        rows = 0
        for term in strong:
            rows += min(frequencies[term.term], searched) if scoped else frequencies[term.term]
            if rows > _WEIGHED_ROWS:
                break
            self.terms.append(term)
        self.frequent = [] if self.terms else strong


async def _candidates(
    connection: AsyncConnection, fulltext: FullText, plan: _Plan, collection_ids: Sequence[str], most: int
) -> list[IndexedTerms]:
    """The passages to be ranked: more of them than are wanted."""
    for count in range(min(3, len(plan.frequent)), 0, -1):
        some = await fulltext.any_with_all(
            connection, plan.frequent[:count], collection_ids, scoped=plan.scoped, limit=3 * most
        )
        if some:
            return some
    found: list[IndexedTerms] = []
    limit, more = most, bool(plan.terms)
    # What is not ready and what is other collections' was among the best: look further down.
    while more and len(found) < most // 2 and limit <= 100 * most:
        found, more = await fulltext.best(
            connection, plan.terms, collection_ids, scoped=plan.scoped, ranked=plan.ranked, limit=limit
        )
        limit *= 10
    return found[: 3 * most]


async def _found(connection: AsyncConnection, matches: Sequence[Match]) -> list[Found]:
    if not matches:
        return []
    rows = await connection.execute(
        select(
            PassageRow.id,
            PassageRow.collection_id,
            PassageRow.document_id,
            DocumentRow.title,
            PassageRow.position,
            PassageRow.heading,
            PassageRow.text,
        )
        .join(DocumentRow, DocumentRow.id == PassageRow.document_id)
        .where(PassageRow.id.in_([match.passage_id for match in matches]))
    )
    by_id = {row.id: row for row in rows}
    return [
        Found(
            passage_id=row.id,
            collection_id=row.collection_id,
            document_id=row.document_id,
            title=row.title,
            position=row.position,
            heading=row.heading,
            text=row.text,
            score=round(match.score, 4),
        )
        for match in matches
        if (row := by_id.get(match.passage_id))
    ]


def _names_in(query: str) -> list[str]:
    """The terms of a query that are looked for, those that say something before the others."""
    if len(query) > MAX_QUERY_CHARS:
        half = MAX_QUERY_CHARS // 2
        query = f"{query[:half]} {query[-half:]}"
    return sorted(question_terms(query), key=is_light)[:MAX_TERMS]


def _wanted(name: str, frequency: int, total: int) -> Wanted:
    weight = weight_of(frequency, total)
    if is_light(name):
        weight *= LIGHT
    elif not frequency and len(name) == 2 and not name.isascii():
        weight *= UNKNOWN_PAIR
    return Wanted(name, is_beginning(name), weight)


class _Statistics:
    """How many passages there are and how many have a term; in large collections remembered for a minute."""

    def __init__(self) -> None:
        self._sizes: dict[str, int] = {}
        self._sizes_until = 0.0
        self._frequent: dict[str, tuple[int, float]] = {}

    async def sizes(self, connection: AsyncConnection, needed: Sequence[str]) -> Mapping[str, int]:
        """The numbers of ready passages by collections."""
        now = time.monotonic()
        if now > self._sizes_until or not all(self._sizes.get(id) for id in needed):
            rows = await connection.execute(
                select(DocumentRow.collection_id, func.sum(DocumentRow.passage_count))
                .where(DocumentRow.status == DocumentStatus.READY)
                .group_by(DocumentRow.collection_id)
            )
            self._sizes = {id: int(count or 0) for id, count in rows}
            large = sum(self._sizes.values()) > _SMALL
            self._sizes_until = now + _REMEMBERED_SECONDS if large else 0.0
        return self._sizes

    async def frequencies(
        self, connection: AsyncConnection, fulltext: FullText, names: Sequence[str]
    ) -> dict[str, int]:
        """In how many passages each of the terms is."""
        now = time.monotonic()
        known = {name: count for name in names for count, until in [self._frequent.get(name, (0, 0.0))] if until > now}
        asked = [Wanted(name, is_beginning(name)) for name in names if name not in known]
        if asked:
            counts = await fulltext.frequencies(connection, asked, _FREQUENT)
            for wanted, count in zip(asked, counts, strict=True):
                known[wanted.term] = count
                if count >= _FREQUENT:
                    if len(self._frequent) > 10_000:
                        self._frequent.clear()
                    self._frequent[wanted.term] = (count, now + _REMEMBERED_SECONDS)
        return known
