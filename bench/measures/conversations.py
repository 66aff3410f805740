"""Many messages and many sessions: written into the database from beside the server, then used through it."""

import asyncio
import json
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.load import Job
from bench.processes import ROOT, BenchError, ServerProcess, generate, plain_environment
from bench.scenario import Bench, Figures, quantile
from bench.systems import API_KEY, CHAT, PALAVER, ChatDoor, get, palaver, palaver_environment

WHEN = "2026-01-01 00:00:00.000000"
BUSIEST = "busiest"
_NUMBERS = "WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i + 1 < ?)"


@dataclass(frozen=True, slots=True)
class Turns(ChatDoor):
    """Chat requests that go round the sessions of one kind."""

    kind: str = ""
    sessions: int = 1

    def body(self, model: str, number: int) -> dict[str, Any]:
        session_id = f"{self.kind}-{number % self.sessions}"
        return {**CHAT.body(model, number), "session_id": session_id}


def _turns(kind: str, sessions: int) -> Turns:
    return Turns(CHAT.name, CHAT.path, CHAT.marker, CHAT.expect, CHAT.load, CHAT.headers, kind, sessions)


async def long_sessions(bench: Bench) -> Figures:
    """A turn in sessions of 10, 100 and 10,000 messages, one after another."""
    figures = Figures()
    turns, long = bench.scaled(100, 3), bench.scaled(10_000, 200)
    kinds = {"short": (10, turns * (bench.rounds + 1)), "medium": (100, 20), "long": (long, 2)}
    data_dir = bench.new_folder("long")
    await _migrate(data_dir)
    with closing(sqlite3.connect(data_dir / "palaver.db")) as connection, connection:
        for kind, (messages, sessions) in kinds.items():
            for number in range(sessions):
                _add_session(connection, f"{kind}-{number}", messages)
    async with palaver(data_dir, bench.model, PALAVER_SERVER=bench.server) as server:
        asked = 0
        for index in range(bench.rounds + 1):
            costs = {}
            for kind, (_, sessions) in kinds.items():
                costs[kind] = await _turn(server, _turns(kind, sessions), turns, asked)
            asked += turns
            if index:  # the first is the warm-up
                figures.add(
                    cpu_ratio=costs["long"][0] / costs["short"][0],
                    wall_ratio=costs["long"][1] / costs["short"][1],
                    medium_ratio=costs["long"][0] / costs["medium"][0],
                    wall=costs["long"][1],
                )
    return figures


async def _turn(server: ServerProcess, door: Turns, turns: int, first: int) -> tuple[float, float]:
    """The server's CPU per turn, and the median time of one, in milliseconds."""
    before = server.cpu_seconds()
    load = await generate(door.job(server, "t64", turns, 1, first=first))
    return 1000 * (server.cpu_seconds() - before) / turns, 1000 * quantile(load.whole, 0.5)


def _add_session(connection: sqlite3.Connection, session_id: str, messages: int) -> None:
    connection.execute(
        "INSERT INTO sessions (id, platform_id, creator, display_name, is_group, created_at, updated_at)"
        " VALUES (?, 'webchat', 'bench', 'A long one', 0, ?, ?)",
        (session_id, WHEN, WHEN),
    )
    parts = json.dumps([{"type": "plain", "text": "What one says in a conversation, more or less."}])
    connection.executemany(
        "INSERT INTO messages (session_id, role, status, parts, reasoning, created_at)"
        " VALUES (?, ?, 'complete', ?, '', ?)",
        ((session_id, ("user", "assistant")[number % 2], parts, WHEN) for number in range(messages)),
    )


async def session_list(bench: Bench) -> Figures:
    """Page 1 for a user with 1,000 sessions, and for one with half of all that there are."""
    figures = Figures()
    total, own = bench.scaled(1_000_000, 4000), bench.scaled(1000, 100)
    data_dir = bench.new_folder("sessions")
    await _migrate(data_dir)
    await asyncio.to_thread(_add_sessions, data_dir / "palaver.db", total, own)
    async with palaver(data_dir, bench.model, PALAVER_SERVER=bench.server) as server:
        for _ in range(bench.rounds):
            requests = bench.scaled(200, 5)
            users = [f"user-{number}" for number in range(total // 2 // own)]
            usual = await _list(server, [users[number * 7 % len(users)] for number in range(requests)])
            busiest = await _list(server, [BUSIEST] * bench.scaled(30, 2))
            figures.add(usual=quantile(usual, 0.5), usual_p99=quantile(usual, 0.99), busiest=quantile(busiest, 0.5))
    return figures


async def _list(server: ServerProcess, usernames: Sequence[str]) -> list[float]:
    """Milliseconds of each request, one after another."""
    texts = [
        get(f"/api/v1/chat/sessions?username={username}&page=1&page_size=20", {"X-API-Key": API_KEY})
        for username in usernames
    ]
    load = await generate(Job(server.host, server.port, 1, texts, '"sessions"', '"session_id"'))
    return [1000 * seconds for seconds in load.whole]


def _add_sessions(path: Path, total: int, own: int) -> None:
    """Half of them one user's, the others `own` to a user; each minute one was used."""
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("PRAGMA synchronous=OFF")
        connection.execute(
            "INSERT INTO sessions (id, platform_id, creator, display_name, is_group, created_at, updated_at) "
            f"{_NUMBERS} SELECT printf('%08x-bulk-%d', i * 2654435761 % 4294967296, i), 'webchat', "
            f"CASE WHEN i % 2 THEN '{BUSIEST}' ELSE 'user-' || (i / 2 / ?) END, 'Session ' || i, 0, ?, "
            "strftime('%Y-%m-%d %H:%M:%S', 1700000000 + i * 60, 'unixepoch') || '.000000' FROM n",
            (total, own, WHEN),
        )


async def _migrate(data_dir: Path) -> None:
    """An empty database. Raises BenchError."""
    data_dir.mkdir(parents=True)
    process = await asyncio.create_subprocess_exec(
        *(*PALAVER, "db", "upgrade", "--data-dir", str(data_dir)),
        cwd=ROOT,
        env={**plain_environment(), **palaver_environment()},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    out, _ = await process.communicate()
    if process.returncode:
        raise BenchError(f"palaver db upgrade: {out.decode()[-1000:]}")
