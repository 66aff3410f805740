"""The PostgreSQL server that is measured on: an empty database, and the CPU time of its processes."""

import importlib.util
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import uuid4

import psutil

POSTGRES_URL = os.environ.get("PALAVER_TEST_POSTGRES_URL", "postgresql://postgres@127.0.0.1:5432/postgres")
NO_POSTGRES = "no PostgreSQL to measure on"


@asynccontextmanager
async def empty_database() -> AsyncIterator[str]:
    """The URL of an empty database, which is dropped when the block ends. Raises OSError when there is no server."""
    if importlib.util.find_spec("asyncpg") is None:
        raise OSError("asyncpg is not installed")
    import asyncpg  # type: ignore[import-not-found, import-untyped, unused-ignore]

    name = f"palaver_bench_{uuid4().hex[:12]}"
    base = POSTGRES_URL.replace("postgresql+asyncpg://", "postgresql://", 1)
    try:
        connection = await asyncpg.connect(base, timeout=5)
    except asyncpg.PostgresError as error:
        raise OSError(str(error)) from error
    try:
        await connection.execute(f"CREATE DATABASE {name}")
        try:
            yield f"postgresql+asyncpg{base.removeprefix('postgresql').rpartition('/')[0]}/{name}"
        finally:
            await connection.execute(f"DROP DATABASE {name} WITH (FORCE)")
    finally:
        await connection.close()


def postgres_cpu_seconds() -> float:
    """The CPU time that all processes of PostgreSQL on this machine have used."""
    total = 0.0
    for process in psutil.process_iter(["name", "cpu_times"]):
        if process.info["name"] == "postgres" and process.info["cpu_times"] is not None:
            total += process.info["cpu_times"].user + process.info["cpu_times"].system
    return total
