"""Finding the passages that bear on a question."""

import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Final

from sqlalchemy import Connection, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from app.database.engine import Database
from app.knowledge.fulltext import FullText, IndexedTerms, Wanted, fulltext_for
from app.knowledge.models import CollectionRow, DocumentRow, DocumentStatus, Found, PassageRow
from app.knowledge.ranking import LIGHT, UNKNOWN_PAIR, Match, rank, weight_of
from app.knowledge.similarity import Similar, VectorIndex
from app.knowledge.tokens import is_beginning, is_light, question_terms
from app.knowledge.vectors import Embedder

MAX_QUERY_CHARS: Final = 2_000
MAX_TERMS: Final = 48
FUSION: Final = 60
"""Reciprocal rank fusion's constant: how little the first places count more than those behind."""
FUSED: Final = 50
"""How many places of each ranking are fused."""

_CANDIDATES: Final = 60
_RANKED_ROWS: Final = 2_000
"""BM25 costs 2 to 3 microseconds a row in SQLite, adding up weights less than one: hence these two bounds."""
_WEIGHED_ROWS: Final = 8_000
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
        self._vectors = VectorIndex()
        # They never change, so that those of a collection once seen are known.
        self._models: dict[str, tuple[str | None, str | None]] = {}

    async def search(
        self, query: str, collection_ids: Sequence[str], limit: int = 5, *, relevant_only: bool = False
    ) -> list[Found]:
        """The passages that match best, best first; with `relevant_only` none that does not bear on the query.

        Of a query of more than MAX_QUERY_CHARS characters its beginning and its end count. Raises DatabaseUnavailable.
        """
        if not collection_ids or limit < 1 or not query.strip():
            return []
        query = _bounded(query)
        questions = await self._questions(query, collection_ids)
        names = _names_in(query)
        similar: list[Similar] = []
        if questions:
            async with self._database.read_block() as connection:
                similar = await self._by_meaning(connection, questions, limit)

        def find(connection: Connection) -> list[Found]:
            matches = self._by_words(connection, names, collection_ids, limit, similar)
            found = (
                _fused(matches, similar, most=max(FUSED, 2 * limit))
                if similar
                else [match for match in matches if match.score]
            )
            if relevant_only:
                found = [match for match in found if match.bears_on_it]
            return _found(connection, found[:limit])

        # In one call of one thread: each way there and back costs more, under load, than a statement.
        return await self._database.read(find)

    async def _questions(self, query: str, collection_ids: Sequence[str]) -> list[tuple[str, bytes]]:
        """The query's vector for each of the collections that have an embedding model, where there is one in time."""
        if self._embedder is None:
            return []
        if any(id not in self._models for id in collection_ids):
            columns = (CollectionRow.id, CollectionRow.embedding_provider, CollectionRow.embedding_model)
            async with self._database.read_block() as connection:
                rows = await connection.execute(select(*columns).where(CollectionRow.id.in_(collection_ids)))
                self._models |= {id: (provider, model) for id, provider, model in rows}
        models = {id: self._models.get(id, (None, None)) for id in collection_ids}
        vectors: dict[tuple[str | None, str | None], bytes | None] = {
            (provider, model): await self._embedder.of_question(provider, model, query)
            for provider, model in set(models.values())
            if provider and model
        }
        return [(id, vector) for id, key in models.items() if (vector := vectors.get(key))]

    async def _by_meaning(
        self, connection: AsyncConnection, questions: Sequence[tuple[str, bytes]], limit: int
    ) -> list[Similar]:
        similar: list[Similar] = []
        for collection_id, question in questions:
            similar += await self._vectors.nearest(connection, collection_id, question, max(FUSED, 2 * limit))
        return sorted(similar, key=lambda one: -one.similarity)

    def _by_words(
        self,
        connection: Connection,
        names: Sequence[str],
        collection_ids: Sequence[str],
        limit: int,
        similar: Sequence[Similar] = (),
    ) -> list[Match]:
        """The passages that have terms of the question, best first; the similar ones are among them in any case."""
        fulltext = fulltext_for(connection.dialect.name)
        sizes = self._statistics.sizes(connection, collection_ids)
        total = max(sum(sizes.values()), 1)
        searched = sum(sizes.get(id, 0) for id in collection_ids)
        frequencies = self._statistics.frequencies(connection, fulltext, names)
        terms = [_wanted(name, frequencies[name], total) for name in names]
        plan = _Plan(terms, frequencies, searched, scoped=searched < total * _SCOPED_BELOW)
        candidates = _candidates(connection, fulltext, plan, collection_ids, max(_CANDIDATES, 3 * limit))
        there = {candidate.passage_id for candidate in candidates}
        if missing := [one.passage_id for one in similar if one.passage_id not in there]:
            candidates += fulltext.with_ids(connection, missing, collection_ids)
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


