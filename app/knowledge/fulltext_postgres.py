"""Full text in PostgreSQL: a tsvector of Palaver's own terms, with a GIN index."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy import Connection, text
from sqlalchemy.ext.asyncio import AsyncConnection

from app.knowledge.fulltext import IndexedTerms, Wanted

_MAX_POSITION: Final = 16_383
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
            SELECT 1 FROM knowledge_terms WHERE terms @@ CAST(wanted.query AS TSQUERY) LIMIT :most
        ) AS found
    )
    FROM unnest(CAST(:wanted AS TEXT[])) WITH ORDINALITY AS wanted (query, place) ORDER BY wanted.place
    """
)
_PASSAGES: Final = """
    SELECT passages.id, passages.collection_id, terms.heading, terms.body
    FROM knowledge_terms AS terms
    JOIN knowledge_passages AS passages ON passages.id = terms.passage_id
    JOIN knowledge_documents AS documents ON documents.id = passages.document_id
    WHERE documents.status = 'ready' AND passages.collection_id = ANY(CAST(:collections AS TEXT[]))
"""
_BEST: Final = text(
    f"""{_PASSAGES} AND terms.terms @@ CAST(:wanted AS TSQUERY)
    ORDER BY ts_rank('{{0, 0, 0.5, 1}}', terms.terms, CAST(:wanted AS TSQUERY), 1) DESC LIMIT :limit
    """
)
_SOME: Final = text(f"{_PASSAGES} AND terms.terms @@ CAST(:wanted AS TSQUERY) LIMIT :limit")
_THESE: Final = text(f"{_PASSAGES} AND passages.id = ANY(CAST(:ids AS BIGINT[]))")


class PostgresFullText:
    """See FullText."""

    async def new_ids(self, connection: AsyncConnection, count: int) -> list[int]:
        return list((await connection.execute(_NEW_IDS, {"count": count})).scalars())

    async def add(self, connection: AsyncConnection, rows: Sequence[IndexedTerms]) -> None:
        await connection.execute(
            _ADD,
            [
                {
                    "passage_id": row.passage_id,
                    "heading": row.heading,
                    "body": row.body,
                    "terms": _tsvector(row.heading, row.body),
                }
                for row in rows
            ],
        )

    def frequencies(self, connection: Connection, terms: Sequence[Wanted], most: int) -> list[int]:
        # Counted to the end, up to a bound that keeps the answer quick: there is no order to estimate from.
        parameters = {"wanted": [_quoted(term) for term in terms], "most": most * 10}
        return list(connection.execute(_FREQUENCIES, parameters).scalars())

    def best(
        self,
        connection: Connection,
        terms: Sequence[Wanted],
        collection_ids: Sequence[str],
        *,
        scoped: bool,
        ranked: bool,
        limit: int,
    ) -> tuple[list[IndexedTerms], bool]:
        found = self._ask(connection, _BEST, " | ".join(map(_quoted, terms)), collection_ids, limit)
        return found, False

    def any_with_all(
        self,
        connection: Connection,
        terms: Sequence[Wanted],
        collection_ids: Sequence[str],
        *,
        scoped: bool,
        limit: int,
    ) -> list[IndexedTerms]:
        return self._ask(connection, _SOME, " & ".join(map(_quoted, terms)), collection_ids, limit)

    def with_ids(self, connection: Connection, ids: Sequence[int], collection_ids: Sequence[str]) -> list[IndexedTerms]:
        parameters = {"ids": list(ids), "collections": list(collection_ids)}
        return [IndexedTerms(*row) for row in connection.execute(_THESE, parameters)]

    def _ask(
        self, connection: Connection, statement: Any, wanted: str, collection_ids: Sequence[str], limit: int
    ) -> list[IndexedTerms]:
        parameters = {"wanted": wanted, "collections": list(collection_ids), "limit": limit}
        return [IndexedTerms(*row) for row in connection.execute(statement, parameters)]


def _tsvector(heading: str, body: str) -> str:
    """The text form of a tsvector: headings' terms weigh A, the others B."""
    positions: defaultdict[str, list[str]] = defaultdict(list)
    for weight, terms in (("A", heading.split(" ")), ("B", body.split(" "))):
        for position, term in enumerate(terms, 1):
            if term:
                positions[term].append(f"{min(position, _MAX_POSITION)}{weight}")
    # More than 255 places of one term are not kept anyway.
    return " ".join(f"{_literal(term)}:{','.join(places[:255])}" for term, places in positions.items())


def _quoted(wanted: Wanted) -> str:
    """A lexeme of a tsquery: whatever is in the term, it is nothing but a lexeme."""
    return f"{_literal(wanted.term)}:*" if wanted.beginning else _literal(wanted.term)


def _literal(term: str) -> str:
    return "'" + term.replace("\\", "\\\\").replace("'", "''") + "'"
