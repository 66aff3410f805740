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
        self._network: Network | None = Network() if specs else None
        self._max_reply_bytes = max_reply_bytes
        self._default_id = default_id
        self._configured = {spec.id: self._open(spec) for spec in specs}
        self._added: dict[str, Provider] = {}
        self._retired: list[Provider] = []
        if not specs:
            self._embedded = embedded_provider(max_reply_bytes)
        self._arrange()
        if default_id is not None and default_id not in self._configured:
            raise ValueError(f"the default provider {default_id} is not among the providers")

    @property
    def ids(self) -> list[str]:
        return list(self._providers)

    @property
    def configured_ids(self) -> list[str]:
        """The ids of the providers of the settings, or of the embedded model."""
        return list(self._configured) or [self._embedded.id]

    def get(self, id: str) -> Provider:
        """The provider with that id. Raises KeyError."""
        return self._providers[id]

    def set_added(self, specs: Sequence[ProviderSpec]) -> None:
        """Have these providers beside those of the settings, which come first; replies that go on keep theirs."""
        added = {spec.id: spec for spec in specs if spec.id not in self.configured_ids}
        kept = {id: each for id, each in self._added.items() if added.get(id) == each.spec}
        self._retired += [each for id, each in self._added.items() if id not in kept]
        self._added = {id: kept.get(id) or self._open(spec) for id, spec in added.items()}
        self._arrange()

    async def close(self) -> None:
        """Close every connection to a model server."""
        everyone = [*self._providers.values(), *self._retired]
        await asyncio.gather(*(provider.close() for provider in everyone))

    def _open(self, spec: ProviderSpec) -> Provider:
        if self._network is None:
            self._network = Network()
        return Provider(spec, max_reply_bytes=self._max_reply_bytes, network=self._network)

    def _arrange(self) -> None:
        """Put the providers in their order; the embedded model is the default only as long as there is no other."""
        own = self._configured or {self._embedded.id: self._embedded}
        providers = {**own, **self._added}
        first = next(iter(self._configured or self._added or own))
        self._providers = providers
        self.default = providers.get(self._default_id or first) or providers[first]
