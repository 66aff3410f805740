"""The search for passages, by words and by vectors."""

import math
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from sqlalchemy import Connection, bindparam, select

from app.database.engine import Database
from app.knowledge.frequencies import Frequencies
from app.knowledge.fulltext import fulltext_for
from app.knowledge.fulltext.base import FullText, PassageTerms, QueryTerm, Scope
from app.knowledge.models import CollectionRow, DocumentRow, FoundPassage, PassageRow
from app.knowledge.ranking import Match, fuse, rank, weight_of
from app.knowledge.similarity import Neighbour, VectorIndex
from app.knowledge.tokens import is_prefix, is_stopword, question_terms
from app.knowledge.vectors import Embedder
from app.workers.turns import NOBODY, Caller

MAX_QUERY_CHARS: Final = 2_000
MAX_TERMS: Final = 48
STOPWORD_WEIGHT: Final = 0.2
"""The weight of a stopword, relative to another term of its frequency."""
UNSEEN_PAIR_WEIGHT: Final = 0.35
"""The weight of a pair of characters in no passage: most straddle two words and mean nothing."""
_FUSION_DEPTH: Final = 50
_CANDIDATES: Final = 60
_MAX_BM25_ROWS: Final = 2_000
"""BM25 costs 2 to 3 microseconds a row in SQLite, adding up weights less than one: hence these two bounds."""
_MAX_WEIGHED_ROWS: Final = 8_000
_SMALL_SCOPE: Final = 0.5

_MODELS = select(CollectionRow.id, CollectionRow.embedding_provider, CollectionRow.embedding_model).where(
    CollectionRow.id.in_(bindparam("ids", expanding=True))
)
_PASSAGES = (
    select(
        PassageRow.id,
        PassageRow.position,
        PassageRow.heading,
        PassageRow.text,
        PassageRow.document_id,
        DocumentRow.title,
        PassageRow.collection_id,
        CollectionRow.name,
    )
    .join(DocumentRow, DocumentRow.id == PassageRow.document_id)
    .join(CollectionRow, CollectionRow.id == PassageRow.collection_id)
    .where(PassageRow.id.in_(bindparam("ids", expanding=True)))
)


class Searcher:
    """Search in the passages of ready documents: by words, and in some collections by vectors."""

    def __init__(self, database: Database, embedder: Embedder | None = None) -> None:
        self._database = database
        self._embedder = embedder
        self._frequencies = Frequencies()
        self._vectors = VectorIndex(database)
        # A collection's provider and model never change.
        self._models: dict[str, tuple[str | None, str | None]] = {}

    async def search(
        self,
        query: str,
        collection_ids: Sequence[str],
        limit: int = 5,
        *,
        relevant_only: bool = False,
        caller: Caller = NOBODY,
    ) -> list[FoundPassage]:
        """The best matches, best first; with `relevant_only`, only those relevant to the query.

        Of a query of more than MAX_QUERY_CHARS characters only its beginning and its end count. Its vectors count in
        the usage of `caller`. Raises DatabaseUnavailable.
        """
        if not collection_ids or limit < 1 or not query.strip():
            return []
        query = _bounded(query)
        depth = max(_FUSION_DEPTH, 2 * limit)
        neighbours: list[Neighbour] = []
        for collection_id, vector in await self._query_vectors(query, collection_ids, caller):
            neighbours += await self._vectors.nearest(collection_id, vector, depth)
        neighbours.sort(key=lambda neighbour: -neighbour.similarity)
        # Keywords come first, as only so many terms count.
        texts = sorted(question_terms(query), key=is_stopword)[:MAX_TERMS]

        def read(connection: Connection) -> list[FoundPassage]:
            matches = self._match_terms(connection, texts, collection_ids, limit, neighbours)
            if neighbours:
                matches = fuse(matches, neighbours, depth)
            if relevant_only:
                matches = [match for match in matches if match.is_relevant]
            return _found_passages(connection, [match for match in matches if match.score][:limit])

        # In one call of a thread: each way there and back costs more, under load, than a statement.
        return await self._database.read(read)

    async def _query_vectors(
        self, query: str, collection_ids: Sequence[str], caller: Caller
    ) -> list[tuple[str, bytes]]:
        """The query's vector for each collection with an embedding model, if it comes in time."""
        if self._embedder is None:
            return []
        if any(id not in self._models for id in collection_ids):
            parameters = {"ids": list(collection_ids)}
            rows = await self._database.read(lambda connection: connection.execute(_MODELS, parameters).all())
            self._models |= {id: (provider, model) for id, provider, model in rows}
        models = {id: self._models.get(id, (None, None)) for id in collection_ids}
        vectors: dict[tuple[str | None, str | None], bytes | None] = {
            (provider, model): await self._embedder.of_question(provider, model, query, caller)
            for provider, model in set(models.values())
            if provider and model
        }
        return [(id, vector) for id, key in models.items() if (vector := vectors.get(key))]

    def _match_terms(
        self,
        connection: Connection,
        texts: Sequence[str],
        collection_ids: Sequence[str],
        limit: int,
        neighbours: Sequence[Neighbour],
    ) -> list[Match]:
        """The passages with terms of the query, best first, and all neighbours, with or without terms."""
        fulltext = fulltext_for(connection)
        passages = self._frequencies.of_passages(connection, collection_ids)
        total = max(sum(passages.values()), 1)
        searched = sum(passages.get(id, 0) for id in collection_ids)
        frequencies = self._frequencies.of_terms(fulltext, texts)
        terms = [_weighted(text, frequencies[text], total) for text in texts]
        scope = Scope(collection_ids, is_small=searched < total * _SMALL_SCOPE)
        plan = _plan(terms, frequencies, searched if scope.is_small else math.inf)
        candidates = _candidates(fulltext, plan, scope, max(_CANDIDATES, 3 * limit))
        ids = {candidate.passage_id for candidate in candidates}
        missing = [neighbour.passage_id for neighbour in neighbours if neighbour.passage_id not in ids]
        if missing:
            candidates += fulltext.with_ids(missing, scope)
        return rank(terms, candidates)


