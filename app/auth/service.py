"""Making, checking and ending keys."""

import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

import structlog
from msgspec import structs
from sqlalchemy import Connection

from app.auth import changes, store
from app.auth.audit import AuditEntry, list_entries
from app.auth.browser.store import find_session
from app.auth.changes import Actor, check_caller, check_may_grant
from app.auth.checks import MAX_NAME_CHARS, MAX_USERNAME_CHARS, check_scopes, check_text
from app.auth.clock import KeyClock
from app.auth.guesses import GuessLimit
from app.auth.keytext import SESSION_PREFIX, VISIBLE_CHARS, is_well_formed, new_key_text
from app.auth.limits import NO_LIMITS, checked
from app.auth.master_key import check_master_key
from app.auth.models import ANONYMOUS_ID, ApiKey, Principal, check_not_reserved
from app.auth.scopes import SEED_SCOPES
from app.clock import utc_now
from app.crypto import SecretBox
from app.database.engine import Database
from app.database.errors import DatabaseUnavailable
from app.errors import AppError, BadRequest, Forbidden, NotFound, Unauthorized

CACHE_SECONDS = 30.0
CACHE_ENTRIES = 10_000
LAST_USED_EVERY = timedelta(minutes=1)
STORE_REVOCATIONS_EVERY = timedelta(seconds=2)
MAX_OVERLAP = timedelta(days=7)
MAX_EXPIRY_DAYS = 36_500
log = structlog.get_logger(__name__)

ANONYMOUS = Principal(key_id=ANONYMOUS_ID, name="anonymous", scopes=SEED_SCOPES)


@dataclass(frozen=True, slots=True)
class _CachedKey:
    """A caller, until its key ends or the text by which it was looked up; None: it does not end by itself."""

    principal: Principal
    is_revoked: bool
    ends_at: datetime | None
    stale_at: float
    is_blocked: bool = False


@dataclass(frozen=True, slots=True)
class _Revocation:
    """A revocation that is to be stored."""

    actor: Actor
    moment: datetime


