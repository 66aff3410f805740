"""Comparing a question's vector with all of a collection's: brute force, in memory.

100,000 vectors of 384 numbers are 154 MB.
"""

import asyncio
import math
from collections import OrderedDict, defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import structlog
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from app.knowledge.models import VectorRow

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


@dataclass(frozen=True, slots=True)
class _Matrix:
    """The vectors of a collection; `count` and `last` say what state of the table they are of."""

    count: int
    last: int
    ids: "NDArray[np.int64]"
    rows: "NDArray[np.float32]"


class VectorIndex:
    """The vectors of the collections that were searched last, of up to `max_bytes`; a larger one is not searched."""

    def __init__(self, max_bytes: int = MAX_BYTES) -> None:
        self._max_bytes = max_bytes
        self._matrices: OrderedDict[str, _Matrix] = OrderedDict()
        self._locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def nearest(
        self, connection: AsyncConnection, collection_id: str, question: bytes, limit: int
    ) -> list[Similar]:
        """The passages whose vectors are nearest to the question's, nearest first, deleted ones left out.

        Gives none when the collection's vectors are of another length than the question's: its model has changed.
        """
        async with self._locks[collection_id]:
            matrix = await self._current(connection, collection_id)
        if matrix is None or not len(matrix.ids):
            return []
        if matrix.rows.shape[1] * 4 != len(question):
            log.warning("searching by words alone: the vectors have another length", collection=collection_id)
            return []
        return await asyncio.to_thread(_nearest, matrix, question, limit)

    async def _current(self, connection: AsyncConnection, collection_id: str) -> _Matrix | None:
        state = select(func.count(), func.max(VectorRow.passage_id)).where(VectorRow.collection_id == collection_id)
        count, last = (await connection.execute(state)).one()
        held = self._matrices.pop(collection_id, None)
        if not count:
            return None
        if held is None or (held.count, held.last) != (count, last):
            # Ids only grow: when nothing was deleted, what is missing is what comes behind.
            appended = held if held is not None and held.last < last else None
            held = await self._load(connection, collection_id, appended, count, last)
            if held is not None and held.count != count:
                held = await self._load(connection, collection_id, None, count, last)
        if held is not None:
            self._matrices[collection_id] = held
            self._shrink()
        return held

    async def _load(
        self, connection: AsyncConnection, collection_id: str, held: _Matrix | None, count: int, last: int
    ) -> _Matrix | None:
        import numpy as np

        after = held.last if held else 0
        ids: list[int] = []
        blobs: list[bytes] = []
        width = held.rows.shape[1] * 4 if held else 0
        while True:
            statement = (
                select(VectorRow.passage_id, VectorRow.vector)
                .where(VectorRow.collection_id == collection_id, VectorRow.passage_id > after)
                .order_by(VectorRow.passage_id)
                .limit(_CHUNK)
            )
            rows = (await connection.execute(statement)).all()
            for id, vector in rows:
                width = width or len(vector)
                if len(vector) == width:
                    ids.append(id)
                    blobs.append(vector)
            if width * count > self._max_bytes:
                log.warning("searching by words alone: the vectors take too much memory", collection=collection_id)
                return None
            if len(rows) < _CHUNK:
                break
            after = rows[-1][0]
        new_ids = np.array(ids, dtype=np.int64)
        new_rows = np.frombuffer(b"".join(blobs), dtype="<f4").reshape(len(ids), width // 4)
        if held:
            new_ids = np.concatenate([held.ids, new_ids])
            new_rows = np.concatenate([held.rows, new_rows])
        return _Matrix(len(new_ids) if held else count, last, new_ids, new_rows)

    def _shrink(self) -> None:
        while sum(matrix.rows.nbytes for matrix in self._matrices.values()) > self._max_bytes:
            self._matrices.popitem(last=False)


def _nearest(matrix: _Matrix, question: bytes, limit: int) -> list[Similar]:
    import numpy as np

    similarities = matrix.rows @ np.frombuffer(question, dtype="<f4")
    count = len(similarities)
    nearest = np.argpartition(-similarities, limit - 1)[:limit] if limit < count else np.arange(count)
    nearest = nearest[np.argsort(-similarities[nearest], kind="stable")]
    # Of that many numbers of a normal distribution the largest is expected about here.
    threshold = similarities.mean() + similarities.std() * (math.sqrt(2 * math.log(max(count, 2))) + _MARGIN)
    return [
        Similar(int(matrix.ids[at]), float(similarities[at]), bool(similarities[at] >= threshold)) for at in nearest
    ]
