"""Indexes for the lists of attachments and approvals.

Revision ID: 0030
Revises: 0029
"""

from alembic import op

revision = "0030"
down_revision = "0029"
branch_labels = None
depends_on = None

INDEXES = (
    ("ix_attachments_created_at_id", "attachments", ["created_at", "id"]),
    ("ix_attachments_owner_username_created_at_id", "attachments", ["owner_username", "created_at", "id"]),
    ("ix_approvals_created_at_id", "approvals", ["created_at", "id"]),
)


def upgrade() -> None:
    for name, table, columns in INDEXES:
        op.create_index(name, table, columns)


def downgrade() -> None:
    for name, table, _ in reversed(INDEXES):
        op.drop_index(name, table_name=table)
