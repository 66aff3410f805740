"""Documents: adding them, each content once, finding and deleting them, and reading their passages."""

from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any
from uuid import uuid4

from sqlalchemy import ColumnElement, Connection, func, insert, literal, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from app.auth.models import Principal
from app.clock import utc_now
from app.database.engine import Database
from app.database.tables import MAX_INTEGER
from app.errors import NotFound, Unavailable
from app.files.extraction.models import Reason
from app.files.extraction.reader import DocumentReader
from app.files.models import Attachment, Kind
from app.files.names import clean_filename
from app.files.refusals import DocumentRefused
from app.files.service import FileService
from app.knowledge.collections import get_changeable, get_collection
from app.knowledge.models import CollectionRow, Document, DocumentRow, DocumentStatus, Draft, PassageRow


@dataclass(frozen=True, slots=True)
class Added:
    """A document that was asked for; `is_new` is False for content that the collection had already."""

    document: Document
    is_new: bool


class DocumentService:
    """Documents as their callers see them: who sees a collection sees what is in it, who may change it may do so here.

    `reader` is the one that will read them; `on_change` is called when there is work for the indexer or the remover.
    """

    def __init__(
        self,
        database: Database,
        files: FileService,
        reader: DocumentReader,
        on_change: Callable[[], None],
    ) -> None:
        self._database = database
        self._files = files
        self._reader = reader
        self._on_change = on_change
        self.max_file_bytes = min(files.max_upload_bytes, reader.limits.max_file_bytes)

    async def add_text(self, principal: Principal, collection_id: str, title: str, text: str) -> Added:
        """A document of a text, which is kept as an attachment. Raises NotFound, Forbidden, Unavailable."""
        return await self._keep(principal, collection_id, title, f"{title}.txt", _one(text.encode()), is_text=True)

    async def add_upload(
        self, principal: Principal, collection_id: str, filename: str, chunks: AsyncIterator[bytes]
    ) -> Added:
        """A document of the file that `chunks` yields, which is kept as an attachment.

        Raises NotFound, Forbidden, Unavailable, DocumentRefused for what is no document or too large, and what `chunks`
        raises; nothing is kept then.
        """
        return await self._keep(principal, collection_id, clean_filename(filename), filename, chunks, is_text=False)

    async def add_attachment(
        self, principal: Principal, collection_id: str, attachment_id: str, title: str | None = None
    ) -> Added:
        """A document of an attachment, which stays when the document is deleted.

        Raises NotFound for a collection or an attachment that the principal does not see, Forbidden, DocumentRefused.
        """
        await self._check_collection(principal, collection_id)
        attachment = await self._files.get(attachment_id, principal)
        self._check_attachment(attachment)
        placing = _Placing(principal, collection_id, title or attachment.filename, owns=False)
        try:
            async with self._database.write_block() as connection:
                await connection.run_sync(placing.place, attachment)
        except _Known as known:
            return Added(known.document, False)
        except IntegrityError:
            return await self._lost_race(placing, attachment.sha256)
        return await self._placed(placing)

    async def page(
        self, principal: Principal, collection_id: str, *, page: int, page_size: int, status: DocumentStatus | None
    ) -> tuple[list[Document], int]:
        """One page of a collection's documents, the newest first, and how many there are in all. Raises NotFound."""
        shown = _shown(collection_id)
        if status is not None:
            shown = shown & (DocumentRow.status == status)
        query = (
            select(DocumentRow)
            .where(shown)
            .order_by(DocumentRow.created_at.desc(), DocumentRow.id)
            .limit(page_size)
            .offset(min((page - 1) * page_size, MAX_INTEGER))
        )
        async with self._database.read_block() as connection:
            await connection.run_sync(get_collection, principal, collection_id)
            documents = [document_of(row) for row in await connection.execute(query)]
            total = await connection.scalar(select(func.count()).select_from(DocumentRow).where(shown)) or 0
        return documents, total

    async def get(self, principal: Principal, collection_id: str, document_id: str) -> Document:
        """Raises NotFound `Document not found`."""
        async with self._database.read_block() as connection:
            await connection.run_sync(get_collection, principal, collection_id)
            return await _get(connection, collection_id, document_id)

    async def passages(
        self, principal: Principal, collection_id: str, document_id: str, *, page: int, page_size: int
    ) -> tuple[list[Draft], int]:
        """One page of a document's passages, in their order, and how many there are by now. Raises NotFound."""
        of_it = PassageRow.document_id == document_id
        query = (
            select(PassageRow.position, PassageRow.heading, PassageRow.text)
            .where(of_it)
            .order_by(PassageRow.position)
            .limit(page_size)
            .offset(min((page - 1) * page_size, MAX_INTEGER))
        )
        async with self._database.read_block() as connection:
            await connection.run_sync(get_collection, principal, collection_id)
            await _get(connection, collection_id, document_id)
            passages = [Draft(*row) for row in await connection.execute(query)]
            total = await connection.scalar(select(func.count()).select_from(PassageRow).where(of_it)) or 0
        return passages, total

    async def delete(self, principal: Principal, collection_id: str, document_id: str) -> None:
        """Take a document out of all answers, at once; the remover does the rest. Raises NotFound, Forbidden."""
        async with self._database.write_block() as connection:
            await connection.run_sync(get_changeable, principal, collection_id)
            await _get(connection, collection_id, document_id)
            await connection.execute(_taken_out().where(DocumentRow.id == document_id))
        self._on_change()

    async def delete_collection(self, principal: Principal, collection_id: str) -> None:
        """Take a collection and all its documents out of all answers, at once. Raises NotFound, Forbidden."""
        async with self._database.write_block() as connection:
            await connection.run_sync(get_changeable, principal, collection_id)
            await connection.execute(_taken_out().where(_shown(collection_id)))
            # Its name is free again.
            await connection.execute(
                update(CollectionRow)
                .where(CollectionRow.id == collection_id)
                .values(deleting=True, name=collection_id, updated_at=utc_now())
            )
        self._on_change()

    async def _keep(
        self,
        principal: Principal,
        collection_id: str,
        title: str,
        filename: str,
        chunks: AsyncIterator[bytes],
        *,
        is_text: bool,
    ) -> Added:
        await self._check_collection(principal, collection_id)
        placing = _Placing(principal, collection_id, title, owns=True)
        digest = ""

        def in_transaction(connection: Connection, attachment: Attachment) -> None:
            nonlocal digest
            digest = attachment.sha256
            self._check_attachment(attachment, is_text=is_text)
            placing.place(connection, attachment)

        try:
            await self._files.save(filename, chunks, principal, in_transaction=in_transaction)
        except _Known as known:
            return Added(known.document, False)
        except IntegrityError:
            return await self._lost_race(placing, digest)
        except BaseException:
            # A commit that was cancelled may have happened all the same.
            await self._withdraw(placing)
            raise
        return await self._placed(placing)

    async def _check_collection(self, principal: Principal, collection_id: str) -> None:
        async with self._database.read_block() as connection:
            await connection.run_sync(get_changeable, principal, collection_id)

    def _check_attachment(self, attachment: Attachment, *, is_text: bool = False) -> None:
        if attachment.type is not Kind.FILE and not is_text:
            explanation = f"it is no document ({attachment.media_type})"
            raise DocumentRefused(attachment.filename, Reason.UNSUPPORTED, explanation)
        self._reader.check_size(attachment.filename, attachment.size)

    async def _placed(self, placing: "_Placing") -> Added:
        assert placing.document is not None
        self._on_change()
        if placing.replaced is not None:
            with suppress(Unavailable):  # its row is gone before its bytes: what stays is named by nothing
                await forget_attachment(self._files, placing.replaced)
        return Added(placing.document, placing.is_new)

    async def _lost_race(self, placing: "_Placing", digest: str) -> Added:
        """Another request has added the same content in the same moment; or the attachment was deleted in it."""
        async with self._database.read_block() as connection:
            await connection.run_sync(get_changeable, placing.principal, placing.collection_id)
            query = select(DocumentRow).where(_shown(placing.collection_id), DocumentRow.sha256 == digest)
            row = (await connection.execute(query)).first()
        if row is None:
            raise NotFound("Attachment not found", code="attachment_not_found")
        return Added(document_of(row), False)

    async def _withdraw(self, placing: "_Placing") -> None:
        if placing.is_new and placing.document is not None:
            async with self._database.write_block() as connection:
                await connection.execute(_taken_out().where(DocumentRow.id == placing.document.id))


