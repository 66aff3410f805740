"""What all tables have in common: their base, and the types that both databases share."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final, TypeVar

import msgspec
from sqlalchemy import BigInteger, DateTime, Dialect, Integer, MetaData, Row
from sqlalchemy.orm import DeclarativeBase
from sqlalchemy.types import TypeDecorator

MAX_INTEGER = 2**63 - 1

T = TypeVar("T", bound=msgspec.Struct)

# SQLite numbers rows by itself only in a column that is called INTEGER, which holds 64 bits there.
BigId = BigInteger().with_variant(Integer, "sqlite")


class Base(DeclarativeBase):
    """The base of every model; constraint names are fixed, so that migrations can refer to them."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(column_0_N_label)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )


class UtcDateTime(TypeDecorator[datetime]):
    """A datetime in UTC. SQLite stores no time zone, so that values must be in UTC, and get it back when read."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


def value_of(kind: type[T], row: Row[*tuple[object, ...]]) -> T:
    """Make a value of `kind`, a struct whose fields are named for the row's columns."""
    return msgspec.convert(row._mapping, kind, from_attributes=True)


ENGINE_OPTIONS: Final[Mapping[str, Any]] = {
    "json_serializer": json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode,
    "json_deserializer": msgspec.json.decode,
    "hide_parameters": True,  # they are what people wrote
}
"""What every engine is made with."""
