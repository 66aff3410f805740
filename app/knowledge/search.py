"""Finding the passages that bear on a question."""

from collections.abc import Sequence

from sqlalchemy import bindparam, text

from app.kit.db import Database
from app.knowledge.models import Found
from app.knowledge.tokens import terms_of
from app.knowledge.vectors import Embedder

_MATCHES = text(
    """
    SELECT p.id, p.collection_id, p.document_id, d.title, p.position, p.heading, p.text
    FROM knowledge_terms t
    JOIN knowledge_passages p ON p.id = t.rowid
    JOIN knowledge_documents d ON d.id = p.document_id
    WHERE knowledge_terms MATCH :query AND p.collection_id IN :collections AND d.status = 'ready'
    ORDER BY bm25(knowledge_terms, 0.0, 2.0, 1.0) LIMIT :limit
    """
).bindparams(bindparam("collections", expanding=True))


class Searcher:
    """Searches the passages of documents that are ready; by words, and by meaning where a collection has vectors."""

    def __init__(self, database: Database, embedder: Embedder | None = None) -> None:
        self._database = database
        self._embedder = embedder

    async def search(
        self, query: str, collection_ids: Sequence[str], limit: int = 5, *, relevant_only: bool = False
    ) -> list[Found]:
        """The passages that match best, best first; with `relevant_only` none that does not bear on the query."""
        words = list(dict.fromkeys(terms_of(query)))[:64]
        if not words or not collection_ids:
            return []
        match = "{heading body} : (" + " OR ".join(f'"{word}"' for word in words) + ")"
        async with self._database.read() as connection:
            rows = await connection.execute(
                _MATCHES, {"query": match, "collections": list(collection_ids), "limit": limit}
            )
            return [Found(*row, 1 / (1 + rank)) for rank, row in enumerate(rows)]
