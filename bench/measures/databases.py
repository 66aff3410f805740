"""Chats on SQLite, on PostgreSQL, and on two servers that share a PostgreSQL database."""

import asyncio
import secrets
from contextlib import AsyncExitStack
from typing import Any

from bench.measures.streams import Subject, run
from bench.postgres import NO_POSTGRES, empty_database, postgres_cpu_seconds
from bench.scenario import Bench, Figures
from bench.systems import CHAT, palaver

REPLY = "t64"
CLIENTS, REQUESTS = 16, 480
ROWS = ("ratio", "sqlite_rate", "postgres_rate", "sqlite_cpu", "postgres_cpu", "postgres_own", "two_ratio")


async def chats(bench: Bench) -> Figures:
    """The same chats, in turns."""
    figures = Figures()
    clients, requests = bench.scaled(CLIENTS, 2), bench.scaled(REQUESTS, 8)
    async with AsyncExitStack() as stack:
        try:
            url = await stack.enter_async_context(empty_database())
        except OSError:
            figures.skipped = dict.fromkeys(ROWS, NO_POSTGRES)
            return figures
        shared: dict[str, Any] = {"PALAVER_DATABASE_URL": url, "PALAVER_SECRET_KEY": secrets.token_hex(32)}

        async def server(name: str, settings: dict[str, Any]) -> Subject:
            opened = palaver(bench.new_folder(name), bench.model, PALAVER_SERVER=bench.server, **settings)
            subject = Subject(CHAT, await stack.enter_async_context(opened))
            await run(subject, REPLY, clients, clients)  # to be warm
            return subject

        on_sqlite, one, other = await server("sqlite", {}), await server("a", shared), await server("b", shared)
        other.asked = 1_000_000  # sessions of its own
        for _ in range(bench.rounds):
            sqlite = await run(on_sqlite, REPLY, requests, clients)
            before = postgres_cpu_seconds()
            postgres = await run(one, REPLY, requests, clients)
            own = postgres_cpu_seconds() - before
            halves = await asyncio.gather(*(run(each, REPLY, requests // 2, clients // 2) for each in (one, other)))
            sqlite_rate, postgres_rate = (sample.requests / sample.load.seconds for sample in (sqlite, postgres))
            figures.add(
                ratio=postgres_rate / sqlite_rate,
                sqlite_rate=sqlite_rate,
                postgres_rate=postgres_rate,
                sqlite_cpu=sqlite.cpu_ms,
                postgres_cpu=postgres.cpu_ms,
                postgres_own=1000 * own / requests,
                two_ratio=sum(half.cpu_seconds for half in halves) / requests / (postgres.cpu_ms / 1000),
            )
    return figures
