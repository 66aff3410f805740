"""Making, checking and ending keys."""

import os
import re
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import structlog
from msgspec import structs
from sqlalchemy import Connection

from app.auth import store
from app.auth.keytext import VISIBLE_CHARS, is_well_formed, new_key_text
from app.auth.models import ANONYMOUS_ID, ApiKey, Principal, check_not_reserved
from app.auth.scopes import SEED_SCOPES, Scope
from app.clock import utc_now
from app.crypto import SecretBox
from app.database.engine import Database
from app.errors import BadRequest, Forbidden, Unauthorized

CACHE_SECONDS = 30.0
CACHE_ENTRIES = 10_000
LAST_USED_EVERY = timedelta(minutes=1)
MAX_OVERLAP = timedelta(days=7)
MAX_NAME_CHARS = 100
MAX_USERNAME_CHARS = 255
MAX_EXPIRY_DAYS = 36_500
# No control characters, which a terminal or a log would act upon, and something besides blanks.
TEXT_PATTERN = r"^[^\S\x00-\x1f\x7f-\x9f]*[^\s\x00-\x1f\x7f-\x9f][^\x00-\x1f\x7f-\x9f]*$"
log = structlog.get_logger(__name__)

ANONYMOUS = Principal(key_id=ANONYMOUS_ID, name="anonymous", scopes=SEED_SCOPES)


@dataclass(frozen=True, slots=True)
class _CachedKey:
    """A key with the end of the text by which it was looked up, if a rotation has set one."""

    key: ApiKey
    principal: Principal
    text_expires_at: datetime | None
    stale_at: float

    def is_live(self, now: datetime) -> bool:
        return self.key.status(now) == "live" and (self.text_expires_at is None or now < self.text_expires_at)


