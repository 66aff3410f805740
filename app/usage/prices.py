"""Prices of models, as the operator has written them down."""

from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Final

from app.providers.models import Usage

NANOS: Final = 10**9
"""Costs are counted in thousand millionths of the operator's currency, as integers, which add up."""
_TOKENS: Final = 10**6


@dataclass(frozen=True, slots=True)
class Price:
    """The price of a million tokens; of a prompt's cached tokens, that of the others unless it is given."""

    input: float
    output: float
    cached: float | None = None

    def of(self, usage: Usage) -> int:
        """The price of one reply, in nanos."""
        cached = self.input if self.cached is None else self.cached
        fresh = usage.prompt_tokens - usage.cached_tokens
        price = fresh * self.input + usage.cached_tokens * cached + usage.completion_tokens * self.output
        return round(price * NANOS / _TOKENS)


class PriceTable:
    """Prices by `<provider>/<model>`, by model, or by a pattern of either; what has no price costs nothing."""

    def __init__(self, prices: Mapping[str, Price]) -> None:
        self.prices = dict(prices)

    def find(self, provider_id: str, model: str) -> Price | None:
        names = (f"{provider_id}/{model}", model)
        for name in names:
            if (price := self.prices.get(name)) is not None:
                return price
        for pattern, price in self.prices.items():
            if any(fnmatchcase(name, pattern) for name in names):
                return price
        return None

    def cost(self, provider_id: str, model: str, usage: Usage) -> int:
        """What a reply costs, in nanos."""
        price = self.find(provider_id, model) if self.prices else None
        return 0 if price is None else price.of(usage)
