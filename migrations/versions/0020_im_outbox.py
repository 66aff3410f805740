"""Deliveries to platforms, their fragments, and the chats that take nothing for a while.

Revision ID: 0020
Revises: 0019
"""

import sqlalchemy as sa
from alembic import op

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None

BIG_ID = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    op.create_table(
        "im_messages",
        sa.Column("seq", BIG_ID, autoincrement=True, nullable=False),
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("bot_id", sa.String(length=64), nullable=False),
        sa.Column("target", sa.String(length=640), nullable=False),
        sa.Column("origin", sa.String(length=8), nullable=False),
        sa.Column("key_id", sa.String(length=64), nullable=False),
        sa.Column("username", sa.String(length=255), nullable=True),
        sa.Column("message_key", sa.String(length=128), nullable=False),
        sa.Column("parts", sa.JSON(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("waits", sa.Boolean(), nullable=False),
        sa.Column("not_before", sa.DateTime(timezone=True), nullable=False),
        sa.Column("deadline", sa.DateTime(timezone=True), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("owner", sa.String(length=36), nullable=True),
        sa.Column("leased_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("error_code", sa.String(length=64), nullable=True),
        sa.Column("error_status", sa.Integer(), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("callback", sa.LargeBinary(), nullable=True),
        sa.Column("callback_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("callback_tries", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_im_messages")),
        sa.UniqueConstraint("id", name=op.f("uq_im_messages_id")),
        sa.UniqueConstraint("bot_id", "message_key", name=op.f("uq_im_messages_bot_id_message_key")),
    )
    op.create_index("ix_im_messages_lane", "im_messages", ["bot_id", "target", "state", "seq"])
    op.create_index("ix_im_messages_due", "im_messages", ["state", "not_before"])
    op.create_index(op.f("ix_im_messages_callback_at"), "im_messages", ["callback_at"])
    op.create_index("ix_im_messages_finished_at", "im_messages", ["finished_at"])
    op.create_table(
        "im_fragments",
        sa.Column("message_seq", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("no", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("action", sa.String(length=8), nullable=False),
        sa.Column("payload", sa.JSON(), nullable=False),
        sa.Column("plain", sa.JSON(), nullable=True),
        sa.Column("attachment_id", sa.String(length=36), nullable=True),
        sa.Column("edited_id", sa.String(length=255), nullable=True),
        sa.Column("wire_key", sa.String(length=64), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("first_tried_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("platform_id", sa.String(length=255), nullable=True),
        sa.Column("extra", sa.JSON(), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(
            ["message_seq"],
            ["im_messages.seq"],
            name=op.f("fk_im_fragments_message_seq_im_messages"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("message_seq", "no", name=op.f("pk_im_fragments")),
    )
    op.create_index(op.f("ix_im_fragments_platform_id"), "im_fragments", ["platform_id"])
    op.create_table(
        "im_pauses",
        sa.Column("bot_id", sa.String(length=64), nullable=False),
        sa.Column("target", sa.String(length=640), nullable=False),
        sa.Column("until", sa.DateTime(timezone=True), nullable=False),
        sa.Column("reason", sa.String(length=16), nullable=False),
        sa.Column("error", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("bot_id", "target", name=op.f("pk_im_pauses")),
    )


def downgrade() -> None:
    op.drop_table("im_pauses")
    op.drop_table("im_fragments")
    op.drop_table("im_messages")
