"""The identity of the database, and an index over the files that it names.

Revision ID: 0014
Revises: 0013
"""

from uuid import uuid4

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    table = op.create_table(
        "database_identity",
        sa.Column("id", sa.String(36), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_database_identity"),
    )
    op.bulk_insert(table, [{"id": str(uuid4())}])
    op.create_index("ix_attachments_storage_key", "attachments", ["storage_key"])


def downgrade() -> None:
    op.drop_index("ix_attachments_storage_key", "attachments")
    op.drop_table("database_identity")