class _Known(Exception):
    """The collection has a document of this content already."""

    def __init__(self, document: Document) -> None:
        super().__init__()
        self.document = document


class _Placing:
    """Puts an attachment into a collection. `replaced` is the attachment of an earlier try, which is wanted no more."""

    def __init__(self, principal: Principal, collection_id: str, title: str, *, owns: bool) -> None:
        self.principal = principal
        self.collection_id = collection_id
        self.document: Document | None = None
        self.is_new = False
        self.replaced: str | None = None
        self._title = title
        self._owns = owns

    def place(self, connection: Connection, attachment: Attachment) -> None:
        """Raises _Known, NotFound, Forbidden, and IntegrityError when another server does the same."""
        get_changeable(connection, self.principal, self.collection_id)
        query = select(DocumentRow).where(_shown(self.collection_id), DocumentRow.sha256 == attachment.sha256)
        row = connection.execute(query).first()
        if row is None:
            self.document = self._new(attachment)
            self.is_new = True
            values = {name: getattr(self.document, name) for name in Document.__slots__}
            connection.execute(insert(DocumentRow).values(**{**values, "notes": []}))
        elif row.status == DocumentStatus.FAILED:
            self._try_again(connection, document_of(row), attachment)
        else:
            raise _Known(document_of(row))

    def _try_again(self, connection: Connection, failed: Document, attachment: Attachment) -> None:
        is_same = failed.attachment_id == attachment.id
        if failed.owns_attachment and not is_same:
            self.replaced = failed.attachment_id
        values: dict[str, Any] = {
            "title": self._title,
            "attachment_id": attachment.id,
            "owns_attachment": self._owns or (is_same and failed.owns_attachment),
            "status": DocumentStatus.QUEUED,
            "error_code": None,
            "error": None,
            "updated_at": utc_now(),
        }
        connection.execute(update(DocumentRow).where(DocumentRow.id == failed.id).values(**values))
        self.document = replace(failed, **values)

    def _new(self, attachment: Attachment) -> Document:
        now = utc_now()
        return Document(
            id=str(uuid4()),
            collection_id=self.collection_id,
            title=self._title,
            media_type=attachment.media_type,
            size=attachment.size,
            sha256=attachment.sha256,
            attachment_id=attachment.id,
            owns_attachment=self._owns,
            status=DocumentStatus.QUEUED,
            error_code=None,
            error=None,
            truncated=False,
            notes=(),
            passage_count=0,
            created_at=now,
            updated_at=now,
        )


