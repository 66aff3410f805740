"""Documents: adding each content once, listing and deleting them, and reading their passages."""

from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from dataclasses import dataclass
from uuid import uuid4

from msgspec.structs import asdict, replace
from sqlalchemy import ColumnElement, Connection, Update, func, insert, literal, select, update
from sqlalchemy.exc import IntegrityError

from app.auth.models import Principal
from app.auth.scopes import Scope
from app.clock import utc_now
from app.database.engine import Database
from app.database.tables import value_of
from app.errors import NotFound, Unavailable
from app.files.extraction.models import Reason
from app.files.extraction.reader import DocumentReader
from app.files.models import Attachment, Kind
from app.files.names import clean_filename
from app.files.refusals import DocumentRefused
from app.files.service import FileService
from app.knowledge.collections import get_changeable, get_collection
from app.knowledge.models import (
    Collection,
    CollectionRow,
    Document,
    DocumentRow,
    DocumentStatus,
    PassageItem,
    PassageRow,
)


class DocumentService:
    """Documents, with the visibility and the permissions of their collections.

    `reader` is the indexer's, whose limits count when a document is added; `on_change` is called when there is work
    for the indexer or the remover.
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

    async def add_text(self, principal: Principal, collection_id: str, title: str, text: str) -> tuple[Document, bool]:
        """Add a text, stored as an attachment.

        Returns the document, and whether it is new. Raises NotFound, Forbidden, Unavailable.
        """
        chunks = _single_chunk(text.encode())
        return await self._add_file(principal, collection_id, title, f"{title}.txt", chunks, is_text=True)

    async def add_upload(
        self, principal: Principal, collection_id: str, filename: str, chunks: AsyncIterator[bytes]
    ) -> tuple[Document, bool]:
        """Add the file from `chunks`, stored as an attachment.

        Returns the document, and whether it is new. Raises NotFound, Forbidden, Unavailable, DocumentRefused for a file
        that is no document or too large, and whatever `chunks` raises; nothing is stored then.
        """
        title = clean_filename(filename)
        return await self._add_file(principal, collection_id, title, filename, chunks, is_text=False)

    async def add_attachment(
        self, principal: Principal, collection_id: str, attachment_id: str, title: str | None = None
    ) -> tuple[Document, bool]:
        """Add an attachment, which outlives the document.

        Returns the document, and whether it is new. Raises NotFound for a collection or an attachment that the
        principal does not see or its owner does not have, Forbidden, DocumentRefused.
        """
        principal.check_scope(Scope.FILE)
        collection = await self._check_collection(principal, collection_id)
        attachments = await self._files.find_usable([attachment_id], principal, collection.owner or None)
        if attachment_id not in attachments:
            raise NotFound("Attachment not found", code="attachment_not_found")
        attachment = attachments[attachment_id]
        self._check_attachment(attachment)
        title = title or attachment.filename
        document = _new_document(str(uuid4()), collection_id, title, attachment, owns_attachment=False)
        try:
            placement = await self._database.write(lambda connection: _place(connection, principal, document))
        except _AlreadyAdded as duplicate:
            return duplicate.document, False
        except IntegrityError:  # the attachment has been deleted meanwhile
            raise NotFound("Attachment not found", code="attachment_not_found") from None
        return await self._finish(placement)

    async def page(
        self, principal: Principal, collection_id: str, *, page: int, page_size: int, status: DocumentStatus | None
    ) -> tuple[list[Document], int]:
        """One page of a collection's documents, the newest first, and the number of all. Raises NotFound."""
        condition = _visible_in(collection_id)
        if status is not None:
            condition = condition & (DocumentRow.status == status)
        query = select(DocumentRow).where(condition).order_by(DocumentRow.created_at.desc(), DocumentRow.id)
        query = query.limit(page_size).offset((page - 1) * page_size)

        def read(connection: Connection) -> tuple[list[Document], int]:
            get_collection(connection, principal, collection_id)
            documents = [value_of(Document, row) for row in connection.execute(query)]
            return documents, connection.scalar(select(func.count()).select_from(DocumentRow).where(condition)) or 0

        return await self._database.read(read)

    async def get(self, principal: Principal, collection_id: str, document_id: str) -> Document:
        """Raises NotFound `Document not found`."""

        def read(connection: Connection) -> Document:
            get_collection(connection, principal, collection_id)
            return _get(connection, collection_id, document_id)

        return await self._database.read(read)

    async def passages(
        self, principal: Principal, collection_id: str, document_id: str, *, page: int, page_size: int
    ) -> tuple[list[PassageItem], int]:
        """One page of a document's passages in their order, and their number so far. Raises NotFound."""
        condition = PassageRow.document_id == document_id
        query = select(PassageRow.position, PassageRow.heading, PassageRow.text).where(condition)
        query = query.order_by(PassageRow.position).limit(page_size).offset((page - 1) * page_size)

        def read(connection: Connection) -> tuple[list[PassageItem], int]:
            get_collection(connection, principal, collection_id)
            _get(connection, collection_id, document_id)
            passages = [value_of(PassageItem, row) for row in connection.execute(query)]
            return passages, connection.scalar(select(func.count()).select_from(PassageRow).where(condition)) or 0

        return await self._database.read(read)

    async def delete(self, principal: Principal, collection_id: str, document_id: str) -> None:
        """Hide a document from all answers at once; the remover does the rest. Raises NotFound, Forbidden."""

        def write(connection: Connection) -> None:
            get_changeable(connection, principal, collection_id, lock=True)
            _get(connection, collection_id, document_id)
            connection.execute(_hide(DocumentRow.id == document_id))

        await self._database.write(write)
        self._on_change()

    async def delete_collection(self, principal: Principal, collection_id: str) -> None:
        """Hide a collection and its documents from all answers at once. Raises NotFound, Forbidden."""

        def write(connection: Connection) -> None:
            get_changeable(connection, principal, collection_id, lock=True)
            connection.execute(_hide(_visible_in(collection_id)))
            # The id takes the place of the name, which may be used again.
            values = {"deleting": True, "name": collection_id, "updated_at": utc_now()}
            connection.execute(update(CollectionRow).where(CollectionRow.id == collection_id).values(**values))

        await self._database.write(write)
        self._on_change()

    async def _add_file(
        self,
        principal: Principal,
        collection_id: str,
        title: str,
        filename: str,
        chunks: AsyncIterator[bytes],
        *,
        is_text: bool,
    ) -> tuple[Document, bool]:
        await self._check_collection(principal, collection_id)
        document_id = str(uuid4())
        placement: _Placement | None = None

        def place(connection: Connection, attachment: Attachment) -> None:
            nonlocal placement
            self._check_attachment(attachment, is_text=is_text)
            document = _new_document(document_id, collection_id, title, attachment, owns_attachment=True)
            placement = _place(connection, principal, document)

        try:
            await self._files.save(filename, chunks, principal, in_transaction=place)
        except _AlreadyAdded as duplicate:
            return duplicate.document, False
        except BaseException:
            # A commit that was cancelled may have happened all the same.
            statement = _hide(DocumentRow.id == document_id)
            await self._database.write(lambda connection: connection.execute(statement))
            raise
        assert placement is not None
        return await self._finish(placement)

    async def _check_collection(self, principal: Principal, collection_id: str) -> Collection:
        return await self._database.read(lambda connection: get_changeable(connection, principal, collection_id))

    def _check_attachment(self, attachment: Attachment, *, is_text: bool = False) -> None:
        if attachment.type is not Kind.FILE and not is_text:
            explanation = f"it is no document ({attachment.media_type})"
            raise DocumentRefused(attachment.filename, Reason.UNSUPPORTED, explanation)
        self._reader.check_size(attachment.filename, attachment.size)

    async def _finish(self, placement: "_Placement") -> tuple[Document, bool]:
        self._on_change()
        if placement.obsolete_attachment_id is not None:
            with suppress(Unavailable):  # the attachment's row goes before its bytes, which nothing refers to then
                await delete_attachment(self._files, placement.obsolete_attachment_id)
        return placement.document, placement.is_new


