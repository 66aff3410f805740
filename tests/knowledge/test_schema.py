"""The migrations make the tables that the models describe."""

from typing import Any

from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import create_async_engine

import app.auth.models
import app.bots.models
import app.chat.models
import app.files.models
import app.idempotency
import app.knowledge.models  # noqa: F401 - imported so that their tables are in the metadata
from app.database.tables import Base


async def test_migrations_and_models_agree(database_url: str) -> None:
    engine = create_async_engine(database_url)
    async with engine.connect() as connection:
        assert await connection.run_sync(differences) == []
    await engine.dispose()


def differences(connection: Connection) -> list[Any]:
    options = {"compare_type": True, "include_name": not_of_the_full_text_index}
    return list(compare_metadata(MigrationContext.configure(connection, opts=options), Base.metadata))


def not_of_the_full_text_index(name: str | None, kind: str, _parents: Any) -> bool:
    return not (kind == "table" and (name or "").startswith(("knowledge_terms", "message_terms")))
