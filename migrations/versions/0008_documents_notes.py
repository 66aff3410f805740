"""The reader's notes on a document, and the removal of collections.

Revision ID: 0008
Revises: 0005
"""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0005"
branch_labels = None
depends_on = None

TABLES: dict[str, list[sa.Column[Any]]] = {
    "knowledge_collections": [sa.Column("deleting", sa.Boolean(), nullable=False, server_default=sa.false())],
    "knowledge_documents": [
        sa.Column("truncated", sa.Boolean(), nullable=False, server_default=sa.false()),
        sa.Column("notes", sa.JSON(), nullable=False, server_default="[]"),
    ],
}


def upgrade() -> None:
    for table, columns in TABLES.items():
        for column in columns:
            op.add_column(table, column)


def downgrade() -> None:
    for table, columns in TABLES.items():
        for column in columns:
            op.drop_column(table, column.name)
