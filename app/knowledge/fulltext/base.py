"""The interface of a full-text index."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from sqlalchemy import Connection


class PassageTerms(NamedTuple):
    """A passage's terms, joined by spaces; `heading` has those of its headings and of its document's title."""

    passage_id: int
    collection_id: str
    heading: str
    body: str


class QueryTerm(NamedTuple):
    """A term of a query. With `is_prefix` it stands for every term that begins with it."""

    text: str
    is_prefix: bool
    weight: float = 0.0


class FullText(Protocol):
    """A full-text index over Palaver's own terms. Every method is part of the caller's transaction."""

    def new_ids(self, connection: Connection, count: int) -> list[int]:
        """Reserve ids for passages."""

    def add(self, connection: Connection, passages: Sequence[PassageTerms]) -> None:
        """Add the terms of passages. Deleting a passage deletes its terms."""

    def frequencies(self, connection: Connection, terms: Sequence[QueryTerm], most: int) -> list[int]:
        """The number of passages with each of the terms; an estimate from `most` upwards."""

    def best(
        self,
        connection: Connection,
        terms: Sequence[QueryTerm],
        collection_ids: Sequence[str],
        *,
        scoped: bool,
        use_bm25: bool,
        limit: int,
    ) -> tuple[list[PassageTerms], bool]:
        """Up to `limit` passages with any of the terms, and whether there may be more.

        They are ordered by BM25, or else by the sum of their terms' weights. Passages of other collections, and of
        documents that are not ready, are dropped after the limit. With `scoped` the index skips other collections,
        which is faster if the given ones hold a small part of all passages.
        """

    def any_with_all(
        self,
        connection: Connection,
        terms: Sequence[QueryTerm],
        collection_ids: Sequence[str],
        *,
        scoped: bool,
        limit: int,
    ) -> list[PassageTerms]:
        """Any passages with all of the terms, for queries of nothing but common words."""

    def with_ids(self, connection: Connection, ids: Sequence[int], collection_ids: Sequence[str]) -> list[PassageTerms]:
        """The passages with these ids that are ready and in the collections."""
