"""Embeddings: asked of a model server, and compared."""

from collections.abc import Sequence

from app.knowledge.index import Prepared
from app.providers.service import ProviderRegistry


class EmbeddingsFailed(Exception):
    """The model server did not give the embeddings that it was asked for.

    `message` may be shown to anyone, `detail` is for the log; with `temporary` the same request may well do later.
    """

    def __init__(self, message: str, *, detail: str = "", temporary: bool) -> None:
        super().__init__(message)
        self.message = message
        self.detail = detail
        self.temporary = temporary


class Embedder:
    """Embeddings of passages and questions, by the model servers among `providers`."""

    def __init__(self, providers: ProviderRegistry) -> None:
        self._providers = providers

    async def of_passages(self, provider_id: str, model: str, passages: Sequence[Prepared]) -> list[bytes]:
        """A vector for each passage, as it is stored. Raises EmbeddingsFailed."""
        raise EmbeddingsFailed("Embeddings are not there yet", temporary=False)
