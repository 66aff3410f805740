"""The nearest neighbours of a query's vector: by brute force, in memory.

100,000 vectors of 384 numbers are 154 MB.
"""

import asyncio
import math
from collections import OrderedDict, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

import structlog
from sqlalchemy import Connection, Row, bindparam, func, select

from app.database.engine import Database
from app.knowledge.models import DocumentRow, DocumentStatus, VectorRow

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MAX_BYTES: Final = 768 * 1024**2
_CHUNK: Final = 5_000
_MARGIN: Final = 1.0

_in_collection = VectorRow.collection_id == bindparam("collection_id")
_READY_DOCUMENTS = select(func.count(), func.coalesce(func.sum(DocumentRow.passage_count), 0)).where(
    DocumentRow.collection_id == bindparam("collection_id"), DocumentRow.status == DocumentStatus.READY
)
_LAST_VECTOR = select(func.max(VectorRow.passage_id)).where(_in_collection)
_VECTOR_COUNT = select(func.count()).where(_in_collection)
_NEXT_VECTORS = (
    select(VectorRow.passage_id, VectorRow.vector)
    .where(_in_collection, VectorRow.passage_id > bindparam("after"))
    .order_by(VectorRow.passage_id)
    .limit(_CHUNK)
)

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A passage near a query; `stands_out` if it is nearer than the nearest of so many would be by chance."""

    passage_id: int
    similarity: float
    stands_out: bool


class _Version(NamedTuple):
    """A cheap fingerprint of a collection's passages."""

    documents: int
    passages: int
    last_id: int


@dataclass(frozen=True, slots=True)
class _Block:
    ids: "NDArray[np.int64]"
    vectors: "NDArray[np.float32]"


@dataclass(frozen=True, slots=True)
class _Vectors:
    """A collection's vectors, `width` bytes each; `count` includes those skipped for another width."""

    version: _Version
    count: int
    width: int
    blocks: tuple[_Block, ...]

    @property
    def size(self) -> int:
        return sum(block.vectors.nbytes for block in self.blocks)


class VectorIndex:
    """The vectors of the last searched collections, up to `max_bytes`; a larger collection has no neighbours."""

    def __init__(self, database: Database, max_bytes: int = MAX_BYTES) -> None:
        self._database = database
        self._max_bytes = max_bytes
        self._cache: OrderedDict[str, _Vectors] = OrderedDict()
        self._locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def nearest(self, collection_id: str, query: bytes, limit: int) -> list[Neighbour]:
        """The passages with the nearest vectors, nearest first.

        Some of them may be of documents that are not ready. There are none if the collection's vectors have another
        length than the query's, because the model has changed.
        """
        async with self._locks[collection_id]:
            vectors = await self._current(collection_id)
        if vectors is None:
            return []
        if vectors.width != len(query):
            log.warning("vectors_of_another_length", collection=collection_id)
            return []
        return await asyncio.to_thread(_nearest, vectors.blocks, query, limit)

    async def _current(self, collection_id: str) -> _Vectors | None:
        cached = self._cache.pop(collection_id, None)
        vectors = await self._database.read(
            lambda connection: _refreshed(connection, collection_id, cached, self._max_bytes)
        )
        if vectors is not None:
            self._cache[collection_id] = vectors
            while sum(entry.size for entry in self._cache.values()) > self._max_bytes:
                self._cache.popitem(last=False)
        return vectors


def _refreshed(connection: Connection, collection_id: str, cached: _Vectors | None, max_bytes: int) -> _Vectors | None:
    """The collection's vectors, from the cache if unchanged; None if there are none, or too many."""
    parameters = {"collection_id": collection_id}
    documents, passages = connection.execute(_READY_DOCUMENTS, parameters).one()
    version = _Version(documents, passages, connection.scalar(_LAST_VECTOR, parameters) or 0)
    if cached is not None and cached.version == version:
        return cached
    count = connection.scalar(_VECTOR_COUNT, parameters)
    if not count:
        return None
    if cached is not None and cached.count <= count and cached.version.last_id <= version.last_id:
        # Ids only grow: unless some were deleted, the missing ones come after the cached ones.
        extended = _extended(connection, collection_id, cached, version, max_bytes)
        if extended is None or extended.count == count:
            return extended
    return _extended(connection, collection_id, _Vectors(version, 0, 0, ()), version, max_bytes)


def _extended(
    connection: Connection, collection_id: str, cached: _Vectors, version: _Version, max_bytes: int
) -> _Vectors | None:
    """The cached vectors and those after them; None if they are too many."""
    after = cached.version.last_id if cached.count else 0
    blocks, count, width = list(cached.blocks), cached.count, cached.width
    while rows := connection.execute(_NEXT_VECTORS, {"collection_id": collection_id, "after": after}).all():
        width = width or len(rows[0][1])
        count += len(rows)
        if count * width > max_bytes:
            log.warning("vectors_too_large", collection=collection_id)
            return None
        block = _block(rows, width)
        # Small blocks are joined, or thousands of small documents would be thousands of blocks.
        if blocks and len(blocks[-1].ids) + len(block.ids) <= _CHUNK:
            block = _joined(blocks.pop(), block)
        blocks.append(block)
        after = rows[-1][0]
    return _Vectors(version, count, width, tuple(blocks))


def _block(rows: Sequence[Row[int, bytes]], width: int) -> _Block:
    import numpy as np

    pairs = [(id, vector) for id, vector in rows if len(vector) == width]
    numbers = np.frombuffer(b"".join(vector for _, vector in pairs), dtype="<f4")
    return _Block(np.array([id for id, _ in pairs], dtype=np.int64), numbers.reshape(len(pairs), width // 4))


def _joined(first: _Block, second: _Block) -> _Block:
    import numpy as np

    return _Block(np.concatenate([first.ids, second.ids]), np.concatenate([first.vectors, second.vectors]))


def _nearest(blocks: Sequence[_Block], query: bytes, limit: int) -> list[Neighbour]:
    import numpy as np

    vector = np.frombuffer(query, dtype="<f4")
    # Not `@`: the threads of the library behind it spin while they wait for each other, at ten times the cost on a
    # busy machine.
    similarities = np.concatenate([np.einsum("ij,j->i", block.vectors, vector) for block in blocks])
    ids = np.concatenate([block.ids for block in blocks])
    count = len(similarities)
    nearest = np.argpartition(similarities, -limit)[-limit:] if limit < count else np.arange(count)
    nearest = nearest[np.argsort(-similarities[nearest], kind="stable")]
    # About where the largest of that many normally distributed numbers is expected.
    threshold = similarities.mean() + similarities.std() * (math.sqrt(2 * math.log(max(count, 2))) + _MARGIN)
    return [
        Neighbour(int(ids[index]), float(similarities[index]), bool(similarities[index] >= threshold))
        for index in nearest
    ]
