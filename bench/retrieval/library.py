"""The corpus in a real database: made by the migrations, filled through the knowledge base's own code."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path

from sqlalchemy import Connection, insert

from app.database.engine import Database, open_database, sqlite_url
from app.database.migrations import upgrade
from app.knowledge.index import IndexedPassage, insert_passages, with_terms
from app.knowledge.models import SHARED, CollectionRow, DocumentRow, DocumentStatus
from app.knowledge.search import Searcher
from app.knowledge.splitting import split
from app.knowledge.vectors import Embedder
from app.providers.models import ProviderSpec
from app.providers.service import ProviderRegistry
from app.workers.turns import NOBODY, Caller
from bench.retrieval.questions import Text

COLLECTION = "corpus"
PROVIDER = "embeddings"
SIZE, OVERLAP = 800, 100
_EMBEDDED_AT_ONCE = 32
_PATIENCE = 60.0


@dataclass(frozen=True, slots=True)
class Embeddings:
    """A server that speaks OpenAI's `/embeddings`, and the model to ask it for."""

    base_url: str
    model: str
    api_key: str = "none"


@dataclass(frozen=True, slots=True)
class Library:
    """The corpus, to be searched. `names` are the documents' by their ids."""

    database: Database
    searcher: Searcher
    embedder: Embedder
    names: dict[str, str]
    passages: int


class _RememberingEmbedder(Embedder):
    """Asks for each question's vector once: the same questions are asked for several figures."""

    def __init__(self, providers: ProviderRegistry) -> None:
        # A busy machine is no reason to fall back to words, as a chat would.
        super().__init__(providers, question_seconds=_PATIENCE, rest_seconds=0.0)
        self._known: dict[tuple[str, str, str], bytes | None] = {}

    async def of_question(self, provider_id: str, model: str, question: str, caller: Caller = NOBODY) -> bytes | None:
        key = (provider_id, model, question)
        if key not in self._known:
            self._known[key] = await super().of_question(*key, caller)
        return self._known[key]


@asynccontextmanager
async def library(path: Path, texts: Sequence[Text], embeddings: Embeddings | None = None) -> AsyncIterator[Library]:
    """A database in that file with the texts in one collection, all ready; with vectors if there are embeddings."""
    url = sqlite_url(path)
    await asyncio.to_thread(upgrade, url)
    database = open_database(url)
    registry = ProviderRegistry([_spec(embeddings)] if embeddings else [])
    embedder = _RememberingEmbedder(registry)
    try:
        await _add_collection(database, embeddings)
        names, passages = {}, 0
        for number, text in enumerate(texts):
            document_id = f"document-{number}"
            names[document_id] = text.name
            passages += await _add(database, document_id, text, embedder if embeddings else None, embeddings)
        yield Library(database, Searcher(database, embedder), embedder, names, passages)
    finally:
        await registry.close()
        await database.close()


def _spec(embeddings: Embeddings) -> ProviderSpec:
    return ProviderSpec(
        id=PROVIDER, base_url=embeddings.base_url, default_model=embeddings.model, api_key=embeddings.api_key
    )


async def _add_collection(database: Database, embeddings: Embeddings | None) -> None:
    now = datetime.now(UTC)
    statement = insert(CollectionRow).values(
        id=COLLECTION,
        owner=SHARED,
        name=COLLECTION,
        description="",
        embedding_provider=PROVIDER if embeddings else None,
        embedding_model=embeddings.model if embeddings else None,
        created_at=now,
        updated_at=now,
    )
    await database.write(lambda connection: connection.execute(statement))


async def _add(
    database: Database, document_id: str, text: Text, embedder: Embedder | None, embeddings: Embeddings | None
) -> int:
    """How many passages it makes."""
    now, content = datetime.now(UTC), text.content.encode()
    prepared = with_terms(split(text.content, size=SIZE, overlap=OVERLAP), text.title)
    vectors = await _vectors(embedder, embeddings, prepared) if embedder and embeddings else []
    statement = insert(DocumentRow).values(
        id=document_id,
        collection_id=COLLECTION,
        title=text.title,
        media_type="text/markdown",
        size=len(content),
        sha256=sha256(content).hexdigest(),
        status=DocumentStatus.READY.value,
        passage_count=len(prepared),
        created_at=now,
        updated_at=now,
    )

    def write(connection: Connection) -> None:
        connection.execute(statement)
        insert_passages(connection, document_id, COLLECTION, prepared, vectors)

    await database.write(write)
    return len(prepared)


async def _vectors(embedder: Embedder, embeddings: Embeddings, prepared: Sequence[IndexedPassage]) -> list[bytes]:
    vectors: list[bytes] = []
    for start in range(0, len(prepared), _EMBEDDED_AT_ONCE):
        some = prepared[start : start + _EMBEDDED_AT_ONCE]
        vectors += await embedder.of_passages(PROVIDER, embeddings.model, some)
    return vectors