class _Plan(NamedTuple):
    """The terms to look for: the rarest, as many as the bounds allow.

    If even the rarest is too frequent, `terms` is empty, and passages with all of the `common_terms` have to do.
    """

    terms: Sequence[QueryTerm]
    common_terms: Sequence[QueryTerm]
    use_bm25: bool


def _plan(terms: Sequence[QueryTerm], frequencies: Mapping[str, int], most_rows: float) -> _Plan:
    """Choose the terms to look for; each costs a row for each of its passages, up to `most_rows`."""
    present = sorted((term for term in terms if frequencies[term.text]), key=lambda term: frequencies[term.text])
    keywords = [term for term in present if not is_stopword(term.text)] or present
    affordable = []
    rows = 0.0
    for term in keywords:
        rows += min(frequencies[term.text], most_rows)
        if rows > _MAX_WEIGHED_ROWS:
            break
        affordable.append(term)
    use_bm25 = sum(frequencies[term.text] for term in keywords) <= _MAX_BM25_ROWS
    return _Plan(affordable, [] if affordable else keywords, use_bm25)


def _candidates(fulltext: FullText, plan: _Plan, scope: Scope, count: int) -> list[PassageTerms]:
    """The passages to rank, several times the number to return."""
    for length in range(min(3, len(plan.common_terms)), 0, -1):
        if passages := fulltext.any_with_all(plan.common_terms[:length], scope, 3 * count):
            return passages
    passages = []
    limit, may_be_more = count, bool(plan.terms)
    # Other collections and documents that are not ready may have had the best places: look further down.
    while may_be_more and len(passages) < count // 2 and limit <= 100 * count:
        passages, may_be_more = fulltext.best(plan.terms, scope, use_bm25=plan.use_bm25, limit=limit)
        limit *= 10
    return passages[: 3 * count]


def _found_passages(connection: Connection, matches: Sequence[Match]) -> list[FoundPassage]:
    if not matches:
        return []
    rows = connection.execute(_PASSAGES, {"ids": [match.passage_id for match in matches]})
    by_id = {row.id: row for row in rows}
    return [
        FoundPassage(
            position=row.position,
            heading=row.heading,
            text=row.text,
            score=round(match.score, 4),
            document_id=row.document_id,
            title=row.title,
            collection_id=row.collection_id,
            collection=row.name,
        )
        for match in matches
        if (row := by_id.get(match.passage_id))
    ]


def _bounded(query: str) -> str:
    if len(query) <= MAX_QUERY_CHARS:
        return query
    half = MAX_QUERY_CHARS // 2
    return f"{query[:half]} {query[-half:]}"


def _weighted(text: str, frequency: int, total: int) -> QueryTerm:
    weight = weight_of(frequency, total)
    if is_stopword(text):
        weight *= STOPWORD_WEIGHT
    elif not frequency and len(text) == 2 and not text.isascii():
        weight *= UNSEEN_PAIR_WEIGHT
    return QueryTerm(text, is_prefix(text), weight)
