"""Comparing a question's vector with all of a collection's: brute force, in memory.

100,000 vectors of 384 numbers are 154 MB.
"""

import asyncio
import math
from collections import OrderedDict, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

import structlog
from sqlalchemy import Row, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from app.knowledge.models import DocumentRow, DocumentStatus, VectorRow

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MAX_BYTES: Final = 768 * 1024**2
_CHUNK: Final = 5_000
_MARGIN: Final = 1.0

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Similar:
    """A passage near a question. `stands_out` says that it is nearer than chance puts the nearest of so many."""

    passage_id: int
    similarity: float
    stands_out: bool


class _State(NamedTuple):
    """What changes when passages are added or deleted, and is quick to ask for."""

    documents: int
    passages: int
    last: int


@dataclass(frozen=True, slots=True)
class _Block:
    ids: "NDArray[np.int64]"
    rows: "NDArray[np.float32]"


@dataclass(frozen=True, slots=True)
class _Vectors:
    """The vectors of a collection, `width` bytes each, as the table had them when it was in that state.

    `count` counts those that were left out for their length too.
    """

    state: _State
    count: int
    width: int
    blocks: tuple[_Block, ...]


class VectorIndex:
    """The vectors of the collections that were searched last, of up to `max_bytes`; a larger one is not searched."""

    def __init__(self, max_bytes: int = MAX_BYTES) -> None:
        self._max_bytes = max_bytes
        self._held: OrderedDict[str, _Vectors] = OrderedDict()
        self._locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def nearest(
        self, connection: AsyncConnection, collection_id: str, question: bytes, limit: int
    ) -> list[Similar]:
        """The passages whose vectors are nearest to the question's, nearest first.

        Those of documents that are not ready may be among them. Gives none when the collection's vectors are of another
        length than the question's: its model has changed.
        """
        async with self._locks[collection_id]:
            vectors = await self._current(connection, collection_id)
        if vectors is None:
            return []
        if vectors.width != len(question):
            log.warning("searching by words alone: the vectors have another length", collection=collection_id)
            return []
        return await asyncio.to_thread(_nearest, vectors.blocks, question, limit)

    async def _current(self, connection: AsyncConnection, collection_id: str) -> _Vectors | None:
        state = await _state(connection, collection_id)
        held = self._held.pop(collection_id, None)
        if held is None or held.state != state:
            held = await self._renewed(connection, collection_id, held, state)
        if held is not None:
            self._held[collection_id] = held
            while sum(_size(vectors) for vectors in self._held.values()) > self._max_bytes:
                self._held.popitem(last=False)
        return held

    async def _renewed(
        self, connection: AsyncConnection, collection_id: str, held: _Vectors | None, state: _State
    ) -> _Vectors | None:
        statement = select(func.count()).where(VectorRow.collection_id == collection_id)
        count = (await connection.execute(statement)).scalar_one()
        if not count:
            return None
        if held is not None and held.count <= count and held.state.last <= state.last:
            # Ids only grow: unless some were deleted, what is missing comes behind.
            longer = await self._load(connection, collection_id, held, state)
            if longer is None or longer.count == count:
                return longer
        return await self._load(connection, collection_id, _Vectors(state, 0, 0, ()), state)

    async def _load(
        self, connection: AsyncConnection, collection_id: str, held: _Vectors, state: _State
    ) -> _Vectors | None:
        """What is held and what comes behind it; None when that is too much."""
        after = held.state.last if held.count else 0
        blocks, count, width = list(held.blocks), held.count, held.width
        while True:
            statement = (
                select(VectorRow.passage_id, VectorRow.vector)
                .where(VectorRow.collection_id == collection_id, VectorRow.passage_id > after)
                .order_by(VectorRow.passage_id)
                .limit(_CHUNK)
            )
            rows = (await connection.execute(statement)).all()
            if not rows:
                break
            width = width or len(rows[0][1])
            count += len(rows)
            if count * width > self._max_bytes:
                log.warning("searching by words alone: the vectors take too much memory", collection=collection_id)
                return None
            block = _block(rows, width)
            # Small ones are joined, or thousands of small documents would be thousands of blocks.
            if blocks and len(blocks[-1].ids) + len(block.ids) <= _CHUNK:
                block = _joined(blocks.pop(), block)
            blocks.append(block)
            after = rows[-1][0]
        return _Vectors(state, count, width, tuple(blocks))


async def _state(connection: AsyncConnection, collection_id: str) -> _State:
    documents = select(func.count(), func.sum(DocumentRow.passage_count)).where(
        DocumentRow.collection_id == collection_id, DocumentRow.status == DocumentStatus.READY
    )
    last = select(func.max(VectorRow.passage_id)).where(VectorRow.collection_id == collection_id)
    count, passages = (await connection.execute(documents)).one()
    return _State(count, passages or 0, (await connection.execute(last)).scalar() or 0)


def _size(vectors: _Vectors) -> int:
    return sum(block.rows.nbytes for block in vectors.blocks)


def _block(rows: Sequence[Row[int, bytes]], width: int) -> _Block:
    import numpy as np

    fitting = [(id, vector) for id, vector in rows if len(vector) == width]
    numbers = np.frombuffer(b"".join(vector for _, vector in fitting), dtype="<f4")
    return _Block(np.array([id for id, _ in fitting], dtype=np.int64), numbers.reshape(len(fitting), width // 4))


def _joined(first: _Block, second: _Block) -> _Block:
    import numpy as np

    return _Block(np.concatenate([first.ids, second.ids]), np.concatenate([first.rows, second.rows]))


def _nearest(blocks: Sequence[_Block], question: bytes, limit: int) -> list[Similar]:
    import numpy as np

    vector = np.frombuffer(question, dtype="<f4")
    # Not `@`: the threads of the library behind it wait for each other by turning, at ten times the cost on a busy
    # machine.
    similarities = np.concatenate([np.einsum("ij,j->i", block.rows, vector) for block in blocks])
    ids = np.concatenate([block.ids for block in blocks])
    count = len(similarities)
    nearest = np.argpartition(similarities, -limit)[-limit:] if limit < count else np.arange(count)
    nearest = nearest[np.argsort(-similarities[nearest], kind="stable")]
    # Of that many numbers of a normal distribution the largest is expected about here.
    threshold = similarities.mean() + similarities.std() * (math.sqrt(2 * math.log(max(count, 2))) + _MARGIN)
    return [Similar(int(ids[at]), float(similarities[at]), bool(similarities[at] >= threshold)) for at in nearest]
