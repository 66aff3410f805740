"""The numbers of passages in collections and with terms, cached for a minute if large."""

import time
from collections.abc import Mapping, Sequence
from typing import Final

from sqlalchemy import Connection, func, select

from app.knowledge.fulltext.base import FullText, QueryTerm
from app.knowledge.models import DocumentRow, DocumentStatus
from app.knowledge.tokens import is_prefix

COMMON: Final = 2_000
"""The number of passages from which the frequency of a term is an estimate, and is cached."""
_CACHE_SECONDS: Final = 60.0
_CACHED_ABOVE: Final = 5_000
_MAX_CACHED_TERMS: Final = 10_000

_PASSAGE_COUNTS = (
    select(DocumentRow.collection_id, func.sum(DocumentRow.passage_count))
    .where(DocumentRow.status == DocumentStatus.READY)
    .group_by(DocumentRow.collection_id)
)


class Frequencies:
    """The numbers behind the weights of a query's terms."""

    def __init__(self) -> None:
        self._passages: dict[str, int] = {}
        self._passages_expire = 0.0
        self._common_terms: dict[str, tuple[int, float]] = {}

    def of_passages(self, connection: Connection, collection_ids: Sequence[str]) -> Mapping[str, int]:
        """The number of ready passages by collection, up to date for the given ones."""
        now = time.monotonic()
        if now > self._passages_expire or not all(self._passages.get(id) for id in collection_ids):
            self._passages = {id: int(count or 0) for id, count in connection.execute(_PASSAGE_COUNTS)}
            is_large = sum(self._passages.values()) > _CACHED_ABOVE
            self._passages_expire = now + _CACHE_SECONDS if is_large else 0.0
        return self._passages

    def of_terms(self, fulltext: FullText, terms: Sequence[str]) -> dict[str, int]:
        """The number of passages with each of the terms."""
        now = time.monotonic()
        cached = {term: self._common_terms.get(term, (0, 0.0)) for term in terms}
        frequencies = {term: count for term, (count, expires) in cached.items() if expires > now}
        missing = [QueryTerm(term, is_prefix(term)) for term in terms if term not in frequencies]
        counts = fulltext.frequencies(missing, COMMON) if missing else []
        for term, count in zip(missing, counts, strict=True):
            frequencies[term.text] = count
            if count >= COMMON:
                if len(self._common_terms) > _MAX_CACHED_TERMS:
                    self._common_terms.clear()
                self._common_terms[term.text] = (count, now + _CACHE_SECONDS)
        return frequencies
