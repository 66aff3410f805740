"""A database with outboxes on it, and no server."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.bots.outbox.scripted import Stage, staged


@pytest.fixture
async def stage(data_dir: Path, database_url: str) -> AsyncIterator[Stage]:
    data_dir.mkdir(parents=True, exist_ok=True)
    async with staged(data_dir, database_url) as stage:
        yield stage
