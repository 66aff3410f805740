"""Removing documents and collections that their callers have deleted: bytes first, then passages, then the rows."""

import structlog
from sqlalchemy import delete, exists, select

from app.background import Background
from app.database.engine import Database
from app.files.service import FileService
from app.knowledge.documents import document_of, forget_attachment
from app.knowledge.models import CollectionRow, Document, DocumentRow, DocumentStatus
from app.knowledge.store import DELETED_AT_ONCE, delete_some_passages

LOOK_SECONDS = 60.0
RETRY_SECONDS = 5.0
AT_ONCE = 100

log = structlog.get_logger(__name__)


class Remover:
    """Works in the background, for a large document takes seconds; what a crash left is taken up at the next start."""

    def __init__(self, database: Database, files: FileService) -> None:
        self._database = database
        self._files = files
        self.background = Background(self._remove_all, "removal_put_off", LOOK_SECONDS, RETRY_SECONDS)

    async def _remove_all(self) -> None:
        query = select(DocumentRow).where(DocumentRow.status == DocumentStatus.DELETING).limit(AT_ONCE)
        while True:
            async with self._database.read_block() as connection:
                documents = [document_of(row) for row in await connection.execute(query)]
            for document in documents:
                if document.owns_attachment and document.attachment_id is not None:
                    await forget_attachment(self._files, document.attachment_id)
            for document in documents:
                await self._remove(document)
            if not documents:
                break
        await self._remove_collections()

    async def _remove(self, document: Document) -> None:
        removed = DELETED_AT_ONCE
        while removed == DELETED_AT_ONCE:
            async with self._database.write_block() as connection:
                removed = await delete_some_passages(connection, document.id)
                if removed < DELETED_AT_ONCE:
                    await connection.execute(delete(DocumentRow).where(DocumentRow.id == document.id))
        log.info("document_removed", document_id=document.id)

    async def _remove_collections(self) -> None:
        empty = ~exists().where(DocumentRow.collection_id == CollectionRow.id)
        query = select(CollectionRow.id).where(CollectionRow.deleting, empty)
        async with self._database.read_block() as connection:
            gone = list((await connection.execute(query)).scalars())
        if gone:
            async with self._database.write_block() as connection:
                await connection.execute(delete(CollectionRow).where(CollectionRow.id.in_(gone), empty))
