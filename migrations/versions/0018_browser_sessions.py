"""Browser tokens, and the sessions that they become.

Revision ID: 0018
Revises: 0017
"""

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for table, created_at in (
        ("browser_tokens", ()),
        ("browser_sessions", (sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),)),
    ):
        op.create_table(
            table,
            sa.Column("digest", sa.LargeBinary(length=32), nullable=False),
            sa.Column("key_id", sa.String(length=64), nullable=False),
            sa.Column("key_digest", sa.LargeBinary(length=32), nullable=False),
            sa.Column("username", sa.String(length=255), nullable=True),
            sa.Column("scopes", sa.JSON(), nullable=False),
            *created_at,
            sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
            sa.PrimaryKeyConstraint("digest", name=op.f(f"pk_{table}")),
        )
        op.create_index(op.f(f"ix_{table}_expires_at"), table, ["expires_at"])
    op.create_index(op.f("ix_browser_sessions_key_id"), "browser_sessions", ["key_id"])


def downgrade() -> None:
    op.drop_table("browser_sessions")
    op.drop_table("browser_tokens")
