"""Idempotency keys: a request that is sent twice is done once.

A claim is a row with a unique key, written in the transaction that does the work: whoever comes second finds the row
there, however close behind. What is refused is rolled back together with its claim, and may be tried again.
"""

import hashlib
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any

import msgspec
from msgspec import structs
from sqlalchemy import JSON, Connection, String, bindparam, delete, insert, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Mapped, mapped_column

from app.clock import utc_now
from app.database.engine import Database
from app.database.tables import Base, UtcDateTime
from app.errors import BadRequest, Unprocessable

RETENTION = timedelta(hours=24)
MAX_KEY_CHARS = 255


class IdempotencyRow(Base):
    """One claim. `result` is what a repeat is answered with."""

    __tablename__ = "idempotency_keys"

    key_id: Mapped[str] = mapped_column(String(64), primary_key=True)
    operation: Mapped[str] = mapped_column(String(32), primary_key=True)
    key: Mapped[str] = mapped_column(String(MAX_KEY_CHARS), primary_key=True)
    fingerprint: Mapped[str] = mapped_column(String(64))
    result: Mapped[dict[str, Any]] = mapped_column(JSON)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime, index=True)


class Claim(msgspec.Struct, frozen=True):
    """A caller's statement that requests with this `key` are the same request.

    `key_id` is the API key's id, which rotation does not change; `fingerprint` identifies the body.
    """

    key_id: str
    operation: str
    key: str
    fingerprint: str

    @property
    def digest(self) -> str:
        """One short name for the claim, for systems that keep their own record of what they were sent."""
        return hashlib.sha256("\0".join((self.key_id, self.operation, self.key)).encode()).hexdigest()


class AlreadyClaimed(Exception):
    """Another request with the same key was first."""


def claim_of(key_id: str, operation: str, key: str | None, body: object) -> Claim | None:
    """Make a claim of an `Idempotency-Key`; None without one. Raises BadRequest.

    Bodies are the same when they hold the same JSON, in whatever order of its keys.
    """
    if key is None:
        return None
    if not 0 < len(key) <= MAX_KEY_CHARS or not key.isprintable():
        raise BadRequest(
            f"Idempotency-Key must be 1 to {MAX_KEY_CHARS} printable characters", code="invalid_idempotency_key"
        )
    fingerprint = hashlib.sha256(msgspec.json.encode(body, order="deterministic")).hexdigest()
    return Claim(key_id, operation, key, fingerprint)


_OF_CLAIM = (
    IdempotencyRow.key_id == bindparam("key_id"),
    IdempotencyRow.operation == bindparam("operation"),
    IdempotencyRow.key == bindparam("key"),
)
_FIND = select(IdempotencyRow.fingerprint, IdempotencyRow.result).where(
    *_OF_CLAIM, IdempotencyRow.created_at > bindparam("since")
)
_INSERT = insert(IdempotencyRow)
_FORGET = delete(IdempotencyRow).where(*_OF_CLAIM)
_FORGET_EXPIRED = _FORGET.where(IdempotencyRow.created_at <= bindparam("since"))
_PURGE = delete(IdempotencyRow).where(IdempotencyRow.created_at <= bindparam("since"))


class Idempotency:
    """The claims of the last 24 hours."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def find(self, claim: Claim) -> Mapping[str, Any] | None:
        """Return the result of the first request with this claim, None when there was none.

        Raises Unprocessable when that request had another body.
        """
        return await self._database.read(lambda connection: _find(connection, claim))

    async def once(self, claim: Claim | None, act: Callable[[Connection], Mapping[str, Any]]) -> Mapping[str, Any]:
        """Do in a transaction what records the claim, unless it has been done; the first request's result."""
        while True:
            if claim is not None and (first := await self.find(claim)) is not None:
                return first
            try:
                return await self._database.write(act)
            except AlreadyClaimed:
                continue

    async def purge(self) -> None:
        """Delete the claims that are older than 24 hours."""
        await self._database.write(lambda connection: connection.execute(_PURGE, {"since": utc_now() - RETENTION}))


def record(connection: Connection, claim: Claim | None, result: Mapping[str, Any]) -> None:
    """Write the claim, in the transaction that does the work. Raises AlreadyClaimed: roll back, and `find` again."""
    if claim is None:
        return
    now = utc_now()
    values = structs.asdict(claim)
    # An expired claim counts no longer, purged or not.
    connection.execute(_FORGET_EXPIRED, {**values, "since": now - RETENTION})
    try:
        connection.execute(_INSERT, {**values, "result": dict(result), "created_at": now})
    except IntegrityError:
        raise AlreadyClaimed from None


def is_claimed(connection: Connection, key_id: str, operation: str, key: str | None) -> bool:
    """Check for an earlier request with an `Idempotency-Key`, whatever its body was."""
    if key is None or "\0" in key:  # PostgreSQL refuses a NUL, even to compare with it
        return False
    values = {"key_id": key_id, "operation": operation, "key": key, "since": utc_now() - RETENTION}
    return connection.execute(_FIND, values).first() is not None


def forget(connection: Connection, claim: Claim | None) -> None:
    """Delete a claim, with the work that is undone."""
    if claim is not None:
        connection.execute(_FORGET, structs.asdict(claim))


def _find(connection: Connection, claim: Claim) -> Mapping[str, Any] | None:
    row = connection.execute(_FIND, {**structs.asdict(claim), "since": utc_now() - RETENTION}).first()
    if row is None:
        return None
    if row.fingerprint != claim.fingerprint:
        raise Unprocessable("This Idempotency-Key was used with another request body", code="idempotency_key_reused")
    result: Mapping[str, Any] = row.result
    return result
