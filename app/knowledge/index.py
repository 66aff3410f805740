"""Passages and their terms, on their way into the database."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import insert, text
from sqlalchemy.ext.asyncio import AsyncConnection

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
        return [
            Prepared(
                draft.position,
                draft.heading,
                draft.text,
                " ".join([*titled, *terms_of(draft.heading)]),
                " ".join(terms_of(draft.text)),
            )
            for draft in drafts
        ]

    async def add(
        self,
        connection: AsyncConnection,
        document_id: str,
        collection_id: str,
        prepared: Sequence[Prepared],
        vectors: Sequence[bytes] = (),
    ) -> None:
        """Insert passages in the caller's transaction; `vectors` are as many as they, or none."""
        rows = [
            {
                "document_id": document_id,
                "collection_id": collection_id,
                "position": passage.position,
                "heading": passage.heading,
                "text": passage.text,
            }
            for passage in prepared
        ]
        for at, (row, passage) in enumerate(zip(rows, prepared, strict=True)):
            id = (await connection.execute(insert(PassageRow).values(**row).returning(PassageRow.id))).scalar_one()
            await connection.execute(
                text("INSERT INTO knowledge_terms (rowid, scope, heading, body) VALUES (:id, :scope, :heading, :body)"),
                {
                    "id": id,
                    "scope": collection_id,
                    "heading": passage.heading_terms,
                    "body": passage.body_terms,
                },
            )
            if vectors:
                vector = {"passage_id": id, "collection_id": collection_id, "vector": vectors[at]}
                await connection.execute(insert(VectorRow).values(**vector))
