"""Passages and their terms, on their way into the database."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from app.knowledge.fulltext import IndexedTerms, fulltext_for
from app.knowledge.models import Draft, PassageRow, VectorRow
from app.knowledge.tokens import terms_of


@dataclass(frozen=True, slots=True)
class Prepared:
    """A passage with its terms, joined by spaces; `heading_terms` has the document's title's too."""

    position: int
    heading: str
    text: str
    heading_terms: str
    body_terms: str


class PassageIndex:
    """Writes passages, their terms and their vectors."""

    def prepare(self, drafts: Sequence[Draft], title: str = "") -> list[Prepared]:
        """The drafts with their terms. Takes up to half a millisecond a passage: call it in a thread."""
        titled = terms_of(title)
        heading, heading_terms = "", " ".join(titled)
        prepared = []
        for draft in drafts:
            if draft.heading != heading:
                heading, heading_terms = draft.heading, " ".join([*titled, *terms_of(draft.heading)])
            body_terms = " ".join(terms_of(draft.text))
            prepared.append(Prepared(draft.position, draft.heading, draft.text, heading_terms, body_terms))
        return prepared

    async def add(
        self,
        connection: AsyncConnection,
        document_id: str,
        collection_id: str,
        prepared: Sequence[Prepared],
        vectors: Sequence[bytes] = (),
    ) -> None:
        """Insert passages in the caller's transaction; `vectors` are as many as they, or none.

        A few hundred at a time keep the database's one writer free for others. Raises ValueError when the vectors are
        not as many as the passages.
        """
        if not prepared:
            return
        if vectors and len(vectors) != len(prepared):
            raise ValueError("there must be a vector for each passage")
        fulltext = fulltext_for(connection.dialect.name)
        ids = await fulltext.new_ids(connection, len(prepared))
        await connection.execute(
            insert(PassageRow.__table__),  # type: ignore[arg-type]
            [
                {
                    "id": id,
                    "document_id": document_id,
                    "collection_id": collection_id,
                    "position": passage.position,
                    "heading": passage.heading,
                    "text": passage.text,
                }
                for id, passage in zip(ids, prepared, strict=True)
            ],
        )
        await fulltext.add(
            connection,
            [
                IndexedTerms(id, collection_id, passage.heading_terms, passage.body_terms)
                for id, passage in zip(ids, prepared, strict=True)
            ],
        )
        if vectors:
            await connection.execute(
                insert(VectorRow.__table__),  # type: ignore[arg-type]
                [
                    {"passage_id": id, "collection_id": collection_id, "vector": vector}
                    for id, vector in zip(ids, vectors, strict=True)
                ],
            )
