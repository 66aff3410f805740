"""Keys on the wire."""

from datetime import datetime
from typing import Annotated, Any, Self

import msgspec
from msgspec import UNSET, Meta, UnsetType

from app.auth.checks import MAX_NAME_CHARS, MAX_USERNAME_CHARS, TEXT_PATTERN
from app.auth.limits import NO_LIMITS, Budget, Count, KeyLimits, Names, Period, Rates
from app.auth.models import ApiKey, KeyStatus
from app.auth.scopes import Scope
from app.auth.service import MAX_EXPIRY_DAYS, MAX_OVERLAP
from app.clock import utc_now
from app.edge.schemas import DateTime, example, shape_of

MAX_KEY_BODY_BYTES = 16 * 1024

KeyId = Annotated[str, example("5f0c7c6e-6b0a-4f0e-9a55-2f6f6f2f9d11")]


class BudgetItem(msgspec.Struct):
    """How much a day, a week or a month may use."""

    per: Period
    tokens: int | None
    cost: float | None


class RatesItem(msgspec.Struct):
    """The limits of each end user of a key."""

    rpm_limit: int | None
    tpm_limit: int | None
    max_parallel_requests: int | None
    budget: BudgetItem | None


def limits_of(limits: KeyLimits | None) -> dict[str, Any]:
    """The members of a key that are limits."""
    members: dict[str, Any] = msgspec.to_builtins(limits or NO_LIMITS)
    return members


class ApiKeyItem(msgspec.Struct, kw_only=True):
    """A key without its text: `prefix` is how the text begins.

    `status` is `live`, `blocked`, `expired` or `revoked`. `previous_expires_at` is set by a rotation with an overlap:
    until then the text before it is good too. `created_by` is the key that created this one over HTTP, and with which
    it ends.
    """

    key_id: KeyId
    name: Annotated[str, example("shop")]
    prefix: Annotated[str, example("plv_8fKq2L")]
    scopes: Annotated[list[Scope], example(["chat", "file"])]
    username: str | None
    status: Annotated[KeyStatus, example("live")]
    created_at: DateTime
    expires_at: Annotated[DateTime | None, example(None)]
    revoked_at: Annotated[DateTime | None, example(None)]
    last_used_at: Annotated[DateTime | None, example("2026-11-21T01:25:00.102003+00:00")]
    previous_expires_at: Annotated[DateTime | None, example(None)]
    created_by: Annotated[str | None, example(None)]
    blocked: Annotated[bool, example(False)]
    models: Annotated[list[str] | None, example(None)]
    configs: Annotated[list[str] | None, example(None)]
    ip_ranges: Annotated[list[str] | None, example(None)]
    rpm_limit: Annotated[int | None, example(60)]
    tpm_limit: Annotated[int | None, example(None)]
    max_parallel_requests: Annotated[int | None, example(None)]
    budget: Annotated[BudgetItem | None, example({"per": "month", "tokens": 1_000_000, "cost": None})]
    per_user: Annotated[RatesItem | None, example(None)]

    @classmethod
    def of(cls, api_key: ApiKey, now: datetime, **fields: str) -> Self:
        """`now` is the keys' own time, which the system's may be behind."""
        return shape_of(
            cls,
            api_key,
            key_id=api_key.id,
            scopes=api_key.sorted_scopes,
            status=api_key.status(max(utc_now(), now)),
            created_by=api_key.parent_id,
            **limits_of(api_key.limits),
            **fields,
        )


class NewApiKey(ApiKeyItem, kw_only=True):
    """A key with its text, `key`, which is shown this once."""

    # No key that works, and none that a scanner takes for one: the text of an example is copied by someone, some day.
    key: Annotated[str, example("plv_<shown once>")]


class ApiKeyList(msgspec.Struct):
    api_keys: list[ApiKeyItem]


class LimitFields(msgspec.Struct, kw_only=True):
    """The limits of a key; null takes one away."""

    models: Names | UnsetType | None = UNSET
    configs: Names | UnsetType | None = UNSET
    ip_ranges: Names | UnsetType | None = UNSET
    rpm_limit: Count | UnsetType | None = UNSET
    tpm_limit: Count | UnsetType | None = UNSET
    max_parallel_requests: Count | UnsetType | None = UNSET
    budget: Budget | UnsetType | None = UNSET
    per_user: Rates | UnsetType | None = UNSET

    @property
    def limits(self) -> dict[str, Any]:
        """The limits that are given."""
        values = {name: getattr(self, name) for name in LimitFields.__struct_fields__}
        return {name: value for name, value in values.items() if value is not UNSET}


class CreateApiKeyRequest(LimitFields, kw_only=True):
    """`username` binds the key to one user; without `expires_in_days` it does not expire."""

    name: Annotated[str, Meta(max_length=MAX_NAME_CHARS, pattern=TEXT_PATTERN)]
    scopes: Annotated[list[Scope], Meta(min_length=1)]
    username: Annotated[str, Meta(max_length=MAX_USERNAME_CHARS, pattern=TEXT_PATTERN)] | None = None
    expires_in_days: Annotated[float, Meta(gt=0, le=MAX_EXPIRY_DAYS)] | None = None


class ChangeApiKeyRequest(LimitFields, kw_only=True):
    """What is not given stays; a limit of null is taken away."""

    name: Annotated[str, Meta(max_length=MAX_NAME_CHARS, pattern=TEXT_PATTERN)] | None = None
    scopes: Annotated[list[Scope], Meta(min_length=1)] | None = None
    blocked: bool | None = None


class RotateApiKeyRequest(msgspec.Struct, kw_only=True):
    """For how many seconds, seven days at most, the old text stays good beside the new one; 0 ends it at once."""

    overlap_seconds: Annotated[float, Meta(ge=0, le=MAX_OVERLAP.total_seconds())] = 0.0


class DeletedApiKey(msgspec.Struct):
    key_id: KeyId
