"""The parents of messages, and which of them a session shows.

Revision ID: 0021
Revises: 0020
"""

import sqlalchemy as sa
from alembic import op

revision = "0021"
down_revision = "0020"
branch_labels = None
depends_on = None

# Until now a session was one line of messages, in the order of their ids.
LINE_UP = """
    UPDATE messages SET parent_id = (
        SELECT max(earlier.id) FROM messages AS earlier
        WHERE earlier.session_id = messages.session_id AND earlier.id < messages.id
    )
"""


def upgrade() -> None:
    op.add_column("messages", sa.Column("parent_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite")))
    op.add_column("messages", sa.Column("on_path", sa.Boolean(), nullable=False, server_default=sa.true()))
    op.create_index(
        op.f("ix_messages_session_id_parent_id"),
        "messages",
        ["session_id", "parent_id"],
        sqlite_where=sa.text("on_path = 0"),
        postgresql_where=sa.text("NOT on_path"),
    )
    op.execute(LINE_UP)


def downgrade() -> None:
    op.execute("DELETE FROM messages WHERE NOT on_path")
    op.drop_index(op.f("ix_messages_session_id_parent_id"), "messages")
    op.drop_column("messages", "on_path")
    op.drop_column("messages", "parent_id")
