"""Making, checking and ending keys."""

import os
import re
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import structlog
from sqlalchemy import Update, bindparam, delete, insert, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from app.auth.keytext import SHOWN_CHARS, is_well_formed, new_key_text
from app.auth.models import ApiKey, ApiKeyRow, Principal
from app.auth.scopes import SEED_SCOPES, Scope
from app.clock import utc_now
from app.crypto import SecretBox
from app.database.engine import Database
from app.errors import BadRequest, Forbidden, NotFound, Unauthorized

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

ANONYMOUS = Principal(key_id="anonymous", name="anonymous", scopes=SEED_SCOPES)


@dataclass(frozen=True, slots=True)
class OperatorKey:
    """A key that the operator gave in the settings, of any form."""

    text: str
    principal: Principal


@dataclass(frozen=True, slots=True)
class _Cached:
    key: ApiKey
    principal: Principal
    good_until: datetime | None
    stale_at: float

    def is_live(self, now: datetime) -> bool:
        return self.key.status(now) == "live" and (self.good_until is None or now < self.good_until)


class KeyService:
    """Keys in the database, and the operator's beside them.

    A key that was seen is remembered for CACHE_SECONDS, and forgotten at once when any key changes: here, or in
    another process on the same data folder, which says so by making `change_file` one byte longer.

    Methods that manage keys take `by`, the caller who asks for it over HTTP; None is the operator at the command
    line. A caller bound to a username sees and manages only the keys bound to it: the others do not exist for it.
    """

    def __init__(
        self,
        database: Database,
        secrets: SecretBox,
        change_file: Path,
        operator_keys: Sequence[OperatorKey] = (),
    ) -> None:
        self._database = database
        self._secrets = secrets
        self._change_file = change_file
        self._change_path = str(change_file)
        self._operator_keys = {
            digest: replace(key.principal, digest=digest)
            for key in operator_keys
            for digest in (secrets.digest(key.text),)
        }
        self._cache: dict[bytes, _Cached] = {}
        self._cache_generation: tuple[int, int] | None = None
        self._used: dict[str, datetime] = {}

    async def verify(self, text: str) -> Principal:
        """The caller whose key this is. Raises Unauthorized `Invalid API key`."""
        digest = self._secrets.digest(text)
        if operator := self._operator_keys.get(digest):
            return operator
        cached = self._remembered(digest)
        # A text that was looked up before was well-formed.
        if cached is None and is_well_formed(text):
            cached = await self._look_up(digest)
        now = utc_now()
        if cached is None or not cached.is_live(now):
            raise Unauthorized("Invalid API key", code="invalid_api_key")
        self._used[cached.key.id] = now
        return cached.principal

    async def is_live(self, principal: Principal) -> bool:
        """Whether the key behind a long connection is still good: neither ended nor rotated away."""
        if principal == ANONYMOUS or principal.digest in self._operator_keys:
            return True
        cached = self._remembered(principal.digest) or await self._look_up(principal.digest)
        return cached is not None and cached.is_live(utc_now())

    async def create(
        self,
        *,
        name: str,
        scopes: Iterable[str],
        username: str | None = None,
        expires_in_days: float | None = None,
        by: Principal | None = None,
    ) -> tuple[ApiKey, str]:
        """A new key and its text, which is shown this once.

        Raises BadRequest for arguments that make no key, Forbidden for scopes or users that the caller lacks.
        """
        wanted = _check_scopes(scopes)
        name = _check_text("name", name, MAX_NAME_CHARS)
        if username is not None:
            username = _check_text("username", username, MAX_USERNAME_CHARS)
        if expires_in_days is not None and not 0 < expires_in_days <= MAX_EXPIRY_DAYS:
            raise BadRequest(f"expires_in_days must be above 0 and at most {MAX_EXPIRY_DAYS}", code="invalid_request")
        _check_may_grant(by, wanted, username)
        now = utc_now()
        text = new_key_text()
        key = ApiKey(
            id=str(uuid4()),
            name=name,
            prefix=text[:SHOWN_CHARS],
            scopes=wanted,
            username=username,
            created_at=now,
            expires_at=None if expires_in_days is None else now + timedelta(days=expires_in_days),
            revoked_at=None,
            last_used_at=None,
        )
        async with self._database.write_block() as connection:
            await connection.execute(
                insert(ApiKeyRow).values(
                    id=key.id,
                    name=key.name,
                    prefix=key.prefix,
                    digest=self._secrets.digest(text),
                    scopes=sorted(key.scopes),
                    username=key.username,
                    created_at=key.created_at,
                    expires_at=key.expires_at,
                )
            )
        return key, text

    async def list_keys(self, *, by: Principal | None = None) -> list[ApiKey]:
        """Every key that the caller may see, the newest first."""
        query = select(ApiKeyRow).order_by(ApiKeyRow.created_at.desc(), ApiKeyRow.id)
        if by is not None and by.username is not None:
            query = query.where(ApiKeyRow.username == by.username)
        async with self._database.read_block() as connection:
            return [_to_key(row) for row in await connection.execute(query)]

    async def rotate(
        self, key_id: str, *, overlap: timedelta = timedelta(), by: Principal | None = None
    ) -> tuple[ApiKey, str]:
        """A new text for a live key; the old one stays good for `overlap`, one that was already old does not.

        Raises NotFound, BadRequest for a dead key or an overlap above MAX_OVERLAP, Forbidden for scopes that the
        caller lacks.
        """
        if not timedelta() <= overlap <= MAX_OVERLAP:
            limit = int(MAX_OVERLAP.total_seconds())
            raise BadRequest(f"overlap_seconds must be between 0 and {limit}", code="invalid_request")
        now = utc_now()
        text = new_key_text()
        async with self._database.write_block() as connection:
            key = await _get(connection, key_id, by)
            if key.status(now) != "live":
                raise BadRequest("A revoked or expired key cannot be rotated", code="key_not_live")
            _check_may_grant(by, key.scopes, key.username)
            rotated = replace(key, prefix=text[:SHOWN_CHARS], previous_expires_at=now + overlap if overlap else None)
            await connection.execute(
                _one(key_id).values(
                    digest=self._secrets.digest(text),
                    prefix=rotated.prefix,
                    previous_digest=ApiKeyRow.digest if overlap else None,
                    previous_expires_at=rotated.previous_expires_at,
                )
            )
        self._forget()
        return rotated, text

    async def revoke(self, key_id: str, *, by: Principal | None = None) -> ApiKey:
        """Ends a key for good, at once; ending it twice is no error. Raises NotFound."""
        async with self._database.write_block() as connection:
            key = await _get(connection, key_id, by)
            if key.revoked_at is not None:
                return key
            revoked = replace(key, revoked_at=utc_now(), previous_expires_at=None)
            await connection.execute(
                _one(key_id).values(revoked_at=revoked.revoked_at, previous_digest=None, previous_expires_at=None)
            )
        self._forget()
        return revoked

    async def delete(self, key_id: str, *, by: Principal | None = None) -> None:
        """Ends a key and forgets it. Raises NotFound."""
        async with self._database.write_block() as connection:
            await _get(connection, key_id, by)
            await connection.execute(delete(ApiKeyRow).where(ApiKeyRow.id == key_id))
        self._forget()

    async def any_keys(self) -> bool:
        """Whether there is a key at all, live or not, the operator's included."""
        if self._operator_keys:
            return True
        async with self._database.read_block() as connection:
            return (await connection.execute(select(ApiKeyRow.id).limit(1))).first() is not None

    async def write_last_used(self) -> None:
        """Store when keys were last used: called every LAST_USED_EVERY, off the request's path."""
        used = dict(self._used)
        if not used:
            return
        statement = (
            update(ApiKeyRow).where(ApiKeyRow.id == bindparam("key_id")).values(last_used_at=bindparam("moment"))
        )
        rows = [{"key_id": key_id, "moment": moment} for key_id, moment in used.items()]
        async with self._database.write_block() as connection:
            await connection.execute(statement, rows)
        # What was used again meanwhile waits for the next turn, and everything does when the write failed.
        self._used = {key_id: moment for key_id, moment in self._used.items() if used.get(key_id) != moment}

    def _remembered(self, digest: bytes) -> _Cached | None:
        """The key that was looked up a while ago at most, if no key has changed since."""
        generation = self._generation()
        if generation != self._cache_generation:
            self._cache.clear()
            self._cache_generation = generation
        cached = self._cache.get(digest)
        return None if cached is None or cached.stale_at < time.monotonic() else cached

    async def _look_up(self, digest: bytes) -> _Cached | None:
        """Called right after `_remembered`, which has noticed the changes before."""
        generation = self._cache_generation
        query = select(ApiKeyRow).where(or_(ApiKeyRow.digest == digest, ApiKeyRow.previous_digest == digest))
        async with self._database.read_block() as connection:
            row = (await connection.execute(query)).first()
        if row is None:
            return None
        key = _to_key(row)
        principal = Principal(key_id=key.id, name=key.name, scopes=key.scopes, username=key.username, digest=digest)
        good_until = row.previous_expires_at if row.digest != digest else None
        found = _Cached(key, principal, good_until, time.monotonic() + CACHE_SECONDS)
        if len(self._cache) >= CACHE_ENTRIES:
            self._cache.clear()
        # A change that came while this was being read makes what was read old news: use it once, keep it not.
        if generation == self._generation():
            self._cache[digest] = found
        return found

    def _generation(self) -> tuple[int, int]:
        try:
            found = os.stat(self._change_path)  # noqa: PTH116  # asked with every request, and twice as fast so
        except FileNotFoundError:
            return 0, 0
        return found.st_ino, found.st_size

    def _forget(self) -> None:
        """Drop what every process on this data folder remembers of keys."""
        self._cache.clear()
        try:
            # A length, and not a time: the clock that files are stamped with is coarse, and can be set back.
            with self._change_file.open("ab") as file:
                file.write(b".")
        except OSError as error:
            # The change is made all the same: other processes notice within CACHE_SECONDS.
            log.warning("key_change_not_announced", exc_info=error)


