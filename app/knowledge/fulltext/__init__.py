"""Full-text search over Palaver's own terms, in SQLite and in PostgreSQL."""

from sqlalchemy import Connection

from app.knowledge.fulltext.base import FullText
from app.knowledge.fulltext.postgres import PostgresFullText
from app.knowledge.fulltext.sqlite import SqliteFullText


def fulltext_for(connection: Connection) -> FullText:
    """The full-text index of the connection's database, within its transaction."""
    return SqliteFullText(connection) if connection.dialect.name == "sqlite" else PostgresFullText(connection)
