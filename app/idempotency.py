"""Idempotency keys: a request that is sent twice is done once.

A claim is a row with a unique key, written in the transaction that does the work: whoever comes second finds the row
there, however close behind. What is refused is rolled back together with its claim, and may be tried again.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import msgspec
from sqlalchemy import JSON, Connection, String, delete, insert, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Mapped, mapped_column

from app.clock import utc_now
from app.database.engine import Database
from app.database.tables import Base, UtcDateTime
from app.errors import BadRequest, Unprocessable

KEPT = timedelta(hours=24)
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


@dataclass(frozen=True, slots=True)
class Claim:
    """A caller's word that requests with this `key` are one and the same.

    `key_id` is the API key's id, which rotation does not change; `fingerprint` tells whether the bodies are the same.
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
    """The claim in an `Idempotency-Key`; None when the caller makes none. Raises BadRequest.

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


class Idempotency:
    """The claims of the last 24 hours."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def find(self, claim: Claim) -> Mapping[str, Any] | None:
        """What came of the first request with this claim, if there was one.

        Raises Unprocessable when that request had another body.
        """
        query = select(IdempotencyRow).where(*_same_key(claim), IdempotencyRow.created_at > utc_now() - KEPT)
        row = await self._database.read(lambda connection: connection.execute(query).first())
        if row is None:
            return None
        if row.fingerprint != claim.fingerprint:
            raise Unprocessable(
                "This Idempotency-Key was used with another request body", code="idempotency_key_reused"
            )
        result: Mapping[str, Any] = row.result
        return result

    async def purge(self) -> None:
        """Forget claims that are older than 24 hours."""
        async with self._database.write_block() as connection:
            await connection.execute(delete(IdempotencyRow).where(IdempotencyRow.created_at <= utc_now() - KEPT))


def record(connection: Connection, claim: Claim | None, result: Mapping[str, Any]) -> None:
    """Write the claim, in the transaction that does the work. Raises AlreadyClaimed: roll back, and `find` again."""
    if claim is None:
        return
    now = utc_now()
    # What is too old counts no longer, purged or not.
    connection.execute(delete(IdempotencyRow).where(*_same_key(claim), IdempotencyRow.created_at <= now - KEPT))
    try:
        connection.execute(
            insert(IdempotencyRow).values(
                key_id=claim.key_id,
                operation=claim.operation,
                key=claim.key,
                fingerprint=claim.fingerprint,
                result=dict(result),
                created_at=now,
            )
        )
    except IntegrityError:
        raise AlreadyClaimed from None


def forget(connection: Connection, claim: Claim | None) -> None:
    """Take a claim back, with the work that is undone."""
    if claim is not None:
        connection.execute(delete(IdempotencyRow).where(*_same_key(claim)))


def _same_key(claim: Claim) -> tuple[Any, ...]:
    return (
        IdempotencyRow.key_id == claim.key_id,
        IdempotencyRow.operation == claim.operation,
        IdempotencyRow.key == claim.key,
    )