async def _get(connection: AsyncConnection, key_id: str, by: Principal | None) -> ApiKey:
    row = (await connection.execute(select(ApiKeyRow).where(ApiKeyRow.id == key_id))).first()
    if row is None or (by is not None and by.username is not None and row.username != by.username):
        raise NotFound("API key not found", code="api_key_not_found")
    return _to_key(row)


def _one(key_id: str) -> Update:
    return update(ApiKeyRow).where(ApiKeyRow.id == key_id)


def _to_key(row: Any) -> ApiKey:
    return ApiKey(
        id=row.id,
        name=row.name,
        prefix=row.prefix,
        scopes=frozenset(Scope(scope) for scope in row.scopes),
        username=row.username,
        created_at=row.created_at,
        expires_at=row.expires_at,
        revoked_at=row.revoked_at,
        last_used_at=row.last_used_at,
        previous_expires_at=row.previous_expires_at,
    )


def _check_scopes(scopes: Iterable[str]) -> frozenset[Scope]:
    wanted = set()
    for scope in scopes:
        try:
            wanted.add(Scope(scope))
        except ValueError:
            known = ", ".join(Scope)
            raise BadRequest(f"Unknown scope: {scope} (known: {known})", code="unknown_scope") from None
    if not wanted:
        raise BadRequest("A key needs at least one scope", code="missing_scope")
    return frozenset(wanted)


