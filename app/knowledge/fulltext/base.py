"""The interface of a full-text index."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol


class PassageTerms(NamedTuple):
    """A passage's terms, joined by spaces; `heading` includes those of its document's title."""

    passage_id: int
    collection_id: str
    heading: str
    body: str


class QueryTerm(NamedTuple):
    """A term of a query; with `is_prefix`, any term with this beginning."""

    text: str
    is_prefix: bool
    weight: float = 0.0


class Scope(NamedTuple):
    """The collections to search; `is_small` if they hold a small part of all passages."""

    collection_ids: Sequence[str]
    is_small: bool


class FullText(Protocol):
    """A full-text index over Palaver's own terms, within a transaction.

    Its searches return passages of ready documents in the scope.
    """

    def new_ids(self, count: int) -> list[int]:
        """Reserve ids for passages."""

    def add(self, passages: Sequence[PassageTerms]) -> None:
        """Add the terms of passages. Deleting a passage deletes its terms."""

    def frequencies(self, terms: Sequence[QueryTerm], most: int) -> list[int]:
        """The number of passages with each of the terms; an estimate from `most` upwards."""

    def best(
        self, terms: Sequence[QueryTerm], scope: Scope, *, use_bm25: bool, limit: int
    ) -> tuple[list[PassageTerms], bool]:
        """Passages with any of the terms, and whether a higher limit may give more.

        They are the best by BM25, or else by the sum of their terms' weights.
        """

    def any_with_all(self, terms: Sequence[QueryTerm], scope: Scope, limit: int) -> list[PassageTerms]:
        """Any passages with all of the terms, for queries of nothing but common words."""

    def with_ids(self, ids: Sequence[int], scope: Scope) -> list[PassageTerms]:
        """The passages with these ids."""
