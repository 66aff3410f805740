"""Passages with their terms and vectors, on their way into the database."""

from collections.abc import Sequence

from sqlalchemy import Connection, insert

from app.knowledge.fulltext import fulltext_for
from app.knowledge.fulltext.base import PassageTerms
from app.knowledge.models import PassageItem, PassageRow, VectorRow
from app.knowledge.tokens import terms_of


class IndexedPassage(PassageItem, frozen=True):
    """A passage with its terms, joined by spaces; `heading_terms` includes the document's title."""

    heading_terms: str
    body_terms: str


def with_terms(passages: Sequence[PassageItem], title: str = "") -> list[IndexedPassage]:
    """Make the passages' terms. Takes up to half a millisecond a passage: call it in a thread."""
    title_terms = terms_of(title)
    heading, heading_terms = "", " ".join(title_terms)
    indexed = []
    for passage in passages:
        if passage.heading != heading:
            heading, heading_terms = passage.heading, " ".join([*title_terms, *terms_of(passage.heading)])
        body_terms = " ".join(terms_of(passage.text))
        indexed.append(IndexedPassage(passage.position, passage.heading, passage.text, heading_terms, body_terms))
    return indexed


def insert_passages(
    connection: Connection,
    document_id: str,
    collection_id: str,
    passages: Sequence[IndexedPassage],
    vectors: Sequence[bytes] = (),
) -> None:
    """Write passages, their terms and their vectors, if there are any.

    Some dozens at a time, or the database's one writer is kept from others. Raises ValueError if there are not as many
    vectors as passages.
    """
    if not passages:
        return
    if vectors and len(vectors) != len(passages):
        raise ValueError("there must be a vector for each passage")
    fulltext = fulltext_for(connection)
    ids = fulltext.new_ids(len(passages))
    rows = [
        {
            "id": id,
            "document_id": document_id,
            "collection_id": collection_id,
            "position": passage.position,
            "heading": passage.heading,
            "text": passage.text,
        }
        for id, passage in zip(ids, passages, strict=True)
    ]
    connection.execute(insert(PassageRow), rows)
    fulltext.add(
        [
            PassageTerms(id, collection_id, passage.heading_terms, passage.body_terms)
            for id, passage in zip(ids, passages, strict=True)
        ]
    )
    if vectors:
        rows = [
            {"passage_id": id, "collection_id": collection_id, "vector": vector}
            for id, vector in zip(ids, vectors, strict=True)
        ]
        connection.execute(insert(VectorRow), rows)