def _check_text(field: str, value: str, limit: int) -> str:
    value = value.strip()
    if not value:
        raise BadRequest(f"{field} is empty", code="invalid_request")
    if len(value) > limit or not re.fullmatch(TEXT_PATTERN, value):
        raise BadRequest(f"{field} must be at most {limit} characters, no control characters", code="invalid_request")
    return value


def _check_may_grant(caller: Principal | None, scopes: frozenset[Scope], username: str | None) -> None:
    if caller is None:
        return
    if missing := scopes - caller.scopes:
        raise Forbidden(
            f"The API key cannot grant scopes it lacks: {', '.join(sorted(missing))}", code="scope_not_held"
        )
    if caller.username is not None and username != caller.username:
        raise Forbidden("A key bound to a username can only make keys bound to it", code="username_not_allowed")


def operator_keys(entries: Sequence[Mapping[str, Any]], secrets: SecretBox) -> list[OperatorKey]:
    """Operator keys from plain values (`key`, `name`, `scopes`, `username`). Raises BadRequest for an unknown scope.

    The id is made of the key's hash, so that it is the same after a restart.
    """
    return [
        OperatorKey(
            text=entry["key"],
            principal=Principal(
                key_id=f"op_{secrets.digest(entry['key']).hex()[:24]}",
                name=entry["name"],
                scopes=_check_scopes(entry["scopes"]),
                username=entry["username"],
            ),
        )
        for entry in entries
    ]
