"""Full-text search over Palaver's own terms, in SQLite and in PostgreSQL."""

from app.knowledge.fulltext.base import FullText


def fulltext_for(dialect: str) -> FullText:
    """The full-text index of a database of that SQLAlchemy dialect."""
    if dialect == "sqlite":
        from app.knowledge.fulltext.sqlite import SqliteFullText

        return SqliteFullText()
    from app.knowledge.fulltext.postgres import PostgresFullText

    return PostgresFullText()
