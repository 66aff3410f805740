"""What Palaver asks of a database's full-text index, and which index a database has."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import AsyncConnection


class IndexedTerms(NamedTuple):
    """A passage's terms, joined by spaces; `heading` has those of its headings and of its document's title."""

    passage_id: int
    collection_id: str
    heading: str
    body: str


class Wanted(NamedTuple):
    """A term that is looked for. With `beginning` it stands for every term that begins with it."""

    term: str
    beginning: bool
    weight: float = 0.0


class FullText(Protocol):
    """A full-text index over terms that Palaver has made. Every method works within the caller's transaction.

    Those that search run in a thread of the database's, all statements of a question in one call.
    """

    async def new_ids(self, connection: AsyncConnection, count: int) -> list[int]:
        """Ids for passages that are about to be inserted."""

    async def add(self, connection: AsyncConnection, rows: Sequence[IndexedTerms]) -> None:
        """Add passages' terms. They go when the passages go."""

    def frequencies(self, connection: Connection, terms: Sequence[Wanted], most: int) -> list[int]:
        """In how many passages each of the terms is; an estimate from `most` upwards."""

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
        """Up to `limit` passages with any of the terms: those with the best BM25 if `ranked`, else those with the
        heaviest terms; and whether there may be more of them.

        Those that are not ready or of other collections are left out, after the limit. With `scoped` the others'
        passages are not even looked at, which is quicker if the collections hold a small part of all passages.
        """

    def any_with_all(
        self,
        connection: Connection,
        terms: Sequence[Wanted],
        collection_ids: Sequence[str],
        *,
        scoped: bool,
        limit: int,
    ) -> list[IndexedTerms]:
        """Some passages with all of the terms, for questions of nothing but frequent ones."""

    def with_ids(self, connection: Connection, ids: Sequence[int], collection_ids: Sequence[str]) -> list[IndexedTerms]:
        """Those of the passages with these ids that are ready and of the collections."""


def fulltext_for(dialect: str) -> FullText:
    """The index of a database of that SQLAlchemy dialect."""
    if dialect == "sqlite":
        from app.knowledge.fulltext_sqlite import SqliteFullText

        return SqliteFullText()
    from app.knowledge.fulltext_postgres import PostgresFullText

    return PostgresFullText()
