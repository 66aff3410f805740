"""Run the migrations on the database whose URL `app.database.migrations` hands over."""

import asyncio
from typing import Any

from alembic import context
from sqlalchemy import Connection, Engine, create_engine, event, make_url, text
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

import app.auth.audit
import app.auth.browser.models
import app.auth.master_key
import app.auth.models
import app.bots.inbox.models
import app.bots.models
import app.bots.outbox.models
import app.chat.models
import app.cluster.configs
import app.database.identity
import app.files.models
import app.files.pending
import app.idempotency
import app.knowledge.models
import app.providers.stored
import app.roles.models
import app.tools.mcp.models
import app.usage.models  # noqa: F401 - imported so that their tables are in the metadata
from app.database.postgresql import POOLED_ARGUMENTS
from app.database.tables import Base

BUSY_TIMEOUT_SECONDS = 60
MIGRATION_LOCK = int.from_bytes(b"palaver")
"""The advisory lock of PostgreSQL's that migrations hold."""


def has_a_model(name: str | None, kind: str, _parents: Any) -> bool:
    """Leave the full-text index's tables, which SQLAlchemy does not know, out of comparisons with the models."""
    return not (kind == "table" and (name or "").startswith("knowledge_terms"))


def run(connection: Connection) -> None:
    context.configure(
        connection=connection,
        target_metadata=Base.metadata,
        render_as_batch=True,
        compare_type=True,
        include_name=has_a_model,
        transactional_ddl=True,
    )
    with context.begin_transaction():
        context.run_migrations()


def in_one_transaction(engine: Engine) -> None:
    """Make an upgrade of SQLite all or nothing, and let a second one wait for the first.

    The driver would otherwise commit after each statement, so that a killed upgrade could not be begun again.
    """

    @event.listens_for(engine, "connect")
    def connected(dbapi_connection: Any, _record: object) -> None:
        dbapi_connection.isolation_level = None

    @event.listens_for(engine, "begin")
    def begun(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")


def run_sqlite(url: str) -> None:
    # By Python's own driver: through the asynchronous one each statement is a call of another thread, and back.
    plain = make_url(url).set(drivername="sqlite")
    engine = create_engine(plain, poolclass=NullPool, connect_args={"timeout": BUSY_TIMEOUT_SECONDS})
    in_one_transaction(engine)
    with engine.connect() as connection:
        run(connection)
        connection.commit()
    engine.dispose()


async def run_async(url: str) -> None:
    engine = create_async_engine(url, poolclass=NullPool, connect_args=dict(POOLED_ARGUMENTS))
    async with engine.connect() as connection:
        # Servers that start together wait here for each other, until the commit.
        await connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": MIGRATION_LOCK})
        await connection.run_sync(run)
        await connection.commit()
    await engine.dispose()


url: str = context.config.attributes["url"]
if url.startswith("sqlite"):
    run_sqlite(url)
else:
    asyncio.run(run_async(url))
