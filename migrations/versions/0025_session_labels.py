"""Labels and pins of sessions, and what people thought of messages.

Revision ID: 0025
Revises: 0024
"""

import sqlalchemy as sa
from alembic import op

revision = "0025"
down_revision = "0024"
branch_labels = None
depends_on = None

big_id = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.add_column("sessions", sa.Column("labels", sa.JSON(), nullable=False, server_default="[]"))
    op.add_column("sessions", sa.Column("pinned", sa.Boolean(), nullable=False, server_default=sa.false()))
    op.create_table(
        "feedback",
        sa.Column("id", big_id, autoincrement=True, nullable=False),
        sa.Column("message_id", big_id, nullable=False),
        sa.Column("session_id", sa.String(length=255), nullable=False),
        sa.Column("username", sa.String(length=255), nullable=False),
        sa.Column("rating", sa.String(length=8), nullable=True),
        sa.Column("content", sa.Text(), nullable=False),
        sa.Column("run_id", sa.String(length=36), nullable=True),
        sa.Column("model", sa.String(length=255), nullable=True),
        sa.Column("key_id", sa.String(length=64), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["message_id"], ["messages.id"], name=op.f("fk_feedback_message_id_messages"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_feedback")),
        sa.UniqueConstraint("message_id", "username", name=op.f("uq_feedback_message_id_username")),
        sqlite_autoincrement=True,
    )
    op.create_index(op.f("ix_feedback_username_id"), "feedback", ["username", "id"])


def downgrade() -> None:
    op.drop_table("feedback")
    op.drop_column("sessions", "pinned")
    op.drop_column("sessions", "labels")
