"""Sums of usage: statements as functions of a connection."""

from collections.abc import Mapping, Sequence
from datetime import date, datetime
from typing import Any, Final

import msgspec
from sqlalchemy import ColumnElement, Connection, func, select
from sqlalchemy.dialects import postgresql

from app.usage.models import BOUNDS, UsageFailureRow, UsageRow
from app.usage.prices import NANOS

GROUPS: Final[Mapping[str, str]] = {
    "day": "day",
    "model": "model",
    "provider": "provider_id",
    "key": "key_id",
    "user": "username",
}
"""What usage can be grouped by, with its columns."""
_SUMS: Final = (
    "requests",
    "failures",
    "input_tokens",
    "cached_tokens",
    "output_tokens",
    "cost",
    "embeddings",
    "embedding_tokens",
    "embedding_cost",
)
_TIMES: Final = tuple(f"f{index}" for index in range(len(BOUNDS) + 1))


# Both databases have the clause, and SQLite's compiler takes PostgreSQL's word for it.
_ADD_EMBEDDINGS = postgresql.insert(UsageRow)
_ADD_EMBEDDINGS = _ADD_EMBEDDINGS.on_conflict_do_update(
    index_elements=[UsageRow.day, UsageRow.model, UsageRow.key_id, UsageRow.provider_id, UsageRow.username],
    set_={
        name: getattr(UsageRow, name) + _ADD_EMBEDDINGS.excluded[name]
        for name in ("embeddings", "embedding_tokens", "embedding_cost")
    },
)
_NO_REPLIES: Final = dict.fromkeys((*_SUMS, *_TIMES), 0)


class EmbeddingsUsed(msgspec.Struct, frozen=True):
    """What one answer with embeddings used; `key_id` and `username` are empty where nobody asked for it."""

    at: datetime
    provider_id: str
    model: str
    key_id: str
    username: str
    tokens: int
    cost: int


class UsageFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which usage: of the days `first` to `last`, of one key and one user, or of all (None)."""

    first: date
    last: date
    key_id: str | None = None
    username: str | None = None


class UsageSum(msgspec.Struct, frozen=True, kw_only=True):
    """What the replies of one group used, and its embeddings.

    `groups` are its values, `failures_by_cause` the codes of failed replies.
    """

    groups: Mapping[str, str]
    requests: int
    failures: int
    failures_by_cause: Mapping[str, int]
    input_tokens: int
    cached_tokens: int
    output_tokens: int
    cost: float
    first_token_ms_p50: int | None
    embeddings: int
    embedding_tokens: int
    embedding_cost: float


def add_embeddings(connection: Connection, used: EmbeddingsUsed) -> None:
    """Add one answer to its day."""
    values = {
        **_NO_REPLIES,
        "day": f"{used.at:%Y-%m-%d}",
        "model": used.model[:255],
        "key_id": used.key_id,
        "provider_id": used.provider_id,
        "username": used.username[:255],
        "embeddings": 1,
        "embedding_tokens": used.tokens,
        "embedding_cost": used.cost,
    }
    connection.execute(_ADD_EMBEDDINGS, values)


def sum_usage(connection: Connection, which: UsageFilter, groups: Sequence[str]) -> list[UsageSum]:
    """Sum up usage, by groups in their order."""
    columns = [getattr(UsageRow, GROUPS[group]) for group in groups]
    sums = [func.sum(getattr(UsageRow, name)).label(name) for name in (*_SUMS, *_TIMES)]
    query = select(*columns, *sums).where(*_conditions(UsageRow, which)).group_by(*columns).order_by(*columns)
    causes = _causes(connection, which, groups)
    rows = []
    for row in connection.execute(query):
        if not row.requests and not row.embeddings:  # without groups, nothing is one row as well
            continue
        key = tuple(row[: len(groups)])
        counts = {name: int(getattr(row, name)) for name in _SUMS}
        cost, embedding_cost = counts.pop("cost") / NANOS, counts.pop("embedding_cost") / NANOS
        times = [int(getattr(row, name)) for name in _TIMES]
        rows.append(
            UsageSum(
                groups=dict(zip(groups, key, strict=True)),
                failures_by_cause=causes.get(key, {}),
                cost=cost,
                embedding_cost=embedding_cost,
                first_token_ms_p50=median(times),
                **counts,
            )
        )
    return rows


def median(counts: Sequence[int]) -> int | None:
    """Estimate the median of times that are counted between BOUNDS; None without any."""
    total = sum(counts)
    if not total:
        return None
    before, lower = 0, 0
    for count, upper in zip(counts, (*BOUNDS, None), strict=True):
        if before + count >= total / 2:
            if upper is None:
                break
            return round(lower + (upper - lower) * (total / 2 - before) / count)
        before += count
        lower = upper or lower
    return BOUNDS[-1]


def _causes(
    connection: Connection, which: UsageFilter, groups: Sequence[str]
) -> Mapping[tuple[str, ...], Mapping[str, int]]:
    columns = [getattr(UsageFailureRow, GROUPS[group]) for group in groups]
    query = select(*columns, UsageFailureRow.cause, func.sum(UsageFailureRow.requests))
    query = query.where(*_conditions(UsageFailureRow, which)).group_by(*columns, UsageFailureRow.cause)
    causes: dict[tuple[str, ...], dict[str, int]] = {}
    for *key, cause, count in connection.execute(query):
        if count:
            causes.setdefault(tuple(key), {})[cause] = int(count)
    return causes


def _conditions(table: Any, which: UsageFilter) -> list[ColumnElement[bool]]:
    conditions = [table.day >= which.first.isoformat(), table.day <= which.last.isoformat()]
    if which.key_id is not None:
        conditions.append(table.key_id == which.key_id)
    if which.username is not None:
        conditions.append(table.username == which.username)
    return conditions
