"""The migrations make the tables that the models describe."""

from pathlib import Path
from typing import Any

from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import create_engine

import app.auth.models
import app.bots.models
import app.chat.models
import app.files.models
import app.idempotency
import app.knowledge.models  # noqa: F401 - imported so that their tables are in the metadata
from app.database import migrations
from app.database.engine import sqlite_url
from app.database.tables import Base


def test_migrations_and_models_agree(tmp_path: Path) -> None:
    path = tmp_path / "palaver.db"
    migrations.upgrade(sqlite_url(path))
    engine = create_engine(f"sqlite:///{path}")
    with engine.connect() as connection:
        context = MigrationContext.configure(
            connection, opts={"compare_type": True, "include_name": not_of_the_full_text_index}
        )
        differences = compare_metadata(context, Base.metadata)
    engine.dispose()

    assert differences == []


def not_of_the_full_text_index(name: str | None, kind: str, _parents: Any) -> bool:
    return not (kind == "table" and (name or "").startswith("knowledge_terms"))
