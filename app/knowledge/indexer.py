"""The indexer: takes documents from the queue, one after another, and makes passages of them in the background.

Extraction has a process of its own, and so have long texts; passages are written some at a time, so that neither the
event loop nor the chats' transactions wait long. A document is found only when it is whole.
"""

from collections.abc import Iterator, Sequence
from contextlib import aclosing
from typing import Literal, Protocol, TypeVar

import stamina
import structlog

from app.background import Background
from app.database.engine import DatabaseUnavailable
from app.errors import AppError, NotFound, Unavailable
from app.files.extraction.models import ExtractedText
from app.files.extraction.reader import DocumentReader
from app.files.service import FileService
from app.knowledge.index import Prepared
from app.knowledge.preparing import PassageMaker
from app.knowledge.store import Held, IndexStore, Lost
from app.knowledge.vectors import Embedder, EmbeddingsFailed

LOOK_SECONDS = 15.0
"""How often to look for what other servers queued, or left behind."""
RETRY_SECONDS = 2.0
PATIENCE_SECONDS = 120.0
"""How long a document waits for a storage or a model server that is away, before it counts as failed."""
EMBEDDED_AT_ONCE = 64

T = TypeVar("T")

log = structlog.get_logger(__name__)


class Observer(Protocol):
    """What the indexer tells the metrics."""

    def document_indexed(self, state: Literal["ready", "failed"], passages: int) -> None: ...


class Refused(AppError):
    """The document cannot be indexed, for a reason that its owner is told."""


class Indexer:
    """Works on one document at a time, in the background. What is under way when that is cancelled begins again."""

    def __init__(
        self,
        store: IndexStore,
        files: FileService,
        reader: DocumentReader,
        maker: PassageMaker,
        embedder: Embedder,
        observer: Observer,
    ) -> None:
        self._store = store
        self._files = files
        self._reader = reader
        self._maker = maker
        self._embedder = embedder
        self._observer = observer
        self.background = Background(self._index_all, "indexing_put_off", LOOK_SECONDS, RETRY_SECONDS)

    async def close(self) -> None:
        """End the processes that read documents and make passages; cancel the background work before."""
        await self._reader.close()
        await self._maker.close()

    async def _index_all(self) -> None:
        """Index what is queued. A document that is given up half-way is still there, and has lost nothing but time."""
        while (held := await self._store.take_next()) is not None:
            await self._index(held)

    async def _index(self, held: Held) -> None:
        """Raises DatabaseUnavailable."""
        document_id = held.document.id
        try:
            try:
                count = await self._make(held)
            except DatabaseUnavailable:
                raise
            except AppError as error:
                await self._store.fail(held, error.code, error.message)
                log.info("document_failed", document_id=document_id, code=error.code)
                self._observer.document_indexed("failed", 0)
            except Lost:
                raise
            except Exception as error:
                log.error("indexing_crashed", document_id=document_id, exc_info=error)
                await self._store.fail(held, "internal_error", "The document could not be indexed: internal error")
                self._observer.document_indexed("failed", 0)
            else:
                log.info("document_indexed", document_id=document_id, passages=count)
                self._observer.document_indexed("ready", count)
        except Lost:
            log.info("document_lost", document_id=document_id)

    async def _make(self, held: Held) -> int:
        text = await self._extract(held)
        await self._store.begin_passages(held)
        so_far = 0
        async with aclosing(self._maker.make(held.document.title, text.text)) as batches:
            async for prepared in batches:
                vectors = await self._vectors(held, prepared)
                so_far += len(prepared)
                await self._store.add_passages(held, prepared, vectors, so_far=so_far)
        if so_far == 0:
            raise Refused("There is no text in it", code="document_empty")
        await self._store.finish(held, truncated=text.truncated, notes=text.notes)
        return so_far

    async def _extract(self, held: Held) -> ExtractedText:
        async for attempt in stamina.retry_context(
            on=_may_pass, attempts=None, timeout=PATIENCE_SECONDS, wait_initial=0.5, wait_max=10.0
        ):
            with attempt:
                attachment_id = held.document.attachment_id
                try:
                    attachment = await self._files.get(attachment_id or "", None)
                except NotFound:
                    raise Refused("Its attachment was deleted too early", code="attachment_not_found") from None
                self._reader.check_size(attachment.filename, attachment.size)
                content = self._files.stream(attachment)
                return await self._reader.read(content, attachment.filename, attachment.media_type)
        raise AssertionError

    async def _vectors(self, held: Held, prepared: Sequence[Prepared]) -> list[bytes]:
        """A vector for each, if the collection has an embedding model."""
        provider, model = held.embedding_provider, held.embedding_model
        if provider is None or model is None:
            return []
        vectors: list[bytes] = []
        try:
            for some in _batched(prepared, EMBEDDED_AT_ONCE):
                async for attempt in stamina.retry_context(
                    on=_may_pass, attempts=None, timeout=PATIENCE_SECONDS, wait_initial=0.5, wait_max=10.0
                ):
                    with attempt:
                        vectors += await self._embedder.of_passages(provider, model, some)
        except EmbeddingsFailed as error:
            log.warning("embeddings_failed", document_id=held.document.id, detail=error.detail)
            raise Refused(error.message, code="embeddings_failed") from None
        return vectors


def _may_pass(error: Exception) -> bool:
    """Whether the same may well succeed later; a database that is away is waited for elsewhere, without end."""
    if isinstance(error, EmbeddingsFailed):
        return error.temporary
    return isinstance(error, Unavailable) and not isinstance(error, DatabaseUnavailable)


def _batched(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]
