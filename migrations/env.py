"""Run the migrations on the database whose URL `app.kit.migrations` hands over."""

import asyncio
from typing import Any

from alembic import context
from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

import app.auth.models
import app.chat.models
import app.files.models
import app.im.models  # noqa: F401 - imported so that their tables are in the metadata
from app.kit.db import Base


def run(connection: Connection) -> None:
    context.configure(connection=connection, target_metadata=Base.metadata, render_as_batch=True, compare_type=True)
    with context.begin_transaction():
        context.run_migrations()


async def run_async(url: str) -> None:
    engine = create_async_engine(url, poolclass=NullPool)
    async with engine.connect() as connection:
        await connection.run_sync(run)
        await connection.commit()
    await engine.dispose()


attributes: dict[str, Any] = context.config.attributes
if (given := attributes.get("connection")) is not None:
    run(given)
else:
    asyncio.run(run_async(attributes["url"]))
