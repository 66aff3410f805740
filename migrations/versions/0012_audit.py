"""The audit trail, the makers of keys, and the latest time that keys have seen.

Revision ID: 0012
Revises: 0011
"""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "audit",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("key_id", sa.String(64), nullable=True),
        sa.Column("action", sa.String(64), nullable=False),
        sa.Column("target", sa.String(255), nullable=False),
        sa.Column("address", sa.String(64), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_audit"),
    )
    op.create_table(
        "key_clock",
        sa.Column("id", sa.Integer(), nullable=False, autoincrement=False),
        sa.Column("latest", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_key_clock"),
    )
    op.add_column("api_keys", sa.Column("parent_id", sa.String(36), nullable=True))
    op.create_index("ix_api_keys_parent_id", "api_keys", ["parent_id"])


def downgrade() -> None:
    op.drop_index("ix_api_keys_parent_id", "api_keys")
    op.drop_column("api_keys", "parent_id")
    op.drop_table("key_clock")
    op.drop_table("audit")
