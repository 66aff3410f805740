"""The indexer: a background task from queued documents to passages, one document after another, of each user in turn.

A process of its own extracts the text, another one splits long texts. Passages are written in batches, so that neither
the event loop nor the chats' transactions wait long. A document becomes searchable as a whole, at the end.
"""

from collections.abc import Sequence
from contextlib import aclosing

import stamina
import structlog

from app.background import Background
from app.database.errors import DatabaseUnavailable
from app.errors import AppError, NotFound, Unavailable
from app.files.extraction.models import ExtractedText
from app.files.extraction.reader import DocumentReader
from app.files.service import FileService
from app.knowledge.index import IndexedPassage
from app.knowledge.preparing import PassageMaker
from app.knowledge.store import IndexStore, Lease, LeaseLost
from app.knowledge.vectors import Embedder, EmbeddingsFailed
from app.telemetry.metrics import Metrics

LOOK_SECONDS = 5.0
"""How often to look for what other servers queued or abandoned."""
RETRY_SECONDS = 2.0
PATIENCE_SECONDS = 120.0
"""How long a document waits for a storage or a model server that is away, before it fails."""

log = structlog.get_logger(__name__)


class IndexingFailed(AppError):
    """A failure of indexing, with a message for the document's owner."""


class Indexer:
    """A background worker for one document at a time. After a cancellation the document starts over."""

    def __init__(
        self,
        store: IndexStore,
        files: FileService,
        reader: DocumentReader,
        maker: PassageMaker,
        embedder: Embedder,
        metrics: Metrics,
    ) -> None:
        self._store = store
        self._files = files
        self._reader = reader
        self._maker = maker
        self._embedder = embedder
        self._metrics = metrics
        self.background = Background(self._index_all, "indexing_postponed", LOOK_SECONDS, RETRY_SECONDS)

    async def close(self) -> None:
        """End the worker processes, once the background work is cancelled."""
        await self._reader.close()
        await self._maker.close()

    async def _index_all(self) -> None:
        """Index the queue. Raises DatabaseUnavailable, after which the current document starts over."""
        while (lease := await self._store.take_next()) is not None:
            try:
                async with self._store.renewing(lease):
                    await self._index(lease)
            except LeaseLost:
                log.info("document_lease_lost", document_id=lease.document.id)

    async def _index(self, lease: Lease) -> None:
        """Make the document ready, or failed. Raises LeaseLost, DatabaseUnavailable."""
        document_id = lease.document.id
        try:
            count = await self._make_ready(lease)
        except (DatabaseUnavailable, LeaseLost):
            raise
        except AppError as error:
            await self._store.fail(lease, error.code, error.message)
            log.info("document_failed", document_id=document_id, code=error.code)
            self._metrics.documents.labels("failed").inc()
        except Exception as error:
            log.error("indexing_crashed", document_id=document_id, exc_info=error)
            await self._store.fail(lease, "internal_error", "The document could not be indexed: internal error")
            self._metrics.documents.labels("failed").inc()
        else:
            log.info("document_indexed", document_id=document_id, passages=count)
            self._metrics.documents.labels("ready").inc()
            self._metrics.passages.inc(count)

    async def _make_ready(self, lease: Lease) -> int:
        """The number of the document's passages."""
        text = await _retrying(self._extract, lease)
        await self._store.begin_passages(lease)
        total = 0
        async with aclosing(self._maker.make(lease.document.title, text.text)) as batches:
            async for passages in batches:
                vectors = await self._embed(lease, passages)
                total += len(passages)
                await self._store.add_passages(lease, passages, vectors, total=total)
        if total == 0:
            raise IndexingFailed("There is no text in it", code="document_empty")
        await self._store.finish(lease, truncated=text.truncated, notes=text.notes)
        return total

    async def _extract(self, lease: Lease) -> ExtractedText:
        try:
            attachment = await self._files.get(lease.document.attachment_id or "", None)
        except NotFound:
            raise IndexingFailed("Its attachment was deleted too early", code="attachment_not_found") from None
        self._reader.check_size(attachment.filename, attachment.size)
        content = self._files.stream(attachment)
        return await self._reader.read(content, attachment.filename, attachment.media_type, caller=lease.caller)

    async def _embed(self, lease: Lease, passages: Sequence[IndexedPassage]) -> list[bytes]:
        """A vector for each passage, if the collection has an embedding model."""
        provider, model = lease.embedding_provider, lease.embedding_model
        if provider is None or model is None:
            return []
        try:
            return await _retrying(self._embedder.of_passages, provider, model, passages, lease.caller)
        except EmbeddingsFailed as error:
            log.warning("embeddings_failed", document_id=lease.document.id, detail=error.detail)
            raise IndexingFailed(error.message, code="embeddings_failed") from None


def _is_temporary(error: Exception) -> bool:
    """Whether a retry may succeed. For the database, `background` retries, and without end."""
    if isinstance(error, EmbeddingsFailed):
        return error.is_temporary
    return isinstance(error, Unavailable) and not isinstance(error, DatabaseUnavailable)


_retrying = stamina.AsyncRetryingCaller(attempts=None, timeout=PATIENCE_SECONDS, wait_initial=0.5, wait_max=10.0).on(
    _is_temporary
)