async def delete_attachment(files: FileService, attachment_id: str) -> None:
    """Delete a document's attachment, if it still exists. Raises Unavailable."""
    with suppress(NotFound):
        await files.delete(attachment_id, None)


class _AlreadyAdded(Exception):
    """An existing document of the same content."""

    def __init__(self, document: Document) -> None:
        super().__init__()
        self.document = document


@dataclass(frozen=True, slots=True)
class _Placement:
    """A queued document; `obsolete_attachment_id` is the attachment of an earlier, failed try."""

    document: Document
    is_new: bool
    obsolete_attachment_id: str | None = None


def _new_document(
    id: str, collection_id: str, title: str, attachment: Attachment, *, owns_attachment: bool
) -> Document:
    now = utc_now()
    return Document(
        id=id,
        collection_id=collection_id,
        title=title,
        media_type=attachment.media_type,
        size=attachment.size,
        sha256=attachment.sha256,
        attachment_id=attachment.id,
        owns_attachment=owns_attachment,
        created_at=now,
        updated_at=now,
    )


def _place(connection: Connection, principal: Principal, document: Document) -> _Placement:
    """Insert the document, or queue its failed predecessor again, with the new title and attachment.

    Raises _AlreadyAdded, NotFound, Forbidden.
    """
    get_changeable(connection, principal, document.collection_id, lock=True)
    query = select(DocumentRow).where(_visible_in(document.collection_id), DocumentRow.sha256 == document.sha256)
    row = connection.execute(query).first()
    if row is None:
        connection.execute(insert(DocumentRow).values(**asdict(document)))
        return _Placement(document, is_new=True)
    previous = value_of(Document, row)
    if previous.status is not DocumentStatus.FAILED:
        raise _AlreadyAdded(previous)
    same_attachment = previous.attachment_id == document.attachment_id
    retry = replace(
        previous,
        title=document.title,
        attachment_id=document.attachment_id,
        owns_attachment=document.owns_attachment or (same_attachment and previous.owns_attachment),
        status=DocumentStatus.QUEUED,
        error_code=None,
        error=None,
        updated_at=document.updated_at,
    )
    connection.execute(update(DocumentRow).where(DocumentRow.id == previous.id).values(**asdict(retry)))
    obsolete = previous.owns_attachment and not same_attachment
    return _Placement(retry, is_new=False, obsolete_attachment_id=previous.attachment_id if obsolete else None)


def _visible_in(collection_id: str) -> ColumnElement[bool]:
    return (DocumentRow.collection_id == collection_id) & (DocumentRow.status != DocumentStatus.DELETING)


def _hide(condition: ColumnElement[bool]) -> Update:
    """Hide documents for good; the same contents may be added again."""
    values = {
        "status": DocumentStatus.DELETING,
        "sha256": literal("deleted:") + DocumentRow.id,
        "updated_at": utc_now(),
    }
    return update(DocumentRow).where(condition).values(**values)


def _get(connection: Connection, collection_id: str, document_id: str) -> Document:
    row = connection.execute(
        select(DocumentRow).where(_visible_in(collection_id), DocumentRow.id == document_id)
    ).first()
    if row is None:
        raise NotFound("Document not found", code="document_not_found")
    return value_of(Document, row)


async def _single_chunk(data: bytes) -> AsyncIterator[bytes]:
    yield data
