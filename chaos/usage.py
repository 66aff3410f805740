"""The audit of usage: its sums, and those over the runs, must be the same to the token."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Row, func, select

from app.chat.models import RunRow
from app.usage.models import UsageRow

NAMES = ("input_tokens", "cached_tokens", "output_tokens", "cost")
Sums = Mapping[tuple[str, ...], tuple[int, ...]]
"""Requests, and the sums of NAMES, of each key, user, provider and model."""


def sums_of_runs(connection: Connection) -> Sums:
    """Sum up the runs that are over."""
    groups = (RunRow.key_id, RunRow.username, RunRow.provider_id, RunRow.model)
    sums = (func.coalesce(func.sum(getattr(RunRow, name)), 0) for name in NAMES)
    query = select(*groups, func.count(), *sums).where(RunRow.finished_at.is_not(None)).group_by(*groups)
    return _sums(connection.execute(query).all())


def sums_of_usage(connection: Connection) -> Sums:
    """Sum up the usage of all days; groups of nothing but embeddings have no runs."""
    groups = (UsageRow.key_id, UsageRow.username, UsageRow.provider_id, UsageRow.model)
    sums = (func.sum(getattr(UsageRow, name)) for name in ("requests", *NAMES))
    has_runs = (func.sum(UsageRow.requests) != 0) | (func.sum(UsageRow.embeddings) == 0)
    return _sums(connection.execute(select(*groups, *sums).group_by(*groups).having(has_runs)).all())


def differences(runs: Sums, usage: Sums) -> Iterator[str]:
    """Describe where the two differ."""
    for group in sorted(runs.keys() | usage.keys()):
        if runs.get(group) != usage.get(group):
            yield f"the usage of {' '.join(group)} is {usage.get(group)}, and its runs add up to {runs.get(group)}"


def _sums(rows: Sequence[Row[*tuple[Any, ...]]]) -> Sums:
    return {tuple(row[:4]): tuple(int(value) for value in row[4:]) for row in rows}