class KeyService:
    """Keys in the database, and the operator's beside them.

    Keys are cached for CACHE_SECONDS. The cache is dropped at once when any key changes: here, or in another process
    on the same data folder, which says so by making `change_file` one byte longer.

    Methods that manage keys take the `principal` who asks for it over HTTP; None is the operator at the command line.
    A caller bound to a username sees and manages only the keys bound to it: the others do not exist for it.
    """

    def __init__(
        self,
        database: Database,
        secrets: SecretBox,
        change_file: Path,
        operators: Sequence[Principal] = (),
    ) -> None:
        self._database = database
        self._secrets = secrets
        self._change_file = change_file
        self._change_path = str(change_file)
        self._operators = {principal.digest: principal for principal in operators}
        self._cache: dict[bytes, _CachedKey] = {}
        self._cache_generation: tuple[int, int] | None = None
        self._last_used: dict[str, datetime] = {}

    async def verify(self, text: str) -> Principal:
        """Find the caller by the text of its key. Raises Unauthorized `Invalid API key`."""
        digest = self._secrets.digest(text.encode())
        if operator := self._operators.get(digest):
            return operator
        cached = self._cached(digest)
        # A text that was looked up before was well-formed.
        if cached is None and is_well_formed(text):
            cached = await self._look_up(digest)
        now = utc_now()
        if cached is None or not cached.is_live(now):
            raise Unauthorized("Invalid API key", code="invalid_api_key")
        self._last_used[cached.key.id] = now
        return cached.principal

    async def is_live(self, principal: Principal) -> bool:
        """Check again the key behind a long connection: it may have ended, or been rotated away."""
        if principal == ANONYMOUS or principal.digest in self._operators:
            return True
        cached = self._cached(principal.digest) or await self._look_up(principal.digest)
        return cached is not None and cached.is_live(utc_now())

    async def create(
        self,
        *,
        name: str,
        scopes: Iterable[str],
        username: str | None = None,
        expires_in_days: float | None = None,
        principal: Principal | None = None,
    ) -> tuple[ApiKey, str]:
        """Make a key; returns it and its text, which is shown this once.

        Raises BadRequest for arguments that make no key, Forbidden for scopes or users that the caller lacks.
        """
        granted = _check_scopes(scopes)
        name = _check_text("name", name, MAX_NAME_CHARS)
        if username is not None:
            username = _check_text("username", username, MAX_USERNAME_CHARS)
            check_not_reserved(username)
        if expires_in_days is not None and not 0 < expires_in_days <= MAX_EXPIRY_DAYS:
            raise BadRequest(f"expires_in_days must be above 0 and at most {MAX_EXPIRY_DAYS}", code="invalid_request")
        _check_may_grant(principal, granted, username)
        now = utc_now()
        text = new_key_text()
        key = ApiKey(
            id=str(uuid4()),
            name=name,
            prefix=text[:VISIBLE_CHARS],
            scopes=granted,
            username=username,
            created_at=now,
            expires_at=None if expires_in_days is None else now + timedelta(days=expires_in_days),
        )
        await self._database.write(
            lambda connection: store.add_key(connection, key, self._secrets.digest(text.encode()))
        )
        return key, text

    async def list_keys(self, *, principal: Principal | None = None) -> list[ApiKey]:
        """List the keys that the caller may see, the newest first."""
        username = None if principal is None else principal.username
        return await self._database.read(lambda connection: store.list_keys(connection, username))

    async def rotate(
        self, key_id: str, *, overlap: timedelta = timedelta(), principal: Principal | None = None
    ) -> tuple[ApiKey, str]:
        """Give a live key a new text; the old one stays good for `overlap`, one that was already old does not.

        Raises NotFound, BadRequest for a dead key or an overlap above MAX_OVERLAP, Forbidden for scopes that the
        caller lacks.
        """
        if not timedelta() <= overlap <= MAX_OVERLAP:
            limit = int(MAX_OVERLAP.total_seconds())
            raise BadRequest(f"overlap_seconds must be between 0 and {limit}", code="invalid_request")
        now = utc_now()
        text = new_key_text()

        def rotate(connection: Connection) -> ApiKey:
            key = store.get_key(connection, key_id, principal)
            if key.status(now) != "live":
                raise BadRequest("A revoked or expired key cannot be rotated", code="key_not_live")
            _check_may_grant(principal, key.scopes, key.username)
            expires_at = now + overlap if overlap else None
            rotated = structs.replace(key, prefix=text[:VISIBLE_CHARS], previous_expires_at=expires_at)
            store.replace_text(connection, rotated, self._secrets.digest(text.encode()))
            return rotated

        key = await self._database.write(rotate)
        self._drop_caches()
        return key, text

    async def revoke(self, key_id: str, *, principal: Principal | None = None) -> ApiKey:
        """End a key for good, at once; ending it twice is no error. Raises NotFound."""

        def revoke(connection: Connection) -> ApiKey:
            key = store.get_key(connection, key_id, principal)
            if key.revoked_at is None:
                key = structs.replace(key, revoked_at=utc_now(), previous_expires_at=None)
                store.revoke_key(connection, key)
            return key

        key = await self._database.write(revoke)
        self._drop_caches()
        return key

    async def delete(self, key_id: str, *, principal: Principal | None = None) -> None:
        """End a key and forget it. Raises NotFound."""

        def delete(connection: Connection) -> None:
            store.delete_key(connection, store.get_key(connection, key_id, principal).id)

        await self._database.write(delete)
        self._drop_caches()

    async def any_keys(self) -> bool:
        """Look for any key, live or not, the operator's included."""
        return bool(self._operators) or await self._database.read(store.has_keys)

    async def write_last_used(self) -> None:
        """Store the last use of each key: called every LAST_USED_EVERY, off the request's path."""
        moments = dict(self._last_used)
        if not moments:
            return
        await self._database.write(lambda connection: store.set_last_used(connection, moments))
        # What was used again meanwhile waits for the next turn, and everything does when the write failed.
        self._last_used = {
            key_id: moment for key_id, moment in self._last_used.items() if moments.get(key_id) != moment
        }

    def _cached(self, digest: bytes) -> _CachedKey | None:
        """Find the key in the cache, which is dropped first if any key has changed since."""
        generation = self._generation()
        if generation != self._cache_generation:
            self._cache.clear()
            self._cache_generation = generation
        cached = self._cache.get(digest)
        return None if cached is None or cached.stale_at < time.monotonic() else cached

    async def _look_up(self, digest: bytes) -> _CachedKey | None:
        """Find the key in the database. Called right after `_cached`, which has noticed the changes before."""
        generation = self._cache_generation
        match = await self._database.read(lambda connection: store.find_key(connection, digest))
        if match is None:
            return None
        key, text_expires_at = match
        principal = Principal(key_id=key.id, name=key.name, scopes=key.scopes, username=key.username, digest=digest)
        entry = _CachedKey(key, principal, text_expires_at, time.monotonic() + CACHE_SECONDS)
        if len(self._cache) >= CACHE_ENTRIES:
            self._cache.clear()
        # A change that came while this was being read makes it stale: good for this request, not for the cache.
        if generation == self._generation():
            self._cache[digest] = entry
        return entry

    def _generation(self) -> tuple[int, int]:
        try:
            status = os.stat(self._change_path)  # noqa: PTH116  # with every request, and twice as fast as Path.stat
        except FileNotFoundError:
            return 0, 0
        return status.st_ino, status.st_size

    def _drop_caches(self) -> None:
        """Drop the cached keys of every process on this data folder."""
        self._cache.clear()
        try:
            # A length, and not a time: the clock that files are stamped with is coarse, and can be set back.
            with self._change_file.open("ab") as file:
                file.write(b".")
        except OSError as error:
            # The change is made all the same: other processes notice within CACHE_SECONDS.
            log.warning("key_change_not_announced", exc_info=error)


