"""The indexer's transactions: the lease of a document, its state, and its passages.

A document's `updated_at` is the token of its lease. Each step sets a new one in its own transaction, provided that the
old one is still there. A worker whose document was deleted, or taken over by another server as abandoned, notices at
its next step and writes nothing more. Tokens are times of the database, which renewals keep young while a step lasts.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, TypeVar

from sqlalchemy import ColumnElement, Connection, bindparam, delete, func, literal, literal_column, select, update

from app.database.clock import moment_in
from app.database.engine import Database
from app.database.errors import DatabaseUnavailable
from app.database.tables import value_of
from app.files.models import AttachmentRow
from app.knowledge.index import IndexedPassage, insert_passages
from app.knowledge.models import CollectionRow, Document, DocumentRow, DocumentStatus, PassageRow
from app.workers.turns import Caller, Turns

LEASE = timedelta(seconds=10)
"""How long a document has not been renewed when another server takes it over."""
RENEWAL_SECONDS = 3.0
DELETE_BATCH = 250
"""The passages that one transaction deletes. It holds up those of the chats, which share its commit."""
_IN_PROGRESS = (DocumentStatus.EXTRACTING, DocumentStatus.INDEXING)

_KEY_ID = func.coalesce(AttachmentRow.key_id, literal_column("''"))
_SOME_PASSAGES = select(PassageRow.id).where(PassageRow.document_id == bindparam("document_id")).limit(DELETE_BATCH)
_DELETE_SOME = delete(PassageRow).where(PassageRow.id.in_(_SOME_PASSAGES))

T = TypeVar("T")


class LeaseLost(Exception):
    """The loss of a leased document to its deletion, or to another server."""


@dataclass(slots=True)
class Lease:
    """This process's hold on a document of `caller`; `token` is the `updated_at` of its last step."""

    document: Document
    caller: Caller
    embedding_provider: str | None
    embedding_model: str | None
    token: datetime
    writing: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Held while the document is changed: a renewal may come beside a step."""


class IndexStore:
    """The indexer's queue of documents; `sole_owner` if no other process works on it."""

    def __init__(self, database: Database, *, sole_owner: bool) -> None:
        self._database = database
        self._sole_owner = sole_owner
        self._turns = Turns()

    async def take_next(self) -> Lease | None:
        """Lease the document with the longest wait of the caller whose turn it is; None if the queue is empty.

        To be called without a lease: what this process has in progress counts as abandoned, and starts over.
        """
        while True:
            # An idle server writes nothing.
            lease = await self._database.read(self._find_next)
            if lease is None:
                self._turns.clear()
                return None
            try:
                await self._step(lease, status=DocumentStatus.EXTRACTING)
            except LeaseLost:
                continue
            self._turns.take(lease.caller)
            return lease

    async def begin_passages(self, lease: Lease) -> None:
        """Delete the passages of an earlier try, in batches. Raises LeaseLost."""

        deleted = DELETE_BATCH
        while deleted == DELETE_BATCH:
            deleted = await self._change(
                lease,
                lambda connection: delete_some_passages(connection, lease.document.id),
                status=DocumentStatus.INDEXING,
                passage_count=0,
            )

    async def add_passages(
        self, lease: Lease, passages: Sequence[IndexedPassage], vectors: Sequence[bytes], *, total: int
    ) -> None:
        """Write the next passages; `total` counts them all. Raises LeaseLost."""

        document = lease.document
        await self._change(
            lease,
            lambda connection: insert_passages(connection, document.id, document.collection_id, passages, vectors),
            passage_count=total,
        )

    async def finish(self, lease: Lease, *, truncated: bool, notes: Sequence[str]) -> None:
        """Make the document searchable. Raises LeaseLost."""
        await self._step(
            lease, status=DocumentStatus.READY, error_code=None, error=None, truncated=truncated, notes=list(notes)
        )

    async def fail(self, lease: Lease, code: str, message: str) -> None:
        """Delete the document's passages and store the reason. Raises LeaseLost."""
        await self.begin_passages(lease)
        await self._step(lease, status=DocumentStatus.FAILED, error_code=code, error=message)

    @asynccontextmanager
    async def renewing(self, lease: Lease) -> AsyncIterator[None]:
        """Renew the lease while the block lasts, however long its steps take."""
        if self._sole_owner:
            yield
            return
        task = asyncio.create_task(self._renew_forever(lease))
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _renew_forever(self, lease: Lease) -> None:
        """Renew the lease until it is lost, which the next step notices."""
        with suppress(LeaseLost):
            while True:
                await asyncio.sleep(RENEWAL_SECONDS)
                with suppress(DatabaseUnavailable):
                    await self._step(lease)

    async def _step(self, lease: Lease, **values: Any) -> None:
        await self._change(lease, lambda _: None, **values)

    async def _change(self, lease: Lease, act: Callable[[Connection], T], **values: Any) -> T:
        """Set the document's values and run `act`, under the lease. Raises LeaseLost."""

        def write(connection: Connection) -> tuple[datetime, T]:
            return _renew(connection, lease, **values), act(connection)

        async with lease.writing:
            lease.token, result = await self._database.write(write)
        return result

    def _find_next(self, connection: Connection) -> Lease | None:
        abandoned: ColumnElement[bool] = DocumentRow.status.in_(_IN_PROGRESS)
        if not self._sole_owner:
            abandoned = abandoned & (DocumentRow.updated_at < moment_in(-LEASE))
        is_due = (DocumentRow.status == DocumentStatus.QUEUED) | abandoned
        callers = _of_callers(select(_KEY_ID, CollectionRow.owner)).where(is_due).group_by(_KEY_ID, CollectionRow.owner)
        waiting = [Caller(*row) for row in connection.execute(callers.order_by(func.min(DocumentRow.updated_at)))]
        for caller in sorted(waiting, key=self._turns.rank):
            of_caller = (literal(caller.key_id) == _KEY_ID) & (CollectionRow.owner == caller.username)
            query = (
                _of_callers(select(DocumentRow, CollectionRow.embedding_provider, CollectionRow.embedding_model))
                .where(is_due, of_caller)
                .order_by(DocumentRow.updated_at, DocumentRow.id)
                .limit(1)
            )
            # Another server may have taken it meanwhile.
            if (row := connection.execute(query).first()) is not None:
                provider, model = row.embedding_provider, row.embedding_model
                return Lease(value_of(Document, row), caller, provider, model, row.updated_at)
        return None


def _of_callers(query: Any) -> Any:
    """Queued documents, with their collections and the attachments that name their keys."""
    return (
        query.select_from(DocumentRow)
        .join(CollectionRow, CollectionRow.id == DocumentRow.collection_id)
        .outerjoin(AttachmentRow, AttachmentRow.id == DocumentRow.attachment_id)
    )


def delete_some_passages(connection: Connection, document_id: str) -> int:
    """Delete up to DELETE_BATCH passages of the document, with their terms and vectors, and count them."""
    return connection.execute(_DELETE_SOME, {"document_id": document_id}).rowcount


def _renew(connection: Connection, lease: Lease, **values: Any) -> datetime:
    """Change the document under its lease, and return the new token. Raises LeaseLost."""
    statement = (
        update(DocumentRow)
        .where(
            DocumentRow.id == lease.document.id,
            DocumentRow.updated_at == lease.token,
            DocumentRow.status != DocumentStatus.DELETING,
        )
        .values(updated_at=moment_in(), **values)
        .returning(DocumentRow.updated_at)
    )
    token: datetime | None = connection.execute(statement).scalar()
    if token is None:
        raise LeaseLost
    return token
