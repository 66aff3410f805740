"""Servers that share a database; the order and the stops of runs; how often keys have changed.

Revision ID: 0019
Revises: 0018
"""

import sqlalchemy as sa
from alembic import op

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None

IS_OPEN = sa.text("status IN ('queued', 'running', 'requires_action')")


def upgrade() -> None:
    op.create_table(
        "servers",
        sa.Column("id", sa.String(36), nullable=False),
        sa.Column("hostname", sa.String(255), nullable=False),
        sa.Column("address", sa.String(255), nullable=False),
        sa.Column("version", sa.String(64), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("seen_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("holds_lock", sa.Boolean(), nullable=False),
        sa.Column("load", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_servers"),
    )
    op.drop_index("ix_runs_status_leased_until", "runs")
    op.drop_column("runs", "leased_until")
    op.add_column("runs", sa.Column("place", sa.Integer(), nullable=True))
    op.add_column("runs", sa.Column("stop_reason", sa.Text(), nullable=True))
    op.create_index("ix_runs_open", "runs", ["session_id"], sqlite_where=IS_OPEN, postgresql_where=IS_OPEN)
    op.add_column("key_clock", sa.Column("changes", sa.BigInteger(), nullable=False, server_default="0"))


def downgrade() -> None:
    op.drop_column("key_clock", "changes")
    op.drop_index("ix_runs_open", "runs")
    op.drop_column("runs", "stop_reason")
    op.drop_column("runs", "place")
    # Open runs of a server that is about to be started again: nobody holds them.
    since = "2001-01-01 00:00:00+00:00"
    op.add_column("runs", sa.Column("leased_until", sa.DateTime(timezone=True), nullable=False, server_default=since))
    op.create_index("ix_runs_status_leased_until", "runs", ["status", "leased_until"])
    op.drop_table("servers")
