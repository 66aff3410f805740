"""`python -m bench.parts`: what the parts of a chat request cost by themselves, in CPU of their process."""

import asyncio
import sqlite3
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, closing
from pathlib import Path

import aiohttp
import uvloop
from sqlalchemy import Column, Connection, Integer, MetaData, String, Table, insert, select

from app.database.engine import open_database, sqlite_url
from app.providers.client import Provider
from app.providers.models import ModelRequest, ProviderSpec
from bench.load import Job
from bench.processes import ServerProcess, free_port, generate, model_server, serving
from bench.systems import get

ROUNDS = 300
STATEMENTS = 6
ROW = {"text": "x" * 200}
TABLE = Table("bench", MetaData(), Column("id", Integer, primary_key=True), Column("text", String))

ADD = insert(TABLE)
FIND = select(TABLE).where(TABLE.c.id == 1)


def say(what: str, microseconds: float) -> None:
    print(f"{what:<78}  {microseconds:8.0f} us", flush=True)


async def _cost(act: Callable[[], Awaitable[object]], rounds: int = ROUNDS) -> float:
    """Microseconds of this process' CPU, all its threads, for one `act`."""
    for _ in range(rounds // 10):
        await act()
    began = time.process_time()
    for _ in range(rounds):
        await act()
    return 1e6 * (time.process_time() - began) / rounds


async def _database(path: Path) -> None:
    database = open_database(sqlite_url(path))
    await database.write(TABLE.metadata.create_all)

    def add(connection: Connection, statements: int = STATEMENTS) -> None:
        for _ in range(statements):
            connection.execute(ADD, ROW)

    def find(connection: Connection, statements: int = STATEMENTS) -> None:
        for _ in range(statements):
            connection.execute(FIND).first()

    try:
        empty, full = await _cost(lambda: database.write(lambda c: add(c, 0))), await _cost(lambda: database.write(add))
        say("database: a write transaction with nothing in it", empty)
        say("database: each insert in it", (full - empty) / STATEMENTS)
        eight = await _cost(lambda: asyncio.gather(*(database.write(add) for _ in range(8))))
        say(f"database: {STATEMENTS} inserts, eight transactions at once, which share a commit, each", eight / 8)
        empty, full = await _cost(lambda: database.read(lambda c: find(c, 0))), await _cost(lambda: database.read(find))
        say("database: a read transaction with nothing in it", empty)
        say("database: each select of one row in it", (full - empty) / STATEMENTS)
    finally:
        await database.close()


async def _bare_sqlite(path: Path) -> None:
    """The same inserts by sqlite3's own cursor, a whole transaction in one call of one thread."""
    loop = asyncio.get_running_loop()
    with (
        ThreadPoolExecutor(1) as thread,
        closing(sqlite3.connect(path, check_same_thread=False, isolation_level=None)) as connection,
    ):
        connection.execute("PRAGMA synchronous=NORMAL")

        def transactions(count: int) -> None:
            connection.execute("BEGIN IMMEDIATE")
            for _ in range(STATEMENTS * count):
                connection.execute("INSERT INTO bench (text) VALUES (?)", (ROW["text"],))
            connection.execute("COMMIT")

        one = await _cost(lambda: loop.run_in_executor(thread, transactions, 1))
        eight = await _cost(lambda: loop.run_in_executor(thread, transactions, 8))
        say("database: the same by bare sqlite3, one call of a thread for the transaction", one)
        say("database: the same, eight of them in one commit, each", eight / 8)
        say("database: a call of a thread and back", await _cost(lambda: loop.run_in_executor(thread, int)))


async def _client(model: ServerProcess) -> None:
    base_url = f"http://{model.host}:{model.port}/v1"
    provider = Provider(ProviderSpec(id="bench", base_url=base_url, default_model="t64", api_key="none"))
    messages = [{"role": "user", "content": "Hello"}]

    async def ask(name: str) -> None:
        async for _ in provider.stream(ModelRequest(name, messages)):
            pass

    async with aiohttp.ClientSession() as http:

        async def bare() -> None:
            body = {"model": "t1", "messages": messages, "stream": True}
            async with http.post(f"{base_url}/chat/completions", json=body) as response:
                await response.read()

        short, long = await _cost(lambda: ask("t1")), await _cost(lambda: ask("t2000"), 100)
        say("model server: a request through the openai client and its aiohttp transport", short)
        say("model server: the same through bare aiohttp", await _cost(bare))
    print(f"{'model server: each token, many in a read':<78}  {(long - short) / 1999:8.1f} us")
    await provider.close()


@asynccontextmanager
async def _bare_quart(folder: Path) -> AsyncIterator[ServerProcess]:
    port = free_port()
    async with serving((sys.executable, "-m", "bench.baseline", str(port)), port, folder / "baseline.log") as server:
        yield server


async def _events(folder: Path) -> None:
    async with _bare_quart(folder) as server:

        async def cost(events: int) -> float:
            requests = 200
            texts = [get(f"/events/{events}", {})] * requests
            before = server.cpu_seconds()
            await generate(Job(server.host, server.port, 4, texts, '"plain"', '"plain"'))
            return 1e6 * (server.cpu_seconds() - before) / requests

        await cost(100)
        one, many = await cost(1), await cost(1001)
        say("Quart on Hypercorn: a request that streams one event", one)
        print(f"{'Quart on Hypercorn: each event that is sent by itself':<78}  {(many - one) / 1000:8.1f} us")


async def _main() -> None:
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
        folder = Path(name)
        await _database(folder / "parts.db")
        await _bare_sqlite(folder / "parts.db")
        async with model_server() as model:
            await _client(model)
        await _events(folder)


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_main())
