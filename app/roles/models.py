"""Roles as they are stored, and as the rest of Palaver sees them."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any

from msgspec import UNSET, UnsetType
from sqlalchemy import JSON, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from app.database.tables import Base, UtcDateTime

SHARED = ""
"""The owner of what belongs to no user, and is everyone's to use."""
MAX_NAME_CHARS = 100
MAX_DESCRIPTION_CHARS = 500
MAX_PROMPT_CHARS = 100_000
MAX_ICON_CHARS = 16_384
MAX_COLLECTIONS = 50
MAX_COLLECTION_CHARS = 100


class RoleRow(Base):
    """One role; `collections` are ids or names of knowledge collections, none of which has to be there."""

    __tablename__ = "roles"
    __table_args__ = (UniqueConstraint("owner", "name"),)

    uuid: Mapped[str] = mapped_column(String(36), primary_key=True)
    owner: Mapped[str] = mapped_column(String(255))
    name: Mapped[str] = mapped_column(String(MAX_NAME_CHARS))
    description: Mapped[str] = mapped_column(String(MAX_DESCRIPTION_CHARS))
    system_prompt: Mapped[str] = mapped_column(Text)
    icon: Mapped[str] = mapped_column(Text)
    is_active: Mapped[bool]
    enable_l0_retrieval: Mapped[bool]
    config_id: Mapped[str | None] = mapped_column(String(100))
    collections: Mapped[list[str]] = mapped_column(JSON)
    create_time: Mapped[datetime] = mapped_column(UtcDateTime)
    update_time: Mapped[datetime] = mapped_column(UtcDateTime)


@dataclass(frozen=True, slots=True)
class Role:
    """One role. It is its owner's, or everyone's to use (SHARED).

    `system_prompt` takes the place of all others. `config_id` is the profile that answers, None the one that would
    without the role. With `enable_l0_retrieval` passages of `collections` go before the model; none named means all
    that the user sees.
    """

    uuid: str
    owner: str
    name: str
    description: str
    system_prompt: str
    icon: str
    is_active: bool
    enable_l0_retrieval: bool
    config_id: str | None
    collections: Sequence[str]
    create_time: datetime
    update_time: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class NewRole:
    """A role to be made; `owner` None is whoever makes it: the user of a bound key, else nobody (SHARED)."""

    name: str
    system_prompt: str
    owner: str | None = None
    description: str = ""
    icon: str = ""
    is_active: bool = True
    enable_l0_retrieval: bool = False
    config_id: str | None = None
    collections: Sequence[str] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class RoleChanges:
    """What is to be different; None, or UNSET for the profile, leaves it as it is."""

    name: str | None = None
    system_prompt: str | None = None
    owner: str | None = None
    description: str | None = None
    icon: str | None = None
    is_active: bool | None = None
    enable_l0_retrieval: bool | None = None
    config_id: str | UnsetType | None = UNSET
    collections: Sequence[str] | None = None

    def values(self) -> dict[str, Any]:
        """Those that change, by the names of the columns."""
        given = {each.name: getattr(self, each.name) for each in fields(self) if each.name != "config_id"}
        values = {name: value for name, value in given.items() if value is not None}
        return values if self.config_id is UNSET else {**values, "config_id": self.config_id}
