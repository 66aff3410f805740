"""Keys on the wire."""

from typing import Annotated

import msgspec
from msgspec import Meta, structs

from app.auth.models import ApiKey, KeyStatus
from app.auth.scopes import Scope
from app.auth.service import MAX_EXPIRY_DAYS, MAX_NAME_CHARS, MAX_OVERLAP, MAX_USERNAME_CHARS, TEXT_PATTERN
from app.clock import iso, iso_or_none, utc_now

MAX_KEY_BODY_BYTES = 16 * 1024


class ApiKeyItem(msgspec.Struct, kw_only=True):
    """A key without its text: `prefix` is how the text begins.

    `status` is `live`, `expired` or `revoked`. `previous_expires_at` is set by a rotation with an overlap: until then
    the text before it is good too.
    """

    key_id: str
    name: str
    prefix: str
    scopes: list[Scope]
    username: str | None
    status: KeyStatus
    created_at: str
    expires_at: str | None
    revoked_at: str | None
    last_used_at: str | None
    previous_expires_at: str | None

    @staticmethod
    def of(key: ApiKey) -> "ApiKeyItem":
        return ApiKeyItem(
            key_id=key.id,
            name=key.name,
            prefix=key.prefix,
            scopes=key.sorted_scopes,
            username=key.username,
            status=key.status(utc_now()),
            created_at=iso(key.created_at),
            expires_at=iso_or_none(key.expires_at),
            revoked_at=iso_or_none(key.revoked_at),
            last_used_at=iso_or_none(key.last_used_at),
            previous_expires_at=iso_or_none(key.previous_expires_at),
        )


class NewApiKey(ApiKeyItem, kw_only=True):
    """A key with its text, `key`, which is shown this once."""

    key: str

    @staticmethod
    def with_text(key: ApiKey, text: str) -> "NewApiKey":
        return NewApiKey(**structs.asdict(ApiKeyItem.of(key)), key=text)


class ApiKeyList(msgspec.Struct):
    api_keys: list[ApiKeyItem]


class CreateApiKeyRequest(msgspec.Struct, kw_only=True):
    """`username` binds the key to one user; without `expires_in_days` it does not expire."""

    name: Annotated[str, Meta(max_length=MAX_NAME_CHARS, pattern=TEXT_PATTERN)]
    scopes: Annotated[list[Scope], Meta(min_length=1)]
    username: Annotated[str, Meta(max_length=MAX_USERNAME_CHARS, pattern=TEXT_PATTERN)] | None = None
    expires_in_days: Annotated[float, Meta(gt=0, le=MAX_EXPIRY_DAYS)] | None = None


class RotateApiKeyRequest(msgspec.Struct, kw_only=True):
    """For how many seconds, seven days at most, the old text stays good beside the new one; 0 ends it at once."""

    overlap_seconds: Annotated[float, Meta(ge=0, le=MAX_OVERLAP.total_seconds())] = 0.0


class DeletedApiKey(msgspec.Struct):
    key_id: str
