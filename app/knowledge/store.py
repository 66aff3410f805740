"""What the indexer keeps in the database: who works on which document, how far it is, and its passages.

A document's `updated_at` is its holder's token: each step of the work changes it, in the step's own transaction, and
only if it is as the holder left it. Whoever has lost the document, to its deletion or to another server that took it
for abandoned, notices at the next step and writes nothing more.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, delete, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from app.clock import utc_now
from app.database.engine import Database
from app.knowledge.documents import document_of
from app.knowledge.index import PassageIndex, Prepared
from app.knowledge.models import CollectionRow, Document, DocumentRow, DocumentStatus, PassageRow

LEASE = timedelta(minutes=10)
"""How long a step may take before another server takes the document over."""
DELETED_AT_ONCE = 500
UNDER_WAY = (DocumentStatus.EXTRACTING, DocumentStatus.INDEXING)


class Lost(Exception):
    """The document was deleted, or taken over by another server, while it was being worked on."""


@dataclass(slots=True)
class Held:
    """A document that this process works on; `token` is its `updated_at` as this process left it."""

    document: Document
    embedding_provider: str | None
    embedding_model: str | None
    token: datetime


class IndexStore:
    """`sole_owner` says that no other process can work on the documents of the same database."""

    def __init__(self, database: Database, passages: PassageIndex, *, sole_owner: bool) -> None:
        self._database = database
        self._passages = passages
        self._sole_owner = sole_owner

    async def take_next(self) -> Held | None:
        """The document that has waited longest, taken for this process; None when none waits.

        Call it while holding none: what else is under way, and was left behind, goes back into the queue.
        """
        left_behind: ColumnElement[bool] = DocumentRow.status.in_(UNDER_WAY)
        if not self._sole_owner:
            left_behind = left_behind & (DocumentRow.updated_at < utc_now() - LEASE)
        waiting = (
            select(DocumentRow, CollectionRow.embedding_provider, CollectionRow.embedding_model)
            .join(CollectionRow, CollectionRow.id == DocumentRow.collection_id)
            .where((DocumentRow.status == DocumentStatus.QUEUED) | left_behind)
            .order_by(DocumentRow.updated_at, DocumentRow.id)
            .limit(1)
        )
        # Looked for by a reader first: an idle server writes nothing.
        async with self._database.read_block() as connection:
            row = (await connection.execute(waiting)).first()
        if row is None:
            return None
        held = Held(document_of(row), row.embedding_provider, row.embedding_model, row.updated_at)
        try:
            await self._step(held, status=DocumentStatus.EXTRACTING)
        except Lost:
            return await self.take_next()
        return held

    async def begin_passages(self, held: Held) -> None:
        """Remove what an earlier try has written, some at a time. Raises Lost."""
        while True:
            async with self._database.write_block() as connection:
                await self._renew(connection, held, status=DocumentStatus.INDEXING, passage_count=0)
                removed = await delete_some_passages(connection, held.document.id)
            if removed < DELETED_AT_ONCE:
                return

    async def add_passages(
        self, held: Held, prepared: Sequence[Prepared], vectors: Sequence[bytes], *, so_far: int
    ) -> None:
        """Write the next passages; `so_far` counts them all. Raises Lost."""
        async with self._database.write_block() as connection:
            await self._renew(connection, held, passage_count=so_far)
            await self._passages.add(connection, held.document.id, held.document.collection_id, prepared, vectors)

    async def finish(self, held: Held, *, truncated: bool, notes: Sequence[str]) -> None:
        """The document is whole: from now on it is found. Raises Lost."""
        await self._step(
            held, status=DocumentStatus.READY, error_code=None, error=None, truncated=truncated, notes=list(notes)
        )

    async def fail(self, held: Held, code: str, message: str) -> None:
        """The document cannot be indexed; what was written of it goes. Raises Lost."""
        await self.begin_passages(held)
        await self._step(held, status=DocumentStatus.FAILED, error_code=code, error=message)

    async def _step(self, held: Held, **values: Any) -> None:
        async with self._database.write_block() as connection:
            await self._renew(connection, held, **values)

    async def _renew(self, connection: AsyncConnection, held: Held, **values: Any) -> None:
        # Later than the last one, whatever the clock does.
        token = max(utc_now(), held.token + timedelta(microseconds=1))
        result = await connection.execute(
            update(DocumentRow)
            .where(
                DocumentRow.id == held.document.id,
                DocumentRow.updated_at == held.token,
                DocumentRow.status != DocumentStatus.DELETING,
            )
            .values(updated_at=token, **values)
        )
        if result.rowcount == 0:
            raise Lost
        held.token = token


async def delete_some_passages(connection: AsyncConnection, document_id: str) -> int:
    """Delete up to DELETED_AT_ONCE passages of the document, with their terms and vectors: how many there were.

    Not all at once: each transaction holds up those of the chats.
    """
    some = select(PassageRow.id).where(PassageRow.document_id == document_id).limit(DELETED_AT_ONCE)
    result = await connection.execute(delete(PassageRow).where(PassageRow.id.in_(some)))
    return result.rowcount
