"""The opening dialogue of a role.

Revision ID: 0029
Revises: 0028
"""

import sqlalchemy as sa
from alembic import op

revision = "0029"
down_revision = "0028"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("roles", sa.Column("begin_dialogs", sa.JSON(), nullable=False, server_default="[]"))


def downgrade() -> None:
    op.drop_column("roles", "begin_dialogs")
