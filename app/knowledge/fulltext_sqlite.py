"""Full text in SQLite: FTS5.

Every statement gives one row of JSON. The driver lets go of the interpreter's lock for each row and may wait
milliseconds to get it back while the event loop is busy.
"""

from collections.abc import Iterable, Sequence
from typing import Any, Final

import msgspec
from sqlalchemy import Connection, text
from sqlalchemy.ext.asyncio import AsyncConnection

from app.knowledge.fulltext import IndexedTerms, Wanted

_LAST_ID: Final = text("SELECT seq FROM sqlite_sequence WHERE name = 'knowledge_passages'")
_ADD: Final = text(
    "INSERT INTO knowledge_terms (rowid, scope, heading, body) VALUES (:passage_id, :scope, :heading, :body)"
)
_FREQUENCIES: Final = text(
    """
    SELECT json_array(
        (SELECT max(id) FROM knowledge_passages),
        (SELECT json_group_array(json(found)) FROM (
            SELECT (
                SELECT json_array(count(*), max(id)) FROM (
                    SELECT rowid AS id FROM knowledge_terms WHERE knowledge_terms MATCH wanted.value LIMIT :most
                )
            ) AS found
            FROM json_each(:wanted) AS wanted
        ))
    )
    """
)
_BY_BM25: Final = """
    SELECT rowid AS id FROM knowledge_terms WHERE knowledge_terms MATCH :wanted
    ORDER BY bm25(knowledge_terms, 0.0, 2.0, 1.0) LIMIT :limit
"""
_BY_WEIGHT: Final = """
    SELECT terms.rowid AS id
    FROM (
        SELECT json_extract(value, '$[0]') AS expression, json_extract(value, '$[1]') AS weight
        FROM json_each(:wanted) LIMIT -1 OFFSET 0
    ) AS wanted
    CROSS JOIN knowledge_terms AS terms ON terms.knowledge_terms MATCH wanted.expression
    GROUP BY terms.rowid ORDER BY sum(wanted.weight) DESC LIMIT :limit
"""
_UNRANKED: Final = "SELECT rowid AS id FROM knowledge_terms WHERE knowledge_terms MATCH :wanted LIMIT :limit"
_BY_IDS: Final = "SELECT value AS id FROM json_each(:wanted) LIMIT :limit"


def _candidates(found: str) -> Any:
    """A statement that gives the ready passages among those found, and how many were found."""
    return text(
        f"""
        WITH found AS MATERIALIZED ({found})
        SELECT json_array((SELECT count(*) FROM found), json_group_array(
            json_array(passages.id, passages.collection_id, terms.heading, terms.body)
        ))
        FROM found
        CROSS JOIN knowledge_passages AS passages ON passages.id = found.id
        JOIN knowledge_documents AS documents ON documents.id = passages.document_id
        JOIN knowledge_terms AS terms ON terms.rowid = found.id
        WHERE documents.status = 'ready'
        AND passages.collection_id IN (SELECT value FROM json_each(:collections))
        """  # noqa: S608 - the four statements above
    )


_BEST_BY_BM25: Final = _candidates(_BY_BM25)
_BEST_BY_WEIGHT: Final = _candidates(_BY_WEIGHT)
_SOME: Final = _candidates(_UNRANKED)
_THESE: Final = _candidates(_BY_IDS)

_frequencies = msgspec.json.Decoder(tuple[int | None, list[tuple[int, int | None]]])
_found = msgspec.json.Decoder(tuple[int, list[IndexedTerms]])


class SqliteFullText:
    """See FullText."""

    async def new_ids(self, connection: AsyncConnection, count: int) -> list[int]:
        last = (await connection.execute(_LAST_ID)).scalar() or 0
        return list(range(last + 1, last + 1 + count))

    async def add(self, connection: AsyncConnection, rows: Sequence[IndexedTerms]) -> None:
        await connection.execute(_ADD, [{**row._asdict(), "scope": _scope(row.collection_id)} for row in rows])

    def frequencies(self, connection: Connection, terms: Sequence[Wanted], most: int) -> list[int]:
        wanted = [_within(_quoted(term)) for term in terms]
        result = connection.execute(_FREQUENCIES, {"wanted": _json(wanted), "most": most})
        last_of_all, found = _frequencies.decode(result.scalar_one())
        # The index gives passages in the order of their ids: how far the first of them reach says how many there are.
        return [count if count < most else int(count * (last_of_all or 0) / max(last or 0, 1)) for count, last in found]

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
        scopes = collection_ids if scoped else ()
        if ranked:
            wanted = _within(" OR ".join(map(_quoted, terms)), scopes)
            statement = _BEST_BY_BM25
        else:
            wanted = _json([(_within(_quoted(term), scopes), term.weight) for term in terms])
            statement = _BEST_BY_WEIGHT
        return self._ask(connection, statement, wanted, collection_ids, limit)

    def any_with_all(
        self,
        connection: Connection,
        terms: Sequence[Wanted],
        collection_ids: Sequence[str],
        *,
        scoped: bool,
        limit: int,
    ) -> list[IndexedTerms]:
        scopes = collection_ids if scoped else ()
        wanted = " AND ".join(_within(_quoted(term), scopes) for term in terms)
        found, _ = self._ask(connection, _SOME, wanted, collection_ids, limit)
        return found

    def with_ids(self, connection: Connection, ids: Sequence[int], collection_ids: Sequence[str]) -> list[IndexedTerms]:
        found, _ = self._ask(connection, _THESE, _json(list(ids)), collection_ids, len(ids))
        return found

    def _ask(
        self, connection: Connection, statement: Any, wanted: str, collection_ids: Sequence[str], limit: int
    ) -> tuple[list[IndexedTerms], bool]:
        parameters = {"wanted": wanted, "collections": _json(list(collection_ids)), "limit": limit}
        count, found = _found.decode(connection.execute(statement, parameters).scalar_one())
        return found, count == limit


def _quoted(wanted: Wanted) -> str:
    """A string of FTS5's query language: whatever is in the term, it is nothing but a string."""
    quoted = '"' + wanted.term.replace('"', '""') + '"'
    return f"{quoted} *" if wanted.beginning else quoted


def _within(expression: str, collection_ids: Iterable[str] = ()) -> str:
    scopes = " OR ".join(f'"{_scope(id)}"' for id in collection_ids)
    return f"(({scopes}) AND ({expression}))" if scopes else f"({expression})"


def _scope(collection_id: str) -> str:
    """The term that stands for a collection. The sign before it is in no term of a text (tokens.py)."""
    return "§" + "".join(character for character in collection_id if character.isalnum())


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()
