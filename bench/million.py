"""A million messages: searching those of one user, and exporting a long session.

    python -m bench.million [--url postgresql+asyncpg://...] [--messages 1000000] [--users 10]

The database must be empty; without a URL it is a new SQLite file.
"""

import argparse
import asyncio
import itertools
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, insert

from app.auth.models import Principal
from app.auth.scopes import Scope
from app.chat import tree_store
from app.chat.exporting import SessionExporter
from app.chat.models import MessageRow, SessionRow
from app.chat.search.service import SearchService
from app.clock import utc_now
from app.database import migrations
from app.database.engine import Database, open_database, sqlite_url

WORDS_PER_MESSAGE = 40
MESSAGES_PER_SESSION = 40
LONG_SESSION = 100_000
BATCH = 10_000
ME = Principal("bench", "bench", frozenset({Scope.CHAT}))


def texts(random: random.Random) -> Iterator[str]:
    """Yield texts whose words are as frequent as those of a language, one in ten Chinese."""
    words = [f"word{number}" for number in range(20_000)]
    characters = [chr(0x4E00 + number) for number in range(3_000)]
    weights = list(itertools.accumulate(1 / (rank + 2) for rank in range(len(words))))
    chinese = list(itertools.accumulate(1 / (rank + 2) for rank in range(len(characters))))
    while True:
        if random.random() < 0.1:
            yield "".join(random.choices(characters, cum_weights=chinese, k=WORDS_PER_MESSAGE))
        else:
            yield " ".join(random.choices(words, cum_weights=weights, k=WORDS_PER_MESSAGE))


async def fill(database: Database, messages: int, users: int) -> None:
    """Add the sessions of all users, and one long session of `user0`."""
    now, source = utc_now() - timedelta(days=1), texts(random.Random(1))
    names = [f"user{number}" for number in range(users)]
    count = messages // MESSAGES_PER_SESSION
    for start in range(0, count, BATCH // MESSAGES_PER_SESSION):
        numbers = range(start, min(start + BATCH // MESSAGES_PER_SESSION, count))
        sessions = [_session(f"s{number}", names[number % users], now) for number in numbers]
        rows = [
            _message(f"s{number}", place, next(source), now + timedelta(seconds=place))
            for number in numbers
            for place in range(MESSAGES_PER_SESSION)
        ]
        await database.write(partial(_add, sessions=sessions, rows=rows))
    rows = [_message("long", place, next(source), now) for place in range(LONG_SESSION)]
    await database.write(lambda connection: _add(connection, [_session("long", "exporter", now)], rows))


def _session(session_id: str, creator: str, now: Any) -> dict[str, Any]:
    return {
        "id": session_id,
        "platform_id": "webchat",
        "creator": creator,
        "display_name": f"Session {session_id}",
        "is_group": 0,
        "created_at": now,
        "updated_at": now,
        "labels": [],
        "pinned": False,
    }


def _message(session_id: str, place: int, text: str, now: Any) -> dict[str, Any]:
    return {
        "session_id": session_id,
        "on_path": True,
        "role": ("user", "assistant")[place % 2],
        "status": "complete",
        "parts": [{"type": "plain", "text": text}],
        "reasoning": "",
        "created_at": now,
    }


def _add(connection: Connection, sessions: list[dict[str, Any]], rows: list[dict[str, Any]]) -> None:
    connection.execute(insert(SessionRow), sessions)
    for start in range(0, len(rows), 1_000):
        connection.execute(insert(MessageRow), rows[start : start + 1_000])
    for session in sessions:
        tree_store.line_up(connection, session["id"])


async def measure_search(database: Database) -> None:
    search = SearchService(database)
    began = time.perf_counter()
    while not (await search.search(ME, "user0", "word1", before=None, limit=20)).is_complete:
        pass
    print(f"the first search of user0, until its index is complete: {time.perf_counter() - began:.1f} s")
    for name, words in (
        ("a common word", "word1"),
        ("two common words", "word1 word3"),
        ("two words of middling frequency", "word100 word400"),
        ("a rare word", "word19999"),
        ("a word that is not there", "nothing"),
        ("two Chinese characters", "\u4e01\u4e02"),
        ("one Chinese character", "\u4e50"),
    ):
        times, found = [], 0
        for _ in range(15):
            began = time.perf_counter()
            found = len((await search.search(ME, "user0", words, before=None, limit=20)).messages)
            times.append((time.perf_counter() - began) * 1000)
        print(f"{name}: median {statistics.median(times):.1f} ms, worst {max(times):.1f} ms, {found} on the page")
    await search.close()


async def measure_export(database: Database) -> None:
    exporter = SessionExporter(database)
    for name, export in (("jsonl", exporter.jsonl), ("markdown", exporter.markdown)):
        memory, began = _memory(), time.perf_counter()
        first, size = 0.0, 0
        async for piece in await export(ME, "exporter", "long"):
            first = first or time.perf_counter() - began
            size += len(piece)
        seconds = time.perf_counter() - began
        print(f"{name} of {LONG_SESSION} messages, {size / 1e6:.0f} MB: first line {first * 1000:.1f} ms", end=", ")
        print(f"whole {seconds:.1f} s, peak memory {_memory() - memory:+.1f} MB")


def _memory() -> float:
    """The process's peak memory so far, in MB; getrusage would count its parent's too."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


async def run(url: str, messages: int, users: int) -> None:
    await asyncio.to_thread(migrations.upgrade, url)
    database = open_database(url)
    try:
        began = time.perf_counter()
        await fill(database, messages, users)
        print(f"{messages} messages of {users} users, made in {time.perf_counter() - began:.0f} s")
        # In a process of its own, whose memory is that of the export.
        process = await asyncio.create_subprocess_exec(sys.executable, "-m", "bench.million", "--export", "--url", url)
        await process.wait()
        await measure_search(database)
    finally:
        await database.close()


async def run_export(url: str) -> None:
    database = open_database(url)
    try:
        await measure_export(database)
    finally:
        await database.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", help="an empty database; left out, a new SQLite file")
    parser.add_argument("--messages", type=int, default=1_000_000)
    parser.add_argument("--users", type=int, default=10)
    parser.add_argument("--export", action="store_true", help="only export, of a database that is filled")
    options = parser.parse_args()
    if options.export:
        asyncio.run(run_export(options.url))
        return
    with tempfile.TemporaryDirectory() as folder:
        url = options.url or str(sqlite_url(Path(folder) / "palaver.db"))
        asyncio.run(run(url, options.messages, options.users))


if __name__ == "__main__":
    main()
