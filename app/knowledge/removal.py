"""The removal of deleted documents and collections: bytes first, then passages, then the rows."""

import structlog
from sqlalchemy import Connection, delete, exists, select

from app.background import Background
from app.database.engine import Database
from app.database.tables import value_of
from app.files.service import FileService
from app.knowledge.documents import delete_attachment
from app.knowledge.models import CollectionRow, Document, DocumentRow, DocumentStatus
from app.knowledge.store import DELETE_BATCH, delete_some_passages

LOOK_SECONDS = 60.0
RETRY_SECONDS = 5.0
BATCH = 100

_DELETED_DOCUMENTS = select(DocumentRow).where(DocumentRow.status == DocumentStatus.DELETING).limit(BATCH)
_empty = CollectionRow.deleting & ~exists().where(DocumentRow.collection_id == CollectionRow.id)
_AN_EMPTY_COLLECTION = select(CollectionRow.id).where(_empty).limit(1)
_DELETE_EMPTY_COLLECTIONS = delete(CollectionRow).where(_empty)

log = structlog.get_logger(__name__)


class Remover:
    """A background worker for removals: a large document takes seconds. A crash leaves the rest to the next start."""

    def __init__(self, database: Database, files: FileService) -> None:
        self._database = database
        self._files = files
        self.background = Background(self._remove_all, "removal_postponed", LOOK_SECONDS, RETRY_SECONDS)

    async def _remove_all(self) -> None:
        while documents := await self._database.read(
            lambda connection: [value_of(Document, row) for row in connection.execute(_DELETED_DOCUMENTS)]
        ):
            for document in documents:
                if document.owns_attachment and document.attachment_id is not None:
                    await delete_attachment(self._files, document.attachment_id)
            for document in documents:
                await self._remove(document.id)
        # An idle server writes nothing.
        if await self._database.read(lambda connection: connection.scalar(_AN_EMPTY_COLLECTION)):
            await self._database.write(lambda connection: connection.execute(_DELETE_EMPTY_COLLECTIONS))

    async def _remove(self, document_id: str) -> None:
        def write(connection: Connection) -> bool:
            if delete_some_passages(connection, document_id) == DELETE_BATCH:
                return False
            connection.execute(delete(DocumentRow).where(DocumentRow.id == document_id))
            return True

        is_gone = False
        while not is_gone:
            is_gone = await self._database.write(write)
        log.info("document_removed", document_id=document_id)
