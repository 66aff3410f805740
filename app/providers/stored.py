"""Model servers that were added over HTTP: a table, and its statements as functions of a connection."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from sqlalchemy import JSON, Connection, LargeBinary, String, delete, func, select
from sqlalchemy.dialects import postgresql
from sqlalchemy.orm import Mapped, mapped_column

from app.database.tables import Base, UtcDateTime
from app.errors import BadRequest, NotFound

MAX_PROVIDERS: Final = 100


class ProviderRow(Base):
    """A model server; its key and its headers are in `secrets`, encrypted."""

    __tablename__ = "providers"

    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    config: Mapped[dict[str, Any]] = mapped_column(JSON)
    secrets: Mapped[bytes] = mapped_column(LargeBinary)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    updated_at: Mapped[datetime] = mapped_column(UtcDateTime)


def list_providers(connection: Connection) -> list[tuple[str, dict[str, Any], bytes]]:
    """List the id, config and secrets of all providers, the oldest first."""
    rows = connection.execute(select(ProviderRow).order_by(ProviderRow.created_at, ProviderRow.id))
    return [(row.id, row.config, row.secrets) for row in rows]


def find_provider(connection: Connection, id: str) -> tuple[dict[str, Any], bytes] | None:
    """Find a provider's config and secrets, and lock it where the database has more than one writer."""
    row = connection.execute(select(ProviderRow).where(ProviderRow.id == id).with_for_update()).first()
    return None if row is None else (row.config, row.secrets)


def put_provider(connection: Connection, id: str, config: Mapping[str, Any], secrets: bytes, now: datetime) -> None:
    """Add a provider, or replace it. Raises BadRequest for one more than MAX_PROVIDERS."""
    count = connection.scalar(select(func.count()).select_from(ProviderRow).where(ProviderRow.id != id)) or 0
    if count >= MAX_PROVIDERS:
        raise BadRequest(f"There are {MAX_PROVIDERS} providers already", code="too_many_providers")
    values = {"config": dict(config), "secrets": secrets, "updated_at": now}
    statement = postgresql.insert(ProviderRow).values(id=id, created_at=now, **values)  # SQLite's is the same
    connection.execute(statement.on_conflict_do_update(index_elements=["id"], set_=values))


def delete_provider(connection: Connection, id: str) -> None:
    """Raises NotFound."""
    if not connection.execute(delete(ProviderRow).where(ProviderRow.id == id)).rowcount:
        raise NotFound("Provider not found", code="provider_not_found")
