"""The limits of a key: what it may use, from where, how fast, and for how much."""

from collections.abc import Sequence
from fnmatch import fnmatchcase
from functools import lru_cache
from ipaddress import ip_address, ip_network
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from app.errors import BadRequest, Forbidden

Period = Literal["day", "week", "month"]
MAX_ENTRIES = 100
BUDGET_EXCEEDED: Final = "budget_exceeded"
LIMIT_CODES: Final = ("rate_limited", "token_rate_limited", "too_many_parallel", BUDGET_EXCEEDED)
NOT_ALLOWED_CODES: Final = ("model_not_allowed", "config_not_allowed")

Count = Annotated[int, Meta(ge=1, le=10**12)]
Names = Annotated[tuple[Annotated[str, Meta(min_length=1, max_length=255)], ...], Meta(max_length=MAX_ENTRIES)]


class Budget(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How much a day, a week (from Monday) or a month in UTC may use; `cost` is by the prices in `palaver.toml`."""

    per: Period
    tokens: Annotated[int, Meta(ge=1, le=10**15)] | None = None
    cost: Annotated[float, Meta(gt=0, le=10**9)] | None = None

    def __post_init__(self) -> None:
        if self.tokens is None and self.cost is None:
            raise ValueError("budget needs tokens or cost")


class Rates(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How fast, and for how much: replies and tokens in any sixty seconds, replies at once, and a budget."""

    rpm_limit: Count | None = None
    tpm_limit: Count | None = None
    max_parallel_requests: Count | None = None
    budget: Budget | None = None

    @property
    def is_bounded(self) -> bool:
        """Whether there is any limit to count for."""
        return any(
            each is not None for each in (self.rpm_limit, self.tpm_limit, self.max_parallel_requests, self.budget)
        )


class KeyLimits(Rates, frozen=True, kw_only=True):
    """The limits of a key.

    `models` are names or patterns, of models or of `<provider>/<model>`; `configs` are profiles, the first the default.
    `ip_ranges` are those from which the key itself may be sent. `per_user` limits each of its end users.
    """

    models: Names | None = None
    configs: Names | None = None
    ip_ranges: Names | None = None
    per_user: Rates | None = None

    @property
    def default_config(self) -> str | None:
        """The profile of those who choose none."""
        return self.configs[0] if self.configs else None

    def admits_model(self, provider_id: str, model: str) -> bool:
        names = (model, f"{provider_id}/{model}")
        return self.models is None or any(fnmatchcase(name, each) for each in self.models for name in names)

    def admits_config(self, config_id: str) -> bool:
        return self.configs is None or config_id in self.configs

    def check_address(self, address: str | None) -> None:
        """Raises Forbidden for an address outside of the key's ranges."""
        if self.ip_ranges is not None and not _is_inside(address, self.ip_ranges):
            raise Forbidden("The API key may not be used from this address", code="address_not_allowed")


NO_LIMITS = KeyLimits()


def checked(limits: KeyLimits) -> KeyLimits | None:
    """Return the limits in their shortest form, None for none. Raises BadRequest for a range that is none."""
    for text in limits.ip_ranges or ():
        try:
            ip_network(text, strict=False)
        except ValueError:
            raise BadRequest(f"ip_ranges: {text[:64]} is not an address or a range", code="invalid_request") from None
    return None if limits == NO_LIMITS else limits


@lru_cache(maxsize=1024)
def _is_inside(address: str | None, ranges: Sequence[str]) -> bool:
    try:
        ip = ip_address((address or "").partition("%")[0])
    except ValueError:
        return False
    mapped = getattr(ip, "ipv4_mapped", None)
    return any((mapped or ip) in ip_network(each, strict=False) for each in ranges)
