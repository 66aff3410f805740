"""The tables of counters and of usage."""

from datetime import datetime
from typing import Final

from sqlalchemy import BigInteger, Index, LargeBinary, String
from sqlalchemy.orm import Mapped, mapped_column

from app.database.tables import Base, UtcDateTime

BOUNDS: Final = (50, 100, 200, 400, 800, 1600, 3200, 6400, 12800)
"""Milliseconds to the first token up to which the columns of `usage` count; one more column counts what is above."""


class LimitCountersRow(Base):
    """The counters of a key or of one of its users, as app.usage.counters has them."""

    __tablename__ = "limit_counters"

    subject: Mapped[str] = mapped_column(String(128), primary_key=True)
    counters: Mapped[bytes] = mapped_column(LargeBinary)
    updated_at: Mapped[datetime] = mapped_column(UtcDateTime, index=True)


class UsageRow(Base):
    """What the replies that ended on a day (UTC) used; a trigger on `runs` adds them up.

    Embeddings have columns of their own, which it leaves alone. `f0` to `f9` count the replies by the time to their
    first token.
    """

    __tablename__ = "usage"
    __table_args__ = (Index("ix_usage_key_id_day", "key_id", "day"), {"sqlite_with_rowid": False})

    day: Mapped[str] = mapped_column(String(10), primary_key=True)
    model: Mapped[str] = mapped_column(String(255), primary_key=True)
    key_id: Mapped[str] = mapped_column(String(64), primary_key=True)
    provider_id: Mapped[str] = mapped_column(String(64), primary_key=True)
    username: Mapped[str] = mapped_column(String(255), primary_key=True)
    requests: Mapped[int] = mapped_column(BigInteger)
    failures: Mapped[int] = mapped_column(BigInteger)
    input_tokens: Mapped[int] = mapped_column(BigInteger)
    cached_tokens: Mapped[int] = mapped_column(BigInteger)
    output_tokens: Mapped[int] = mapped_column(BigInteger)
    cost: Mapped[int] = mapped_column(BigInteger)
    embeddings: Mapped[int] = mapped_column(BigInteger, server_default="0")
    embedding_tokens: Mapped[int] = mapped_column(BigInteger, server_default="0")
    embedding_cost: Mapped[int] = mapped_column(BigInteger, server_default="0")
    f0: Mapped[int] = mapped_column(BigInteger)
    f1: Mapped[int] = mapped_column(BigInteger)
    f2: Mapped[int] = mapped_column(BigInteger)
    f3: Mapped[int] = mapped_column(BigInteger)
    f4: Mapped[int] = mapped_column(BigInteger)
    f5: Mapped[int] = mapped_column(BigInteger)
    f6: Mapped[int] = mapped_column(BigInteger)
    f7: Mapped[int] = mapped_column(BigInteger)
    f8: Mapped[int] = mapped_column(BigInteger)
    f9: Mapped[int] = mapped_column(BigInteger)


class UsageFailureRow(Base):
    """How many replies failed on a day, by their cause."""

    __tablename__ = "usage_failures"
    __table_args__ = (Index("ix_usage_failures_key_id_day", "key_id", "day"), {"sqlite_with_rowid": False})

    day: Mapped[str] = mapped_column(String(10), primary_key=True)
    model: Mapped[str] = mapped_column(String(255), primary_key=True)
    key_id: Mapped[str] = mapped_column(String(64), primary_key=True)
    provider_id: Mapped[str] = mapped_column(String(64), primary_key=True)
    username: Mapped[str] = mapped_column(String(255), primary_key=True)
    cause: Mapped[str] = mapped_column(String(64), primary_key=True)
    requests: Mapped[int] = mapped_column(BigInteger)