def _candidates(
    connection: Connection, fulltext: FullText, plan: _Plan, collection_ids: Sequence[str], most: int
) -> list[IndexedTerms]:
    """The passages to be ranked: more of them than are wanted."""
    for count in range(min(3, len(plan.frequent)), 0, -1):
        some = fulltext.any_with_all(
            connection, plan.frequent[:count], collection_ids, scoped=plan.scoped, limit=3 * most
        )
        if some:
            return some
    found: list[IndexedTerms] = []
    limit, more = most, bool(plan.terms)
    # What is not ready and what is other collections' was among the best: look further down.
    while more and len(found) < most // 2 and limit <= 100 * most:
        found, more = fulltext.best(
            connection, plan.terms, collection_ids, scoped=plan.scoped, ranked=plan.ranked, limit=limit
        )
        limit *= 10
    return found[: 3 * most]


def _found(connection: Connection, matches: Sequence[Match]) -> list[Found]:
    if not matches:
        return []
    rows = connection.execute(
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


def _fused(matches: Sequence[Match], similar: Sequence[Similar], *, most: int) -> list[Match]:
    """Both rankings as one, by the reciprocals of the places. First in both has score 1."""
    by_id = {match.passage_id: match for match in matches}
    scores: defaultdict[int, float] = defaultdict(float)
    for ranking in ([match.passage_id for match in matches if match.score], [one.passage_id for one in similar]):
        for place, id in enumerate(ranking[:most], 1):
            scores[id] += (FUSION + 1) / (2 * (FUSION + place))
    standing_out = {one.passage_id for one in similar if one.stands_out}
    fused = [
        Match(id, score, by_id[id].bears_on_it or id in standing_out) for id, score in scores.items() if id in by_id
    ]
    return sorted(fused, key=lambda match: (-match.score, match.passage_id))


def _bounded(query: str) -> str:
    if len(query) <= MAX_QUERY_CHARS:
        return query
    half = MAX_QUERY_CHARS // 2
    return f"{query[:half]} {query[-half:]}"


def _names_in(query: str) -> list[str]:
    """The terms of a query that are looked for, those that say something before the others."""
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

    def sizes(self, connection: Connection, needed: Sequence[str]) -> Mapping[str, int]:
        """The numbers of ready passages by collections."""
        now = time.monotonic()
        if now > self._sizes_until or not all(self._sizes.get(id) for id in needed):
            rows = connection.execute(
                select(DocumentRow.collection_id, func.sum(DocumentRow.passage_count))
                .where(DocumentRow.status == DocumentStatus.READY)
                .group_by(DocumentRow.collection_id)
            )
            self._sizes = {id: int(count or 0) for id, count in rows}
            large = sum(self._sizes.values()) > _SMALL
            self._sizes_until = now + _REMEMBERED_SECONDS if large else 0.0
        return self._sizes

    def frequencies(self, connection: Connection, fulltext: FullText, names: Sequence[str]) -> dict[str, int]:
        """In how many passages each of the terms is."""
        now = time.monotonic()
        known = {name: count for name in names for count, until in [self._frequent.get(name, (0, 0.0))] if until > now}
        asked = [Wanted(name, is_beginning(name)) for name in names if name not in known]
        if asked:
            counts = fulltext.frequencies(connection, asked, _FREQUENT)
            for wanted, count in zip(asked, counts, strict=True):
                known[wanted.term] = count
                if count >= _FREQUENT:
                    if len(self._frequent) > 10_000:
                        self._frequent.clear()
                    self._frequent[wanted.term] = (count, now + _REMEMBERED_SECONDS)
        return known
