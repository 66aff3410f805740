"""Events from platforms, the bots' connections, and what belongs to conversations there.

Revision ID: 0026
Revises: 0025
"""

import sqlalchemy as sa
from alembic import op

revision = "0026"
down_revision = "0025"
branch_labels = None
depends_on = None

BIG_ID = sa.BigInteger().with_variant(sa.Integer, "sqlite")
TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.add_column("im_messages", sa.Column("live_ids", sa.JSON(), nullable=True))
    op.create_table(
        "im_inbox",
        sa.Column("id", BIG_ID, autoincrement=True, nullable=False),
        sa.Column("bot_id", sa.String(length=64), nullable=False),
        sa.Column("dedupe_key", sa.String(length=255), nullable=False),
        sa.Column("target", sa.String(length=640), nullable=False),
        sa.Column("platform_id", sa.String(length=255), nullable=False),
        sa.Column("event", sa.JSON(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("reason", sa.String(length=64), nullable=True),
        sa.Column("run_id", sa.String(length=36), nullable=True),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("owner", sa.String(length=36), nullable=False),
        sa.Column("leased_until", TIME, nullable=False),
        sa.Column("received_at", TIME, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_im_inbox")),
        sa.UniqueConstraint("bot_id", "dedupe_key", name=op.f("uq_im_inbox_bot_id_dedupe_key")),
    )
    op.create_index("ix_im_inbox_lane", "im_inbox", ["bot_id", "target", "state", "id"])
    op.create_index("ix_im_inbox_state", "im_inbox", ["state", "leased_until"])
    op.create_index("ix_im_inbox_received_at", "im_inbox", ["received_at"])
    op.create_index("ix_im_inbox_platform_id", "im_inbox", ["bot_id", "target", "platform_id"])
    op.create_table(
        "im_leases",
        sa.Column("bot_id", sa.String(length=64), nullable=False),
        sa.Column("owner", sa.String(length=36), nullable=True),
        sa.Column("leased_until", TIME, nullable=True),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("since", TIME, nullable=False),
        sa.Column("last_error", sa.Text(), nullable=True),
        sa.Column("identity", sa.JSON(), nullable=True),
        sa.Column("checkpoint", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("bot_id", name=op.f("pk_im_leases")),
    )
    op.create_table(
        "im_contexts",
        sa.Column("id", BIG_ID, autoincrement=True, nullable=False),
        sa.Column("bot_id", sa.String(length=64), nullable=False),
        sa.Column("target", sa.String(length=640), nullable=False),
        sa.Column("token", sa.LargeBinary(), nullable=False),
        sa.Column("uses_left", sa.Integer(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("expires_at", TIME, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_im_contexts")),
    )
    op.create_index("ix_im_contexts_lane", "im_contexts", ["bot_id", "target", "expires_at"])
    op.create_index(op.f("ix_im_contexts_expires_at"), "im_contexts", ["expires_at"])
    op.create_table(
        "im_chats",
        sa.Column("bot_id", sa.String(length=64), nullable=False),
        sa.Column("chat", sa.String(length=896), nullable=False),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("bot_id", "chat", name=op.f("pk_im_chats")),
    )
    op.create_table(
        "im_pairings",
        sa.Column("bot_id", sa.String(length=64), nullable=False),
        sa.Column("sender_id", sa.String(length=255), nullable=False),
        sa.Column("code", sa.String(length=16), nullable=False),
        sa.Column("sender_name", sa.String(length=255), nullable=False),
        sa.Column("approved", sa.Boolean(), nullable=True),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("decided_at", TIME, nullable=True),
        sa.PrimaryKeyConstraint("bot_id", "sender_id", name=op.f("pk_im_pairings")),
        sa.UniqueConstraint("bot_id", "code", name=op.f("uq_im_pairings_bot_id_code")),
    )
    op.create_table(
        "im_live",
        sa.Column("run_id", sa.String(length=36), nullable=False),
        sa.Column("bot_id", sa.String(length=64), nullable=False),
        sa.Column("target", sa.String(length=640), nullable=False),
        sa.Column("platform_ids", sa.JSON(), nullable=False),
        sa.Column("opened_at", TIME, nullable=False),
        sa.PrimaryKeyConstraint("run_id", name=op.f("pk_im_live")),
    )


def downgrade() -> None:
    for name in ("im_live", "im_pairings", "im_chats", "im_contexts", "im_leases", "im_inbox"):
        op.drop_table(name)
    with op.batch_alter_table("im_messages") as table:
        table.drop_column("live_ids")
