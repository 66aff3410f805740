"""Limits of keys and their counters, what runs used, and its sums for each day.

A trigger adds up a run when it ends, so that no end can be without its usage; on PostgreSQL it waits for the commit,
so that ends at the same time do not wait for each other.

Revision ID: 0023
Revises: 0022
"""

import sqlalchemy as sa
from alembic import op

revision = "0023"
down_revision = "0022"
branch_labels = None
depends_on = None

BOUNDS = (50, 100, 200, 400, 800, 1600, 3200, 6400, 12800)
KEYS = ("day", "model", "key_id", "provider_id", "username")
SUMS = ("requests", "failures", "input_tokens", "cached_tokens", "output_tokens", "cost")
TIMES = tuple(f"f{index}" for index in range(len(BOUNDS) + 1))
LENGTHS = {"key_id": 64, "day": 10, "username": 255, "provider_id": 64, "model": 255, "cause": 64}


def failed(row: str) -> str:
    return f"{row}.status IN ('failed', 'interrupted')"


def count(row: str, sign: str, day: str) -> str:
    """Statements that add or take away a run that has ended."""
    number = f"{sign}1"
    ms = f"{row}.first_token_ms"
    lower, upper = (-1, *BOUNDS), (*BOUNDS, 10**12)
    times = [
        f"CASE WHEN {ms} > {low} AND {ms} <= {high} THEN {number} ELSE 0 END"
        for low, high in zip(lower, upper, strict=True)
    ]
    keys = [day, *(f"{row}.{name}" for name in KEYS[1:])]
    values = [
        *keys,
        number,
        f"CASE WHEN {failed(row)} THEN {number} ELSE 0 END",
        *(f"{sign}COALESCE({row}.{name}, 0)" for name in SUMS[2:]),
        *times,
    ]
    columns = (*KEYS, *SUMS, *TIMES)
    added = ", ".join(f"{name} = usage.{name} + excluded.{name}" for name in (*SUMS, *TIMES))
    cause = f"COALESCE({row}.error_code, 'unknown')"
    # All of it is constant.
    return f"""
    INSERT INTO usage ({", ".join(columns)}) VALUES ({", ".join(values)})
    ON CONFLICT ({", ".join(KEYS)}) DO UPDATE SET {added};
    INSERT INTO usage_failures ({", ".join(KEYS)}, cause, requests)
    SELECT {", ".join(keys)}, {cause}, {number} WHERE {failed(row)}
    ON CONFLICT ({", ".join(KEYS)}, cause) DO UPDATE SET requests = usage_failures.requests + excluded.requests;
    """  # noqa: S608


def upgrade() -> None:
    op.add_column("api_keys", sa.Column("limits", sa.JSON(), nullable=True))
    op.add_column("api_keys", sa.Column("blocked", sa.Boolean(), nullable=False, server_default=sa.false()))
    op.add_column("runs", sa.Column("reservation", sa.JSON(), nullable=True))
    for name in SUMS[2:]:
        op.add_column("runs", sa.Column(name, sa.BigInteger(), nullable=True))
    op.add_column("runs", sa.Column("first_token_ms", sa.Integer(), nullable=True))
    op.create_table(
        "limit_counters",
        sa.Column("subject", sa.String(length=128), nullable=False),
        sa.Column("counters", sa.LargeBinary(), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("subject", name=op.f("pk_limit_counters")),
    )
    op.create_index(op.f("ix_limit_counters_updated_at"), "limit_counters", ["updated_at"])
    for table, keys, sums in (
        ("usage", KEYS, (*SUMS, *TIMES)),
        ("usage_failures", (*KEYS, "cause"), ("requests",)),
    ):
        op.create_table(
            table,
            *(sa.Column(name, sa.String(length=LENGTHS[name]), nullable=False) for name in keys),
            *(sa.Column(name, sa.BigInteger(), nullable=False) for name in sums),
            sa.PrimaryKeyConstraint(*keys, name=op.f(f"pk_{table}")),
            sqlite_with_rowid=False,  # the days of a page are neighbours then: half the time
        )
        op.create_index(op.f(f"ix_{table}_key_id_day"), table, ["key_id", "day"])
    if op.get_bind().dialect.name == "sqlite":
        add = count("NEW", "+", "substr(NEW.finished_at, 1, 10)")
        take = count("OLD", "-", "substr(OLD.finished_at, 1, 10)")
        op.execute(
            "CREATE TRIGGER usage_of_end AFTER UPDATE OF finished_at ON runs"
            f" WHEN OLD.finished_at IS NULL AND NEW.finished_at IS NOT NULL BEGIN {add} END"
        )
        op.execute(
            "CREATE TRIGGER usage_of_new_end AFTER UPDATE OF finished_at ON runs"
            f" WHEN OLD.finished_at IS NOT NULL AND NEW.finished_at IS NOT NULL BEGIN {take} {add} END"
        )
        return
    add = count("NEW", "+", "to_char(NEW.finished_at AT TIME ZONE 'UTC', 'YYYY-MM-DD')")
    take = count("OLD", "-", "to_char(OLD.finished_at AT TIME ZONE 'UTC', 'YYYY-MM-DD')")
    op.execute(
        "CREATE FUNCTION usage_of_end() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        f" IF OLD.finished_at IS NOT NULL THEN {take} END IF;"
        f" IF NEW.finished_at IS NOT NULL THEN {add} END IF;"
        " RETURN NULL; END $$"
    )
    op.execute(
        "CREATE CONSTRAINT TRIGGER usage_of_end AFTER UPDATE OF finished_at ON runs DEFERRABLE INITIALLY DEFERRED"
        " FOR EACH ROW WHEN (OLD.finished_at IS NOT NULL OR NEW.finished_at IS NOT NULL)"
        " EXECUTE FUNCTION usage_of_end()"
    )


def downgrade() -> None:
    if op.get_bind().dialect.name == "sqlite":
        op.execute("DROP TRIGGER usage_of_new_end")
        op.execute("DROP TRIGGER usage_of_end")
    else:
        op.execute("DROP TRIGGER usage_of_end ON runs")
        op.execute("DROP FUNCTION usage_of_end()")
    op.drop_table("usage_failures")
    op.drop_table("usage")
    op.drop_table("limit_counters")
    op.drop_column("runs", "first_token_ms")
    for name in reversed(SUMS[2:]):
        op.drop_column("runs", name)
    op.drop_column("runs", "reservation")
    op.drop_column("api_keys", "blocked")
    op.drop_column("api_keys", "limits")