class KeyService:
    """Keys in the database, and the operator's beside them.

    Keys are cached for CACHE_SECONDS. The cache is dropped at once when any key changes: here, or in another process
    on the same data folder, which says so by making `change_file` one byte longer.

    Methods that manage keys take the `principal` who asks for it over HTTP; None is the operator at the command line.
    A caller bound to a username sees and manages only the keys bound to it: the others do not exist for it. `address`
    is the caller's, for the audit trail.
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
        self._cache_generation: tuple[int, int, int] | None = None
        self._changes_elsewhere = 0
        self._tell: Callable[[], None] = _tell_nobody
        self._last_used: dict[str, datetime] = {}
        self._clock = KeyClock()
        self._has_refused = False
        # Keys that are revoked here and not in the database yet, with the keys that they made.
        self._ended: dict[str, frozenset[str]] = {}
        self._unstored: dict[str, _Revocation] = {}
        self.guesses = GuessLimit()

    async def open(self) -> None:
        """Go on from the latest time that was stored. Raises DatabaseUnavailable, WrongMasterKey."""
        await check_master_key(self._database, self._secrets)
        if (latest := await self._database.read(store.latest_time)) is not None:
            self._clock.reach(latest)

    def now(self) -> datetime:
        """Return the time by which keys end."""
        return self._clock.reach(utc_now())

    async def verify(self, text: str) -> Principal:
        """Find the caller by the text of its key. Raises Unauthorized `Invalid API key`."""
        digest = self._secrets.digest(text.encode())
        if operator := self._operators.get(digest):
            return operator
        cached = self._cached(digest)
        # A text that was looked up before was well-formed.
        if cached is None and (is_well_formed(text) or is_well_formed(text, SESSION_PREFIX)):
            cached = await self._look_up(digest, is_session=text.startswith(SESSION_PREFIX))
        if cached is None or not self._is_good(cached):
            self._has_refused = cached is not None or self._has_refused
            if cached is not None and cached.is_blocked and not self._is_over(cached):
                raise Forbidden("The API key is blocked", code="key_blocked")
            if text.startswith(SESSION_PREFIX):
                raise Unauthorized("The browser session has ended", code="browser_session_ended")
            raise Unauthorized("Invalid API key", code="invalid_api_key")
        self._last_used[cached.principal.key_id] = utc_now()
        return cached.principal

    async def is_live(self, principal: Principal) -> bool:
        """Check again the key behind a long connection: it may have ended, or been rotated away."""
        if self._is_lasting(principal):
            return True
        cached = await self._entry_of(principal)
        return cached is not None and self._is_good(cached)

    async def ends_at(self, principal: Principal) -> datetime | None:
        """Return when the caller's key, its text or its browser session ends; None: not by itself."""
        cached = None if self._is_lasting(principal) else await self._entry_of(principal)
        return None if cached is None else cached.ends_at

    async def create(
        self,
        *,
        name: str,
        scopes: Iterable[str],
        username: str | None = None,
        expires_in_days: float | None = None,
        limits: Mapping[str, Any] | None = None,
        principal: Principal | None = None,
        address: str | None = None,
    ) -> tuple[ApiKey, str]:
        """Make a key; returns it and its text, which is shown this once.

        Raises BadRequest for arguments that make no key, Forbidden for scopes or users that the caller lacks.
        """
        granted = check_scopes(scopes)
        name = check_text("name", name, MAX_NAME_CHARS)
        if username is not None:
            username = check_text("username", username, MAX_USERNAME_CHARS)
            check_not_reserved(username)
        if expires_in_days is not None and not 0 < expires_in_days <= MAX_EXPIRY_DAYS:
            raise BadRequest(f"expires_in_days must be above 0 and at most {MAX_EXPIRY_DAYS}", code="invalid_request")
        check_may_grant(principal, granted, username)
        now = self.now()
        text = new_key_text()
        key = ApiKey(
            id=str(uuid4()),
            name=name,
            prefix=text[:VISIBLE_CHARS],
            scopes=granted,
            username=username,
            created_at=now,
            limits=checked(structs.replace(NO_LIMITS, **(limits or {}))),
            expires_at=None if expires_in_days is None else now + timedelta(days=expires_in_days),
        )
        actor, digest = self._actor(principal, address), self._secrets.digest(text.encode())
        key = await self._database.write(lambda connection: changes.create(connection, actor, key, digest, now))
        _log_change("key_created", key.id, actor)
        return key, text

    async def list_keys(self, *, principal: Principal | None = None) -> list[ApiKey]:
        """List the keys that the caller may see, the newest first."""
        username = None if principal is None else principal.username
        return await self._database.read(lambda connection: store.list_keys(connection, username))

    async def rotate(
        self,
        key_id: str,
        *,
        overlap: timedelta = timedelta(),
        principal: Principal | None = None,
        address: str | None = None,
    ) -> tuple[ApiKey, str]:
        """Give a live key a new text; the old one stays good for `overlap`, one that was already old does not.

        Raises NotFound, BadRequest for a dead key or an overlap above MAX_OVERLAP, Forbidden for scopes that the
        caller lacks.
        """
        if not timedelta() <= overlap <= MAX_OVERLAP:
            limit = int(MAX_OVERLAP.total_seconds())
            raise BadRequest(f"overlap_seconds must be between 0 and {limit}", code="invalid_request")
        now = self.now()
        actor, text = self._actor(principal, address), new_key_text()
        rotate = partial(
            changes.rotate,
            actor=actor,
            key_id=key_id,
            text=(text[:VISIBLE_CHARS], self._secrets.digest(text.encode())),
            ends=now + overlap if overlap else None,
            now=now,
        )
        key = await self._database.write(rotate)
        self.drop_caches()
        _log_change("key_rotated", key.id, actor)
        return key, text

    async def change(
        self,
        key_id: str,
        *,
        name: str | None = None,
        scopes: Iterable[str] | None = None,
        blocked: bool | None = None,
        limits: Mapping[str, Any] | None = None,
        principal: Principal | None = None,
        address: str | None = None,
    ) -> ApiKey:
        """Change a key (None: leave it as it is); `limits` are those of KeyLimits to set, or to take away with None.

        Raises NotFound, BadRequest for a dead key or limits that are none, Forbidden for scopes that the caller lacks.
        """
        granted = None if scopes is None else check_scopes(scopes)
        name = None if name is None else check_text("name", name, MAX_NAME_CHARS)

        def update(key: ApiKey) -> ApiKey:
            return structs.replace(
                key,
                name=key.name if name is None else name,
                scopes=key.scopes if granted is None else granted,
                blocked=key.blocked if blocked is None else blocked,
                limits=checked(structs.replace(key.limits or NO_LIMITS, **(limits or {}))),
            )

        actor, now = self._actor(principal, address), self.now()
        key = await self._database.write(lambda connection: changes.change(connection, actor, key_id, update, now))
        self.drop_caches()
        _log_change("key_changed", key.id, actor)
        return key

    async def revoke(self, key_id: str, *, principal: Principal | None = None, address: str | None = None) -> ApiKey:
        """End a key and those that it made for good, at once; ending it twice is no error.

        A caller's revocation takes effect on this server also when the database cannot store it: that is tried again
        until it can (`store_revocations`), and `is_stored` is false meanwhile. Raises NotFound, Unauthorized, Forbidden
        for a caller with an old text.
        """
        revocation = _Revocation(self._actor(principal, address), self.now())

        def preview(connection: Connection) -> tuple[ApiKey, frozenset[str]]:
            check_caller(connection, revocation.actor, revocation.moment)
            key = store.get_key(connection, key_id, principal, for_update=False)
            return key, frozenset([key.id, *store.children_of(connection, key.id)])

        key, ids = await self._database.read(preview)
        self._ended[key.id] = ids
        self._cache.clear()
        try:
            key = await self._store_revocation(key.id, revocation)
        except DatabaseUnavailable:
            if principal is None:  # the command line, whose process ends
                raise
            self._unstored[key.id] = revocation
            log.warning("key_revocation_not_stored", id=key.id, by=revocation.actor.key_id)
            return structs.replace(key, revoked_at=key.revoked_at or revocation.moment, previous_expires_at=None)
        except AppError:
            del self._ended[key.id]
            raise
        except BaseException:  # whether it was stored is not known
            self._unstored[key.id] = revocation
            raise
        return key

    def is_stored(self, key_id: str) -> bool:
        """Check that no revocation of the key waits for the database."""
        return key_id not in self._unstored

    async def store_revocations(self) -> None:
        """Store the revocations that the database could not: called every STORE_REVOCATIONS_EVERY.

        Raises DatabaseUnavailable.
        """
        for key_id, revocation in list(self._unstored.items()):
            try:
                await self._store_revocation(key_id, revocation)
            except NotFound:  # it was deleted
                self._ended.pop(key_id, None)
            self._unstored.pop(key_id, None)

    async def _store_revocation(self, key_id: str, revocation: _Revocation) -> ApiKey:
        actor, moment = revocation.actor, revocation.moment
        key = await self._database.write(lambda connection: changes.revoke(connection, actor, key_id, moment))
        self.drop_caches()
        self._ended.pop(key_id, None)
        _log_change("key_revoked", key_id, actor)
        return key

    async def delete(self, key_id: str, *, principal: Principal | None = None, address: str | None = None) -> None:
        """End a key and forget it; end those that it made. Raises NotFound, Unauthorized, Forbidden."""
        actor, now = self._actor(principal, address), self.now()
        await self._database.write(lambda connection: changes.delete(connection, actor, key_id, now))
        self.drop_caches()
        _log_change("key_deleted", key_id, actor)

    async def audit(self, *, before: int | None, limit: int) -> list[AuditEntry]:
        """List the newest entries of the audit trail, of those with an id below `before`."""
        return await self._database.read(lambda connection: list_entries(connection, before=before, limit=limit))

    async def any_keys(self) -> bool:
        """Look for any key, live or not, the operator's included."""
        return bool(self._operators) or await self._database.read(store.has_keys)

    async def write_last_used(self) -> None:
        """Store the last use of each key, and the latest time: called every LAST_USED_EVERY, off the request's path."""
        moments = dict(self._last_used)
        if not moments and not self._has_refused:
            return
        now = self.now()

        def write(connection: Connection) -> None:
            if moments:
                store.set_last_used(connection, moments)
            store.keep_latest_time(connection, now)

        await self._database.write(write)
        self._has_refused = False
        # What was used again meanwhile waits for the next turn, and everything does when the write failed.
        self._last_used = {
            key_id: moment for key_id, moment in self._last_used.items() if moments.get(key_id) != moment
        }

    def _actor(self, principal: Principal | None, address: str | None) -> Actor:
        is_stored = principal is not None and principal.digest not in self._operators
        return Actor(principal, address, is_stored)

    def _is_lasting(self, principal: Principal) -> bool:
        """Check for a key that is not in the database, and ends with the process."""
        return principal == ANONYMOUS or (not principal.is_browser and principal.digest in self._operators)

    def _is_good(self, cached: _CachedKey) -> bool:
        if cached.is_revoked or cached.is_blocked:
            return False
        return cached.ends_at is None or self.now() < cached.ends_at

    def _is_over(self, cached: _CachedKey) -> bool:
        return cached.is_revoked or (cached.ends_at is not None and self.now() >= cached.ends_at)

    def _cached(self, digest: bytes) -> _CachedKey | None:
        """Find the key in the cache, which is dropped first if any key has changed since."""
        generation = self._generation()
        if generation != self._cache_generation:
            self._cache.clear()
            self._cache_generation = generation
        cached = self._cache.get(digest)
        return None if cached is None or cached.stale_at < time.monotonic() else cached

    async def _entry_of(self, principal: Principal) -> _CachedKey | None:
        digest = principal.session or principal.digest
        return self._cached(digest) or await self._look_up(digest, is_session=principal.is_browser)

    async def _look_up(self, digest: bytes, *, is_session: bool = False) -> _CachedKey | None:
        """Find the key in the database. Called right after `_cached`, which has noticed the changes before."""
        generation = self._cache_generation
        entry = await (self._find_session(digest) if is_session else self._find_key(digest))
        if entry is None:
            return None
        if len(self._cache) >= CACHE_ENTRIES:
            self._cache.clear()
        # A change that came while this was being read makes it stale: good for this request, not for the cache.
        if generation == self._generation():
            self._cache[digest] = entry
        return entry

    async def _find_key(self, digest: bytes) -> _CachedKey | None:
        match = await self._database.read(lambda connection: store.find_key(connection, digest))
        if match is None:
            return None
        key, text_expires_at = match
        principal = Principal(key_id=key.id, name=key.name, scopes=key.scopes, username=key.username, digest=digest)
        if key.limits is not None:
            principal = replace(principal, limits=key.limits)
        ends = [each for each in (key.expires_at, text_expires_at) if each is not None]
        is_revoked = key.revoked_at is not None or any(key.id in ids for ids in self._ended.values())
        return _CachedKey(principal, is_revoked, min(ends, default=None), time.monotonic() + CACHE_SECONDS, key.blocked)

    async def _find_session(self, digest: bytes) -> _CachedKey | None:
        """Find a browser session, which is good for as long as the text of its key is."""
        grant = await self._database.read(lambda connection: find_session(connection, digest))
        if grant is None:
            return None
        if operator := self._operators.get(grant.key_digest):
            key: _CachedKey | None = _CachedKey(operator, False, None, time.monotonic() + CACHE_SECONDS)
        else:
            key = await self._find_key(grant.key_digest)
        if key is None:
            return None
        ends_at = grant.expires_at if key.ends_at is None else min(key.ends_at, grant.expires_at)
        return replace(key, principal=grant.narrow(key.principal, digest), ends_at=ends_at)

    def _generation(self) -> tuple[int, int, int]:
        try:
            status = os.stat(self._change_path)  # noqa: PTH116  # with every request, and twice as fast as Path.stat
        except FileNotFoundError:
            return 0, 0, self._changes_elsewhere
        return status.st_ino, status.st_size, self._changes_elsewhere

    def forget(self) -> None:
        """Drop the cached keys of this process: they may have changed elsewhere."""
        self._changes_elsewhere += 1

    def on_change(self, tell: Callable[[], None]) -> None:
        """Have `tell` called when a key has changed here."""
        self._tell = tell

    def drop_caches(self) -> None:
        """Drop the cached keys of every process on this data folder, and of other servers."""
        self._cache.clear()
        self._tell()
        try:
            # A length, and not a time: the clock that files are stamped with is coarse, and can be set back.
            with self._change_file.open("ab") as file:
                file.write(b".")
        except OSError as error:
            # The change is made all the same: other processes notice within CACHE_SECONDS.
            log.warning("key_change_not_announced", exc_info=error)


def _tell_nobody() -> None:
    """There are no other servers."""


def _log_change(event: str, key_id: str, actor: Actor) -> None:
    """Log a caller's change; the command line prints its own."""
    if actor.principal is not None:
        log.info(event, id=key_id, by=actor.key_id)
