"""Browser tokens and sessions in the database: functions of a connection."""

from datetime import datetime

from msgspec import structs
from sqlalchemy import Connection, delete, insert, select

from app.auth.browser.models import BrowserSessionRow, BrowserTokenRow, Grant
from app.auth.models import ApiKeyRow
from app.auth.scopes import Scope
from app.database.tables import value_of


def find_operator_key(connection: Connection, name: str) -> tuple[str, bytes] | None:
    """Return the id and the hash of the newest live key with that name and every right, that no other key made."""
    statement = (
        select(ApiKeyRow.id, ApiKeyRow.digest, ApiKeyRow.scopes)
        .where(ApiKeyRow.name == name, ApiKeyRow.username.is_(None), ApiKeyRow.parent_id.is_(None))
        .where(ApiKeyRow.revoked_at.is_(None), ApiKeyRow.expires_at.is_(None))
        .order_by(ApiKeyRow.created_at.desc())
    )
    rows = connection.execute(statement).all()
    return next(((row.id, row.digest) for row in rows if set(row.scopes) == set(Scope)), None)


def add_token(connection: Connection, digest: bytes, grant: Grant) -> None:
    connection.execute(insert(BrowserTokenRow), {**_values(grant), "digest": digest})


def take_token(connection: Connection, digest: bytes, now: datetime) -> Grant | None:
    """Use a token up; None when there is none, or it has expired."""
    statement = delete(BrowserTokenRow).where(BrowserTokenRow.digest == digest).returning(BrowserTokenRow)
    row = connection.execute(statement).first()
    if row is None:
        return None
    grant = value_of(Grant, row)
    return grant if now < grant.expires_at else None


def add_session(connection: Connection, digest: bytes, grant: Grant, now: datetime) -> None:
    connection.execute(insert(BrowserSessionRow), {**_values(grant), "digest": digest, "created_at": now})


def find_session(connection: Connection, digest: bytes) -> Grant | None:
    row = connection.execute(select(BrowserSessionRow).where(BrowserSessionRow.digest == digest)).first()
    return None if row is None else value_of(Grant, row)


def delete_session(connection: Connection, digest: bytes) -> None:
    connection.execute(delete(BrowserSessionRow).where(BrowserSessionRow.digest == digest))


def purge(connection: Connection, now: datetime) -> None:
    """Delete what has expired."""
    connection.execute(delete(BrowserTokenRow).where(BrowserTokenRow.expires_at <= now))
    connection.execute(delete(BrowserSessionRow).where(BrowserSessionRow.expires_at <= now))


def _values(grant: Grant) -> dict[str, object]:
    return {**structs.asdict(grant), "scopes": sorted(grant.scopes)}
