"""Roles as they are stored, and as the other slices see them."""

from datetime import datetime

import msgspec
from sqlalchemy import JSON, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from app.database.tables import Base, UtcDateTime

SHARED = ""
"""The owner of what belongs to no user, and is everyone's to use."""
MAX_NAME_CHARS = 100
MAX_DESCRIPTION_CHARS = 500


class RoleRow(Base):
    """One role; `collections` are ids or names of knowledge collections, none of which has to exist."""

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
    tools: Mapped[list[str] | None] = mapped_column(JSON)
    begin_dialogs: Mapped[list[str]] = mapped_column(JSON)
    create_time: Mapped[datetime] = mapped_column(UtcDateTime)
    update_time: Mapped[datetime] = mapped_column(UtcDateTime)
    key_id: Mapped[str | None] = mapped_column(String(64))


class Role(msgspec.Struct, frozen=True, kw_only=True):
    """One role. It is its owner's, or everyone's to use (SHARED).

    `system_prompt` takes the place of all others. `config_id` is the profile that answers, None the one that would
    without the role. With `enable_l0_retrieval` passages of `collections` go before the model; without collections,
    of all that the user sees. `tools` are patterns that narrow the profile's tools, None leaves them as they are.
    `begin_dialogs` are texts of the user and the assistant in turn, which go before the conversation. `key_id` is the
    key that made it.
    """

    uuid: str
    owner: str
    name: str
    description: str = ""
    system_prompt: str
    icon: str = ""
    is_active: bool = True
    enable_l0_retrieval: bool = False
    config_id: str | None = None
    collections: tuple[str, ...] = ()
    tools: tuple[str, ...] | None = None
    begin_dialogs: tuple[str, ...] = ()
    create_time: datetime
    update_time: datetime
    key_id: str | None = None
