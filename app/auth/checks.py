"""Checks of what a caller says of a key, and the keys of the settings."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import msgspec

from app.auth.limits import KeyLimits, checked
from app.auth.models import Principal, check_not_reserved
from app.auth.scopes import Scope
from app.crypto import SecretBox
from app.errors import BadRequest

MAX_NAME_CHARS: Final = 100
MAX_USERNAME_CHARS: Final = 255
# No control characters, which a terminal or a log would act upon, and something besides blanks.
TEXT_PATTERN: Final = r"^[^\S\x00-\x1f\x7f-\x9f]*[^\s\x00-\x1f\x7f-\x9f][^\x00-\x1f\x7f-\x9f]*\Z"


def check_scopes(names: Iterable[str]) -> frozenset[Scope]:
    scopes = set()
    for name in names:
        try:
            scopes.add(Scope(name))
        except ValueError:
            raise BadRequest(f"Unknown scope: {name} (known: {', '.join(Scope)})", code="unknown_scope") from None
    if not scopes:
        raise BadRequest("A key needs at least one scope", code="missing_scope")
    return frozenset(scopes)


def check_text(field: str, value: str, limit: int) -> str:
    value = value.strip()
    if not value:
        raise BadRequest(f"{field} is empty", code="invalid_request")
    if len(value) > limit or not re.fullmatch(TEXT_PATTERN, value):
        raise BadRequest(f"{field} must be at most {limit} characters, no control characters", code="invalid_request")
    return value


def _limits_of(entry: Mapping[str, Any]) -> KeyLimits | None:
    try:
        return checked(msgspec.convert(entry["limits"], KeyLimits))
    except msgspec.ValidationError as error:
        raise BadRequest(f"the limits of the key {entry['name']}: {error}", code="invalid_request") from None


def operator_keys(entries: Sequence[Mapping[str, Any]], secrets: SecretBox) -> list[Principal]:
    """Make the callers of the operator's keys, which are of any form: `key`, `name`, `scopes`, `username`.

    The id is made of the key's hash, so that it is the same after a restart. Raises BadRequest for an unknown scope,
    a reserved username and limits that are none.
    """
    for entry in entries:
        check_not_reserved(entry["username"] or "")
    return [
        Principal(
            key_id=f"op_{digest.hex()[:24]}",
            name=entry["name"],
            scopes=check_scopes(entry["scopes"]),
            username=entry["username"],
            digest=digest,
            limits=_limits_of(entry),
        )
        for entry, digest in ((entry, secrets.digest(entry["key"].encode())) for entry in entries)
    ]
