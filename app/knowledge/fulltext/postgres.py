"""Full text in PostgreSQL: a tsvector of Palaver's own terms, with a GIN index."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Final

from sqlalchemy import Connection, TextClause, text

from app.knowledge.fulltext.base import PassageTerms, QueryTerm, Scope

_MAX_POSITION: Final = 16_383
_MAX_POSITIONS: Final = 255
"""PostgreSQL keeps no more positions of one lexeme."""
_NEW_IDS: Final = text(
    "SELECT nextval(pg_get_serial_sequence('knowledge_passages', 'id')) FROM generate_series(1, :count)"
)
_ADD: Final = text(
    """
    INSERT INTO knowledge_terms (passage_id, heading, body, terms)
    VALUES (:passage_id, :heading, :body, CAST(CAST(:terms AS TEXT) AS TSVECTOR))
    """
)
_FREQUENCIES: Final = text(
    """
    SELECT (
        SELECT count(*) FROM (
            SELECT 1 FROM knowledge_terms WHERE terms @@ CAST(queries.query AS TSQUERY) LIMIT :most
        ) AS matches
    )
    FROM unnest(CAST(:queries AS TEXT[])) WITH ORDINALITY AS queries (query, place) ORDER BY queries.place
    """
)
_READY: Final = """
    SELECT passages.id, passages.collection_id, terms.heading, terms.body
    FROM knowledge_terms AS terms
    JOIN knowledge_passages AS passages ON passages.id = terms.passage_id
    JOIN knowledge_documents AS documents ON documents.id = passages.document_id
    WHERE documents.status = 'ready' AND passages.collection_id = ANY(CAST(:collections AS TEXT[]))
"""
_BEST: Final = text(
    f"""{_READY} AND terms.terms @@ CAST(:query AS TSQUERY)
    ORDER BY ts_rank('{{0, 0, 0.5, 1}}', terms.terms, CAST(:query AS TSQUERY), 1) DESC LIMIT :limit
    """
)
_ANY: Final = text(f"{_READY} AND terms.terms @@ CAST(:query AS TSQUERY) LIMIT :limit")
_WITH_IDS: Final = text(f"{_READY} AND passages.id = ANY(CAST(:ids AS BIGINT[]))")


class PostgresFullText:
    """FullText on a tsvector. The planner decides where to begin, in a small scope too."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def new_ids(self, count: int) -> list[int]:
        return list(self._connection.scalars(_NEW_IDS, {"count": count}))

    def add(self, passages: Sequence[PassageTerms]) -> None:
        rows = [{**passage._asdict(), "terms": _tsvector(passage.heading, passage.body)} for passage in passages]
        self._connection.execute(_ADD, rows)

    def frequencies(self, terms: Sequence[QueryTerm], most: int) -> list[int]:
        # There is no order to estimate from: count to the end, up to a bound that keeps the answer quick.
        parameters = {"queries": [_quoted(term) for term in terms], "most": most * 10}
        return list(self._connection.scalars(_FREQUENCIES, parameters))

    def best(
        self, terms: Sequence[QueryTerm], scope: Scope, *, use_bm25: bool, limit: int
    ) -> tuple[list[PassageTerms], bool]:
        return self._search(_BEST, scope, query=" | ".join(map(_quoted, terms)), limit=limit), False

    def any_with_all(self, terms: Sequence[QueryTerm], scope: Scope, limit: int) -> list[PassageTerms]:
        return self._search(_ANY, scope, query=" & ".join(map(_quoted, terms)), limit=limit)

    def with_ids(self, ids: Sequence[int], scope: Scope) -> list[PassageTerms]:
        return self._search(_WITH_IDS, scope, ids=list(ids))

    def _search(self, statement: TextClause, scope: Scope, **parameters: object) -> list[PassageTerms]:
        parameters["collections"] = list(scope.collection_ids)
        return [PassageTerms(*row) for row in self._connection.execute(statement, parameters)]


def _tsvector(heading: str, body: str) -> str:
    """The text form of a tsvector: the headings' terms weigh A, the others B."""
    positions: defaultdict[str, list[str]] = defaultdict(list)
    for weight, terms in (("A", heading.split(" ")), ("B", body.split(" "))):
        for position, term in enumerate(terms, 1):
            if term:
                positions[term].append(f"{min(position, _MAX_POSITION)}{weight}")
    return " ".join(f"{_literal(term)}:{','.join(places[:_MAX_POSITIONS])}" for term, places in positions.items())


def _quoted(term: QueryTerm) -> str:
    """The term as a lexeme of a tsquery, free of operators."""
    return f"{_literal(term.text)}:*" if term.is_prefix else _literal(term.text)


def _literal(term: str) -> str:
    return "'" + term.replace("\\", "\\\\").replace("'", "''") + "'"