def operator_keys(entries: Sequence[Mapping[str, Any]], secrets: SecretBox) -> list[Principal]:
    """Make the callers of the operator's keys, which are of any form: `key`, `name`, `scopes`, `username`.

    The id is made of the key's hash, so that it is the same after a restart. Raises BadRequest for an unknown scope
    and a reserved username.
    """
    for entry in entries:
        check_not_reserved(entry["username"] or "")
    return [
        Principal(
            key_id=f"op_{digest.hex()[:24]}",
            name=entry["name"],
            scopes=_check_scopes(entry["scopes"]),
            username=entry["username"],
            digest=digest,
        )
        for entry, digest in ((entry, secrets.digest(entry["key"].encode())) for entry in entries)
    ]


def _check_scopes(names: Iterable[str]) -> frozenset[Scope]:
    scopes = set()
    for name in names:
        try:
            scopes.add(Scope(name))
        except ValueError:
            raise BadRequest(f"Unknown scope: {name} (known: {', '.join(Scope)})", code="unknown_scope") from None
    if not scopes:
        raise BadRequest("A key needs at least one scope", code="missing_scope")
    return frozenset(scopes)


def _check_text(field: str, value: str, limit: int) -> str:
    value = value.strip()
    if not value:
        raise BadRequest(f"{field} is empty", code="invalid_request")
    if len(value) > limit or not re.fullmatch(TEXT_PATTERN, value):
        raise BadRequest(f"{field} must be at most {limit} characters, no control characters", code="invalid_request")
    return value


def _check_may_grant(principal: Principal | None, scopes: frozenset[Scope], username: str | None) -> None:
    if principal is None:
        return
    if missing := scopes - principal.scopes:
        raise Forbidden(
            f"The API key cannot grant scopes it lacks: {', '.join(sorted(missing))}", code="scope_not_held"
        )
    if principal.username is not None and username != principal.username:
        raise Forbidden("A key bound to a username can only make keys bound to it", code="username_not_allowed")
