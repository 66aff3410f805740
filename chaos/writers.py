"""The trial of the writers: many at once through the server, and others past it, all on one SQLite file.

None may hear of a locked database, and nothing that was accepted may be missing.
"""

import asyncio
import sqlite3
import sys
import time
from asyncio.subprocess import PIPE
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp

from tests.support.processes import API_KEY, ServerProcess, palaver
from tests.support.programs import ROOT

KEYS_AT_ONCE = 20


@dataclass(slots=True)
class Writing:
    """The result: problems are requests that were refused, and rows that are missing."""

    writers: int
    messages: int
    seconds: float = 0.0
    keys: int = 0
    commands: int = 0
    problems: list[str] = field(default_factory=list)


async def write(folder: Path, *, writers: int = 50, messages: int = 200) -> Writing:
    """`writers` send `messages` each, while the command line and a third process write too."""
    writing = Writing(writers, messages)
    (folder / "data").mkdir()
    server = ServerProcess(folder / "data")
    stop = asyncio.Event()
    try:
        await server.start()
        start = time.monotonic()
        timeout = aiohttp.ClientTimeout(total=None)
        connector = aiohttp.TCPConnector(limit=0)
        async with (
            aiohttp.ClientSession(
                server.base_url, headers={"X-API-Key": API_KEY}, timeout=timeout, connector=connector
            ) as http,
            asyncio.TaskGroup() as group,
        ):
            beside = [
                group.create_task(_command_line(writing, server.data_dir, stop)),
                group.create_task(_third_process(writing, server.data_dir, stop)),
            ]
            await asyncio.gather(*(_writer(writing, http, number) for number in range(writers)))
            writing.seconds = time.monotonic() - start
            stop.set()
            await asyncio.gather(*beside)
        _count(writing, server)
        if (code := await server.end()) != 0:
            writing.problems.append(f"the server ended with {code}")
    finally:
        await server.close()
    return writing


async def _writer(writing: Writing, http: aiohttp.ClientSession, number: int) -> None:
    """Ten writers share a session; a tenth of the messages are chats, which write several times each."""
    session = f"s{number % 10}"
    for count in range(writing.messages):
        text = f"writer {number} message {count}"
        if count % 10:
            path, body = "/api/v1/im/message", {"umo": f"webchat:FriendMessage:{session}", "message": text}
        else:
            path = "/api/v1/chat"
            body = {"username": f"w{number}", "session_id": f"w{number}", "message": text}
        async with http.post(path, json=body) as response:
            answer = await response.text()
        if response.status != 200 or "locked" in answer or '"type":"error"' in answer:
            writing.problems.append(f"{text}: {response.status} {answer[-300:]}")


async def _command_line(writing: Writing, data_dir: Path, stop: asyncio.Event) -> None:
    """`palaver keys create`, again and again."""
    while not stop.is_set():
        code, output = await palaver("keys", "create", "--name", "cli", "--scope", "chat", data_dir=data_dir)
        writing.commands += 1
        if code != 0:
            writing.problems.append(f"palaver keys create: {code} {output}")


async def _third_process(writing: Writing, data_dir: Path, stop: asyncio.Event) -> None:
    """Make keys as the command line does, without a new process for each."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "chaos.keys", str(data_dir), cwd=ROOT, stdin=PIPE, stdout=PIPE, stderr=PIPE
    )
    await stop.wait()
    out, errors = await process.communicate(b"enough\n")
    if process.returncode != 0:
        writing.problems.append(f"the third process: {errors.decode()[-1000:]}")
    else:
        writing.keys = int(out)


def _count(writing: Writing, server: ServerProcess) -> None:
    with closing(sqlite3.connect(f"file:{server.data_dir / 'palaver.db'}?mode=ro", uri=True)) as connection:
        texts = "SELECT count(DISTINCT parts), count(*) FROM messages WHERE parts LIKE '%\"writer %' AND role = ?"
        bots = connection.execute(texts + " AND run_id IS NULL", ("assistant",)).fetchone()
        users = connection.execute(texts, ("user",)).fetchone()
        replies = connection.execute("SELECT count(*) FROM runs WHERE status = 'completed'").fetchone()[0]
        keys = connection.execute("SELECT count(*) FROM api_keys WHERE name IN ('cli', 'third')").fetchone()[0]
    chats = writing.writers * len(range(0, writing.messages, 10))
    news = writing.writers * writing.messages - chats
    expected = {"bot messages": (news, news), "questions": (chats, chats), "replies": chats}
    counts = {"bot messages": bots, "questions": users, "replies": replies}
    if counts != expected:
        writing.problems.append(f"in the database are {counts}, not {expected}")
    if keys != writing.commands + writing.keys:
        writing.problems.append(f"in the database are {keys} keys, not {writing.commands + writing.keys}")
    if "locked" in server.log_file.read_text():
        writing.problems.append(f"the server's log tells of a locked database: {server.log_file}")
