"""Knowledge: collections, documents, passages, their vectors and their full-text index.

Revision ID: 0004
Revises: 0003
"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

# SQLite numbers rows by itself only in a column that is called INTEGER, which holds 64 bits there.
big_id = sa.BigInteger().with_variant(sa.Integer(), "sqlite")

# The terms are made by Palaver (app/knowledge/tokens.py); the tokenizer only takes them apart at the spaces. `scope` is
# one term that stands for the collection. SQLite has no cascade into a virtual table, hence the trigger.
SQLITE = (
    "CREATE VIRTUAL TABLE knowledge_terms USING fts5(scope, heading, body, tokenize = 'ascii')",
    """
    CREATE TRIGGER knowledge_passages_deleted AFTER DELETE ON knowledge_passages
    BEGIN DELETE FROM knowledge_terms WHERE rowid = old.id; END
    """,
)
POSTGRESQL = (
    """
    CREATE TABLE knowledge_terms (
        passage_id BIGINT PRIMARY KEY REFERENCES knowledge_passages (id) ON DELETE CASCADE,
        heading TEXT NOT NULL,
        body TEXT NOT NULL,
        terms TSVECTOR NOT NULL
    )
    """,
    "CREATE INDEX ix_knowledge_terms_terms ON knowledge_terms USING gin (terms)",
)


def upgrade() -> None:
    create_collections_and_documents()
    create_passages_and_vectors()
    for statement in SQLITE if op.get_bind().dialect.name == "sqlite" else POSTGRESQL:
        op.execute(statement)


def create_collections_and_documents() -> None:
    op.create_table(
        "knowledge_collections",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("owner", sa.String(length=255), nullable=False),
        sa.Column("name", sa.String(length=100), nullable=False),
        sa.Column("description", sa.String(length=500), nullable=False),
        sa.Column("embedding_provider", sa.String(length=64), nullable=True),
        sa.Column("embedding_model", sa.String(length=255), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_knowledge_collections")),
        sa.UniqueConstraint("owner", "name", name=op.f("uq_knowledge_collections_owner_name")),
    )
    op.create_table(
        "knowledge_documents",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("collection_id", sa.String(length=36), nullable=False),
        sa.Column("title", sa.String(length=255), nullable=False),
        sa.Column("media_type", sa.String(length=255), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("attachment_id", sa.String(length=36), nullable=True),
        sa.Column("owns_attachment", sa.Boolean(), nullable=False),
        sa.Column("status", sa.String(length=16), nullable=False),
        sa.Column("error_code", sa.String(length=64), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("passage_count", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["collection_id"],
            ["knowledge_collections.id"],
            name=op.f("fk_knowledge_documents_collection_id_knowledge_collections"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["attachment_id"],
            ["attachments.id"],
            name=op.f("fk_knowledge_documents_attachment_id_attachments"),
            ondelete="SET NULL",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_knowledge_documents")),
        sa.UniqueConstraint("collection_id", "sha256", name=op.f("uq_knowledge_documents_collection_id_sha256")),
    )
    op.create_index("ix_knowledge_documents_status", "knowledge_documents", ["status"])
    op.create_index("ix_knowledge_documents_attachment_id", "knowledge_documents", ["attachment_id"])


def create_passages_and_vectors() -> None:
    op.create_table(
        "knowledge_passages",
        sa.Column("id", big_id, autoincrement=True, nullable=False),
        sa.Column("document_id", sa.String(length=36), nullable=False),
        sa.Column("collection_id", sa.String(length=36), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("heading", sa.Text(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["document_id"],
            ["knowledge_documents.id"],
            name=op.f("fk_knowledge_passages_document_id_knowledge_documents"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_knowledge_passages")),
        sa.UniqueConstraint("document_id", "position", name=op.f("uq_knowledge_passages_document_id_position")),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "knowledge_vectors",
        sa.Column("passage_id", big_id, autoincrement=False, nullable=False),
        sa.Column("collection_id", sa.String(length=36), nullable=False),
        sa.Column("vector", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(
            ["passage_id"],
            ["knowledge_passages.id"],
            name=op.f("fk_knowledge_vectors_passage_id_knowledge_passages"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("passage_id", name=op.f("pk_knowledge_vectors")),
    )
    op.create_index(
        "ix_knowledge_vectors_collection_id_passage_id", "knowledge_vectors", ["collection_id", "passage_id"]
    )


def downgrade() -> None:
    if op.get_bind().dialect.name == "sqlite":
        op.execute("DROP TRIGGER knowledge_passages_deleted")
    op.execute("DROP TABLE knowledge_terms")
    op.drop_table("knowledge_vectors")
    op.drop_table("knowledge_passages")
    op.drop_table("knowledge_documents")
    op.drop_table("knowledge_collections")