async def forget_attachment(files: FileService, attachment_id: str) -> None:
    """Delete an attachment that was made for a document; somebody may have done so before. Raises Unavailable."""
    try:
        await files.delete(attachment_id, None)
    except NotFound:
        return


def document_of(row: Any) -> Document:
    values = {name: getattr(row, name) for name in Document.__slots__}
    return Document(**{**values, "status": DocumentStatus(row.status), "notes": tuple(row.notes)})


def _shown(collection_id: str) -> ColumnElement[bool]:
    return (DocumentRow.collection_id == collection_id) & (DocumentRow.status != DocumentStatus.DELETING)


def _taken_out() -> Any:
    """The change that hides documents for good; their contents may be added again meanwhile."""
    return update(DocumentRow).values(
        status=DocumentStatus.DELETING, sha256=literal("deleted:") + DocumentRow.id, updated_at=utc_now()
    )


async def _get(connection: AsyncConnection, collection_id: str, document_id: str) -> Document:
    query = select(DocumentRow).where(_shown(collection_id), DocumentRow.id == document_id)
    row = (await connection.execute(query)).first()
    if row is None:
        raise NotFound("Document not found", code="document_not_found")
    return document_of(row)


async def _one(data: bytes) -> AsyncIterator[bytes]:
    yield data
