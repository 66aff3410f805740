"""What embeddings used, beside the replies of a day.

Revision ID: 0031
Revises: 0030
"""

import sqlalchemy as sa
from alembic import op

revision = "0031"
down_revision = "0030"
branch_labels = None
depends_on = None

COLUMNS = ("embeddings", "embedding_tokens", "embedding_cost")


def upgrade() -> None:
    for name in COLUMNS:
        op.add_column("usage", sa.Column(name, sa.BigInteger(), nullable=False, server_default="0"))


def downgrade() -> None:
    for name in reversed(COLUMNS):
        op.drop_column("usage", name)
