"""The words of messages, of the users that search.

Revision ID: 0028
Revises: 0027
"""

import sqlalchemy as sa
from alembic import op

revision = "0028"
down_revision = "0027"
branch_labels = None
depends_on = None

big_id = sa.BigInteger().with_variant(sa.Integer(), "sqlite")

# The terms are made by Palaver (app/knowledge/tokens.py), each with its user's number before it; the tokenizer only
# takes them apart at the spaces. SQLite has no cascade into a virtual table, hence the trigger.
SQLITE = (
    "CREATE VIRTUAL TABLE message_terms USING fts5(terms, tokenize = 'ascii', detail = none, columnsize = 0)",
    """
    CREATE TRIGGER messages_deleted AFTER DELETE ON messages
    BEGIN DELETE FROM message_terms WHERE rowid = old.id; END
    """,
)
POSTGRESQL = (
    """
    CREATE TABLE message_terms (
        message_id BIGINT PRIMARY KEY REFERENCES messages (id) ON DELETE CASCADE,
        terms TSVECTOR NOT NULL
    )
    """,
    "CREATE INDEX ix_message_terms_terms ON message_terms USING gin (terms)",
)


def upgrade() -> None:
    op.create_table(
        "search_owners",
        sa.Column("number", big_id, autoincrement=True, nullable=False),
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("indexed_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_search_owners")),
        sa.UniqueConstraint("name", name=op.f("uq_search_owners_name")),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "search_sessions",
        sa.Column("session_id", sa.String(length=255), nullable=False),
        sa.Column("message_id", big_id, nullable=False),
        sa.ForeignKeyConstraint(
            ["session_id"], ["sessions.id"], name=op.f("fk_search_sessions_session_id_sessions"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("session_id", name=op.f("pk_search_sessions")),
    )
    for statement in SQLITE if op.get_bind().dialect.name == "sqlite" else POSTGRESQL:
        op.execute(statement)


def downgrade() -> None:
    if op.get_bind().dialect.name == "sqlite":
        op.execute("DROP TRIGGER messages_deleted")
    op.execute("DROP TABLE message_terms")
    op.drop_table("search_sessions")
    op.drop_table("search_owners")
