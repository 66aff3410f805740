"""Bots as they are stored, and as the other slices see them."""

from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import JSON, Boolean, LargeBinary, String
from sqlalchemy.orm import Mapped, mapped_column

from app.database.tables import Base, UtcDateTime


class BotRow(Base):
    """One bot. `id` is the platform id of its umos; `secrets` is the adapter's secret settings, as encrypted JSON."""

    __tablename__ = "bots"

    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    adapter: Mapped[str] = mapped_column(String(64))
    name: Mapped[str] = mapped_column(String(100))
    enabled: Mapped[bool] = mapped_column(Boolean)
    config: Mapped[dict[str, Any]] = mapped_column(JSON)
    secrets: Mapped[bytes] = mapped_column(LargeBinary)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    updated_at: Mapped[datetime] = mapped_column(UtcDateTime)


class Bot(msgspec.Struct, frozen=True, kw_only=True):
    """A bot without its secrets; `config` holds the adapter's other settings."""

    id: str
    adapter: str
    name: str
    enabled: bool
    config: dict[str, Any]
    created_at: datetime
    updated_at: datetime
