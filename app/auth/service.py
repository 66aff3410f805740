"""Making, checking and ending keys."""

import os
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import delete, insert, or_, select, update

from app.auth.keytext import SHOWN_CHARS, is_well_formed, new_key_text
from app.auth.models import ApiKey, ApiKeyRow, Principal
from app.auth.scopes import SEED_SCOPES, Scope
from app.errors import BadRequest, Forbidden, NotFound, Unauthorized
from app.kit.clock import utc_now
from app.kit.crypto import SecretBox
from app.kit.db import Database
from app.kit.ids import new_id

CACHE_SECONDS = 30.0
CACHE_ENTRIES = 10_000
LAST_USED_EVERY = timedelta(minutes=1)
MAX_NAME_CHARS = 100
MAX_USERNAME_CHARS = 255
ANONYMOUS = Principal(key_id="anonymous", name="anonymous", scopes=SEED_SCOPES)


@dataclass(frozen=True, slots=True)
class OperatorKey:
    """A key that the operator gave in the settings, of any form."""

    text: str
    principal: Principal


@dataclass(frozen=True, slots=True)
class _Cached:
    key: ApiKey
    good_until: datetime | None
    stale_at: float


class KeyService:
    """Keys in the database, and the operator's beside them.

    A key that was seen is remembered for CACHE_SECONDS, and forgotten at once when any key changes: here, or in
    another process on the same data folder, which says so by touching `change_file`.
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
        self._operator_keys = {secrets.digest(key.text): key.principal for key in operator_keys}
        self._cache: dict[bytes, _Cached] = {}
        self._cache_generation = -1
        self._used: dict[str, datetime] = {}

    async def verify(self, text: str) -> Principal:
        """The caller whose key this is. Raises Unauthorized `Invalid API key`."""
        if self._operator_keys and (operator := self._operator_keys.get(self._secrets.digest(text))):
            return operator
        if not is_well_formed(text):
            raise Unauthorized("Invalid API key", code="invalid_api_key")
        key = await self._find_live(self._secrets.digest(text))
        if key is None:
            raise Unauthorized("Invalid API key", code="invalid_api_key")
        self._used[key.id] = utc_now()
        return Principal(key_id=key.id, name=key.name, scopes=key.scopes, username=key.username)

    async def is_live(self, principal: Principal) -> bool:
        """Whether the key behind a long connection is still good."""
        if principal == ANONYMOUS or principal in self._operator_keys.values():
            return True
        async with self._database.read() as connection:
            row = (await connection.execute(select(ApiKeyRow).where(ApiKeyRow.id == principal.key_id))).first()
        return row is not None and _to_key(row).is_live(utc_now())

    async def create(
        self,
        *,
        name: str,
        scopes: Iterable[str],
        username: str | None = None,
        expires_in_days: float | None = None,
        granted_by: Principal | None = None,
    ) -> tuple[ApiKey, str]:
        """A new key and its text, which is shown this once.

        `granted_by` is the caller who asks for it over HTTP; None is the operator at the command line. Raises
        BadRequest for arguments that make no key, Forbidden for scopes or users that the caller lacks.
        """
        wanted = _check_scopes(scopes)
        name = _check_text("name", name, MAX_NAME_CHARS)
        if username is not None:
            username = _check_text("username", username, MAX_USERNAME_CHARS)
        if expires_in_days is not None and not 0 < expires_in_days <= 36_500:
            raise BadRequest("expires_in_days must be above 0 and at most 36500", code="invalid_request")
        if granted_by is not None:
            _check_may_grant(granted_by, wanted, username)
        now = utc_now()
        text = new_key_text()
        key = ApiKey(
            id=new_id(),
            name=name,
            prefix=text[:SHOWN_CHARS],
            scopes=wanted,
            username=username,
            created_at=now,
            expires_at=None if expires_in_days is None else now + timedelta(days=expires_in_days),
            revoked_at=None,
            last_used_at=None,
        )
        async with self._database.write() as connection:
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

    async def list_keys(self) -> list[ApiKey]:
        """Every key, the newest first."""
        query = select(ApiKeyRow).order_by(ApiKeyRow.created_at.desc(), ApiKeyRow.id)
        async with self._database.read() as connection:
            return [_to_key(row) for row in await connection.execute(query)]

    async def rotate(
        self, key_id: str, *, overlap: timedelta = timedelta(), granted_by: Principal | None = None
    ) -> tuple[ApiKey, str]:
        """A new text for a live key; the old one stays good for `overlap`. Raises NotFound, BadRequest, Forbidden."""
        key = await self._get(key_id)
        now = utc_now()
        if not key.is_live(now):
            raise BadRequest("A revoked or expired key cannot be rotated", code="key_not_live")
        if granted_by is not None:
            _check_may_grant(granted_by, key.scopes, key.username)
        text = new_key_text()
        rotated = replace(key, prefix=text[:SHOWN_CHARS])
        await self._change(
            key_id,
            digest=self._secrets.digest(text),
            prefix=rotated.prefix,
            previous_digest=ApiKeyRow.digest if overlap else None,
            previous_expires_at=now + overlap if overlap else None,
        )
        return rotated, text

    async def revoke(self, key_id: str) -> ApiKey:
        """Ends a key for good, at once; ending it twice is no error. Raises NotFound."""
        key = await self._get(key_id)
        if key.revoked_at is not None:
            return key
        revoked = replace(key, revoked_at=utc_now())
        await self._change(key_id, revoked_at=revoked.revoked_at, previous_digest=None, previous_expires_at=None)
        return revoked

    async def delete(self, key_id: str) -> None:
        """Ends a key and forgets it. Raises NotFound."""
        async with self._database.write() as connection:
            result = await connection.execute(delete(ApiKeyRow).where(ApiKeyRow.id == key_id))
        if result.rowcount == 0:
            raise NotFound("API key not found", code="api_key_not_found")
        self._forget()

    async def any_keys(self) -> bool:
        """Whether there is a key at all, live or not, the operator's included."""
        if self._operator_keys:
            return True
        async with self._database.read() as connection:
            return (await connection.execute(select(ApiKeyRow.id).limit(1))).first() is not None

    async def write_last_used(self) -> None:
        """Store when keys were last used: called off the request's path, at most once a minute."""
        used, self._used = self._used, {}
        if not used:
            return
        async with self._database.write() as connection:
            for key_id, moment in used.items():
                await connection.execute(
                    update(ApiKeyRow).where(ApiKeyRow.id == key_id).values(last_used_at=moment)
                )

    async def _find_live(self, digest: bytes) -> ApiKey | None:
        generation = self._generation()
        if generation != self._cache_generation:
            self._cache.clear()
            self._cache_generation = generation
        now = utc_now()
        cached = self._cache.get(digest)
        if cached is None or cached.stale_at < time.monotonic():
            cached = await self._load(digest)
            if cached is None:
                return None
            if len(self._cache) >= CACHE_ENTRIES:
                self._cache.clear()
            # A change that came while this was being read makes what was read old news: use it once, keep it not.
            if generation == self._generation():
                self._cache[digest] = cached
        if not cached.key.is_live(now) or (cached.good_until is not None and now >= cached.good_until):
            return None
        return cached.key

    async def _load(self, digest: bytes) -> _Cached | None:
        query = select(ApiKeyRow).where(or_(ApiKeyRow.digest == digest, ApiKeyRow.previous_digest == digest))
        async with self._database.read() as connection:
            row = (await connection.execute(query)).first()
        if row is None:
            return None
        good_until = row.previous_expires_at if row.digest != digest else None
        return _Cached(_to_key(row), good_until, time.monotonic() + CACHE_SECONDS)

    async def _get(self, key_id: str) -> ApiKey:
        async with self._database.read() as connection:
            row = (await connection.execute(select(ApiKeyRow).where(ApiKeyRow.id == key_id))).first()
        if row is None:
            raise NotFound("API key not found", code="api_key_not_found")
        return _to_key(row)

    async def _change(self, key_id: str, **values: Any) -> None:
        async with self._database.write() as connection:
            await connection.execute(update(ApiKeyRow).where(ApiKeyRow.id == key_id).values(**values))
        self._forget()

    def _generation(self) -> int:
        try:
            return self._change_file.stat().st_mtime_ns
        except FileNotFoundError:
            return 0

    def _forget(self) -> None:
        """Drop what every process on this data folder remembers of keys."""
        self._cache.clear()
        self._change_file.touch()
        # The kernel's own clock for files is coarse: two changes in one tick would look like one.
        moment = time.time_ns()
        os.utime(self._change_file, ns=(moment, moment))


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
    if len(value) > limit or not value.isprintable():
        raise BadRequest(f"{field} must be at most {limit} printable characters", code="invalid_request")
    return value


def _check_may_grant(caller: Principal, scopes: frozenset[Scope], username: str | None) -> None:
    if missing := scopes - caller.scopes:
        raise Forbidden(f"The API key cannot grant scopes it lacks: {', '.join(sorted(missing))}", code="scope_not_held")
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
