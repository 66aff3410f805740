"""The model servers by their ids."""

import asyncio
from collections.abc import Sequence

from app.providers.client import MAX_REPLY_BYTES, Provider
from app.providers.embedded import embedded_provider
from app.providers.models import ProviderSpec
from app.providers.network import Network


class ProviderRegistry:
    """Every provider, in the order of their specs; without a spec, the embedded model alone.

    `default_id` None means the first. `max_reply_bytes` limits the text of a reply. Raises ValueError when two specs
    share an id, and when no provider has the default's.
    """

    def __init__(
        self, specs: Sequence[ProviderSpec], default_id: str | None = None, *, max_reply_bytes: int = MAX_REPLY_BYTES
    ) -> None:
        ids = [spec.id for spec in specs]
        if duplicates := {id for id in ids if ids.count(id) > 1}:
            raise ValueError(f"two providers have the id {min(duplicates)}")
        network = Network() if specs else None
        providers = [Provider(spec, max_reply_bytes=max_reply_bytes, network=network) for spec in specs]
        self._providers = {provider.id: provider for provider in providers or [embedded_provider(max_reply_bytes)]}
        if default_id is not None and default_id not in self._providers:
            raise ValueError(f"the default provider {default_id} is not among the providers")
        self.default = self._providers[default_id or next(iter(self._providers))]

    @property
    def ids(self) -> list[str]:
        return list(self._providers)

    def get(self, id: str) -> Provider:
        """The provider with that id. Raises KeyError."""
        return self._providers[id]

    async def close(self) -> None:
        """Close every connection to a model server."""
        await asyncio.gather(*(provider.close() for provider in self._providers.values()))
