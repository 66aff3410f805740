"""Full text in SQLite: FTS5.

Every query answers with one row of JSON. The driver releases the interpreter's lock for each row and may wait
milliseconds to get it back while the event loop is busy.
"""

from collections.abc import Sequence
from typing import Any, Final

import msgspec
from sqlalchemy import Connection, TextClause, text

from app.knowledge.fulltext.base import PassageTerms, QueryTerm, Scope

_LAST_ID: Final = text("SELECT seq FROM sqlite_sequence WHERE name = 'knowledge_passages'")
_ADD: Final = text(
    "INSERT INTO knowledge_terms (rowid, scope, heading, body) VALUES (:passage_id, :scope, :heading, :body)"
)
_FREQUENCIES: Final = text(
    """
    SELECT json_array(
        (SELECT max(id) FROM knowledge_passages),
        (SELECT json_group_array(json(counts)) FROM (
            SELECT (
                SELECT json_array(count(*), max(id)) FROM (
                    SELECT rowid AS id FROM knowledge_terms WHERE knowledge_terms MATCH terms.value LIMIT :most
                )
            ) AS counts
            FROM json_each(:terms) AS terms
        ))
    )
    """
)
_BY_BM25: Final = """
    SELECT rowid AS id FROM knowledge_terms WHERE knowledge_terms MATCH :match
    ORDER BY bm25(knowledge_terms, 0.0, 2.0, 1.0) LIMIT :limit
"""
_BY_WEIGHT: Final = """
    SELECT terms.rowid AS id
    FROM (
        SELECT json_extract(value, '$[0]') AS expression, json_extract(value, '$[1]') AS weight
        FROM json_each(:match) LIMIT -1 OFFSET 0
    ) AS query
    CROSS JOIN knowledge_terms AS terms ON terms.knowledge_terms MATCH query.expression
    GROUP BY terms.rowid ORDER BY sum(query.weight) DESC LIMIT :limit
"""
_UNRANKED: Final = "SELECT rowid AS id FROM knowledge_terms WHERE knowledge_terms MATCH :match LIMIT :limit"
_BY_IDS: Final = "SELECT value AS id FROM json_each(:match) LIMIT :limit"


def _ready_ones(matches: str) -> TextClause:
    """Select the number of `matches`, and the terms of the ready ones in the collections."""
    return text(
        f"""
        WITH matches AS MATERIALIZED ({matches})
        SELECT json_array((SELECT count(*) FROM matches), json_group_array(
            json_array(passages.id, passages.collection_id, terms.heading, terms.body)
        ))
        FROM matches
        CROSS JOIN knowledge_passages AS passages ON passages.id = matches.id
        JOIN knowledge_documents AS documents ON documents.id = passages.document_id
        JOIN knowledge_terms AS terms ON terms.rowid = matches.id
        WHERE documents.status = 'ready'
        AND passages.collection_id IN (SELECT value FROM json_each(:collections))
        """  # noqa: S608 - the four statements above
    )


_BEST_BY_BM25: Final = _ready_ones(_BY_BM25)
_BEST_BY_WEIGHT: Final = _ready_ones(_BY_WEIGHT)
_ANY: Final = _ready_ones(_UNRANKED)
_WITH_IDS: Final = _ready_ones(_BY_IDS)

_frequencies = msgspec.json.Decoder(tuple[int | None, list[tuple[int, int | None]]])
_passages = msgspec.json.Decoder(tuple[int, list[PassageTerms]])


class SqliteFullText:
    """FullText on FTS5. The limit of a search counts before other collections and unready documents are dropped."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def new_ids(self, count: int) -> list[int]:
        start = (self._connection.scalar(_LAST_ID) or 0) + 1
        return list(range(start, start + count))

    def add(self, passages: Sequence[PassageTerms]) -> None:
        rows = [{**passage._asdict(), "scope": _scope_term(passage.collection_id)} for passage in passages]
        self._connection.execute(_ADD, rows)

    def frequencies(self, terms: Sequence[QueryTerm], most: int) -> list[int]:
        parameters = {"terms": _json([_quoted(term) for term in terms]), "most": most}
        last_id, counts = _frequencies.decode(self._connection.execute(_FREQUENCIES, parameters).scalar_one())
        # The index yields passages by ascending id: how far the first `most` of them reach tells how many there are.
        return [
            count if count < most else int(count * (last_id or 0) / max(last_match or 0, 1))
            for count, last_match in counts
        ]

    def best(
        self, terms: Sequence[QueryTerm], scope: Scope, *, use_bm25: bool, limit: int
    ) -> tuple[list[PassageTerms], bool]:
        if use_bm25:
            return self._search(_BEST_BY_BM25, _within(scope, " OR ".join(map(_quoted, terms))), scope, limit)
        match = _json([(_within(scope, _quoted(term)), term.weight) for term in terms])
        return self._search(_BEST_BY_WEIGHT, match, scope, limit)

    def any_with_all(self, terms: Sequence[QueryTerm], scope: Scope, limit: int) -> list[PassageTerms]:
        return self._search(_ANY, _within(scope, " AND ".join(map(_quoted, terms))), scope, limit)[0]

    def with_ids(self, ids: Sequence[int], scope: Scope) -> list[PassageTerms]:
        return self._search(_WITH_IDS, _json(list(ids)), scope, len(ids))[0]

    def _search(self, statement: TextClause, match: str, scope: Scope, limit: int) -> tuple[list[PassageTerms], bool]:
        """The passages, and whether the limit cut some off."""
        parameters = {"match": match, "collections": _json(list(scope.collection_ids)), "limit": limit}
        count, passages = _passages.decode(self._connection.execute(statement, parameters).scalar_one())
        return passages, count == limit


def _quoted(term: QueryTerm) -> str:
    """The term as a string of FTS5's query language, free of operators."""
    string = '"' + term.text.replace('"', '""') + '"'
    return f"{string} *" if term.is_prefix else string


def _within(scope: Scope, expression: str) -> str:
    """The expression; in a small scope, with its collections, so that the index skips all others."""
    collections = " OR ".join(f'"{_scope_term(id)}"' for id in scope.collection_ids) if scope.is_small else ""
    return f"(({collections}) AND ({expression}))" if collections else f"({expression})"


def _scope_term(collection_id: str) -> str:
    """The term of a collection, with a first character that no term of a text has (tokens.py)."""
    return "§" + "".join(character for character in collection_id if character.isalnum())


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()
