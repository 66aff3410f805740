"""Embeddings from model servers, checked: a model server may answer anything."""

import asyncio
import time
from collections.abc import Sequence
from typing import Any, Final

import msgspec
import structlog

from app.knowledge.models import PassageItem
from app.providers.client import Provider
from app.providers.models import UpstreamError
from app.providers.service import ProviderRegistry
from app.usage.embeddings import EmbeddingUsage, tokens_of
from app.workers.turns import NOBODY, Caller

BATCH: Final = 64
MAX_TEXT_CHARS: Final = 8_000
MAX_DIMENSIONS: Final = 8_192
_TEMPORARY: Final = frozenset({408, 409, 425, 429})

log = structlog.get_logger(__name__)


class EmbeddingsFailed(Exception):
    """A model server's failure to answer with embeddings.

    `message` may be shown to anyone, `detail` is for the log. If it `is_temporary`, a retry may succeed.
    """

    def __init__(self, message: str, *, detail: str = "", is_temporary: bool) -> None:
        super().__init__(message)
        self.message = message
        self.detail = detail
        self.is_temporary = is_temporary


class _Embedding(msgspec.Struct, frozen=True):
    embedding: list[float]
    index: int | None = None


class _Answer(msgspec.Struct, frozen=True):
    data: list[_Embedding]


_decoder = msgspec.json.Decoder(_Answer)


class Embedder:
    """Embeddings of passages and questions, from the model servers of `providers`.

    A question waits for at most `question_seconds`. After a failure its model is not asked for `rest_seconds`, so that
    not every question waits in vain. `usage` counts what they use.
    """

    def __init__(
        self,
        providers: ProviderRegistry,
        usage: EmbeddingUsage | None = None,
        *,
        question_seconds: float = 3.0,
        rest_seconds: float = 10.0,
    ) -> None:
        self._providers = providers
        self._usage = usage
        self._question_seconds = question_seconds
        self._rest_seconds = rest_seconds
        self._resting_until: dict[tuple[str, str], float] = {}

    async def of_passages(
        self, provider_id: str, model: str, passages: Sequence[PassageItem], caller: Caller = NOBODY
    ) -> list[bytes]:
        """A vector for each passage, of at most BATCH, as stored: float32, little-endian, of length 1.

        Raises EmbeddingsFailed.
        """
        texts = [f"{passage.heading}\n{passage.text}" if passage.heading else passage.text for passage in passages]
        vectors, tokens = await self._embed(provider_id, model, texts)
        await self._count(provider_id, model, tokens, caller)
        return vectors

    async def of_question(self, provider_id: str, model: str, question: str, caller: Caller = NOBODY) -> bytes | None:
        """The question's vector, as stored; None, with a warning in the log, if it does not come in time."""
        key = (provider_id, model)
        if self._resting_until.get(key, 0.0) > time.monotonic():
            return None
        try:
            async with asyncio.timeout(self._question_seconds):
                (vector,), tokens = await self._embed(provider_id, model, [question])
        except (EmbeddingsFailed, TimeoutError) as error:
            self._resting_until[key] = time.monotonic() + self._rest_seconds
            reason = (error.detail or error.message) if isinstance(error, EmbeddingsFailed) else "it took too long"
            log.warning("question_not_embedded", provider=provider_id, model=model, reason=reason)
            return None
        await self._count(provider_id, model, tokens, caller)
        return vector

    async def _count(self, provider_id: str, model: str, tokens: int, caller: Caller) -> None:
        if self._usage is not None:
            await self._usage.record(provider_id, model, tokens, key_id=caller.key_id, username=caller.username)

    async def _embed(self, provider_id: str, model: str, texts: Sequence[str]) -> tuple[list[bytes], int]:
        """The vectors of the texts, and the tokens that they took. Raises EmbeddingsFailed."""
        provider = self._provider(provider_id)
        body: dict[str, Any] = {
            "model": model,
            "input": [text[:MAX_TEXT_CHARS] for text in texts],
            "encoding_format": "float",
        }
        try:
            answer = await provider.call("/embeddings", body)
        except UpstreamError as error:
            is_temporary = error.status is None or error.status >= 500 or error.status in _TEMPORARY
            raise EmbeddingsFailed(error.message, detail=error.detail, is_temporary=is_temporary) from None
        return await asyncio.to_thread(lambda: (_vectors_in(answer, len(texts)), tokens_of(answer, body["input"])))

    def _provider(self, provider_id: str) -> Provider:
        try:
            return self._providers.get(provider_id)
        except KeyError:
            message = "The model server for embeddings is not configured any more"
            raise EmbeddingsFailed(message, detail=f"there is no provider {provider_id}", is_temporary=False) from None


def _vectors_in(answer: bytes, count: int) -> list[bytes]:
    """The vectors of an answer in OpenAI's shape, in the order of the texts. Raises EmbeddingsFailed."""
    import numpy as np

    try:
        data = _decoder.decode(answer).data
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise _invalid(str(error)) from None
    if len(data) != count:
        raise _invalid(f"{count} vectors were asked for and {len(data)} came")
    if all(item.index is not None for item in data):
        if sorted(item.index or 0 for item in data) != list(range(count)):
            raise _invalid("its vectors' numbers are not those of the texts")
        data = sorted(data, key=lambda item: item.index or 0)
    dimensions = len(data[0].embedding)
    if not 0 < dimensions <= MAX_DIMENSIONS or any(len(item.embedding) != dimensions for item in data):
        raise _invalid("its vectors have different lengths, or no possible one")
    vectors = np.array([item.embedding for item in data], dtype=np.float64)
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    if not np.isfinite(lengths).all() or not (lengths > 0).all():
        raise _invalid("its vectors are zero or not finite")
    return [vector.tobytes() for vector in (vectors / lengths).astype("<f4")]


def _invalid(detail: str) -> EmbeddingsFailed:
    message = "The model server's answer does not hold the embeddings that it was asked for"
    return EmbeddingsFailed(message, detail=detail, is_temporary=False)
