"""`python -m bench.profile`: where a chat request's time goes, by the package whose code ran (needs py-spy on PATH).

Each sample counts for the innermost frame that is in one of the packages: the standard library and C code count for
whoever called them. With `--flame FILE` py-spy's flame graph is written too, of a second run.
"""

import argparse
import asyncio
import shutil
import sys
import tempfile
from asyncio.subprocess import DEVNULL
from collections import Counter
from pathlib import Path

from bench.measures.streams import Subject, run
from bench.processes import ROOT, BenchError, model_server
from bench.systems import CHAT, OPENAI, Door, palaver

REST = "asyncio and uvloop"
OURS = "ours: "
PACKAGES = {
    "sqlalchemy": "SQLAlchemy",
    "greenlet": "SQLAlchemy",
    "aiosqlite": "aiosqlite (and SQLite itself)",
    "openai": "openai client",
    "httpx2": "openai client: httpx2",
    "httpx_aiohttp": "openai client: aiohttp",
    "aiohttp": "openai client: aiohttp",
    "yarl": "openai client: aiohttp",
    "multidict": "openai client: aiohttp",
    "pydantic": "openai client",
    "quart": "Quart",
    "werkzeug": "Quart",
    "flask": "Quart",
    "hypercorn": "Hypercorn",
    "h11": "Hypercorn",
    "structlog": "structlog, Prometheus",
    "prometheus_client": "structlog, Prometheus",
    "stamina": "stamina, tenacity",
    "tenacity": "stamina, tenacity",
}
RUNNING = (f"{ROOT}/app/cli.py", f"{ROOT}/app/server/run.py")
"""The command line and the server's start, around all that runs."""

WAITING = ("_worker (", "_connection_worker_thread (")
"""Threads that wait for work, which py-spy takes for some that work."""


def owner_of(stack: str) -> str:
    """Whose the innermost frame of a sample is; `stack` is py-spy's, the outermost frame first."""
    for frame in reversed(stack.split(";")):
        path = frame.partition(" (")[2]
        installed = path.partition("/site-packages/")[2].partition("/")[0].partition(":")[0].removesuffix(".py")
        if installed in PACKAGES:
            return PACKAGES[installed]
        if path.startswith(f"{ROOT}/app/") and not path.startswith(RUNNING):
            return OURS + path.removeprefix(f"{ROOT}/").rpartition("/")[0]
    return REST


async def record(door: Door, clients: int, seconds: int, out: Path, form: str) -> float:
    """Profile a server under load; milliseconds of its CPU per request."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        async with model_server() as model, palaver(Path(folder) / "data", model) as server:
            subject = Subject(door, server)
            await run(subject, "t64", 100, clients)
            options = ("--duration", str(seconds), "--rate", "400", "--format", form, "--full-filenames")
            spy = await asyncio.create_subprocess_exec(
                *("py-spy", "record", *options, "--output", str(out), "--pid", str(server.process.pid)),
                stdout=DEVNULL,
                stderr=DEVNULL,
            )
            requests = cpu = 0.0
            while spy.returncode is None:
                sample = await run(subject, "t64", 100, clients)
                requests, cpu = requests + sample.requests, cpu + sample.cpu_seconds
                await asyncio.sleep(0)
            if not out.exists():
                raise BenchError("py-spy wrote nothing")
    return 1000 * cpu / requests


async def _main(options: argparse.Namespace) -> None:
    door = OPENAI if options.v1 else CHAT
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "stacks"
        cpu = await record(door, options.clients, options.seconds, out, "raw")
        counts: Counter[str] = Counter()
        for line in out.read_text().splitlines():
            stack, _, samples = line.rpartition(" ")
            if stack.rpartition(";")[2].startswith(WAITING):
                continue
            counts[owner_of(stack)] += int(samples)
    total = sum(counts.values())
    print(f"{door.name}, {options.clients} clients, 64 tokens: {cpu:.2f} ms of CPU a request")
    for name, count in counts.most_common():
        print(f"{name:<32}  {100 * count / total:5.1f} %  {cpu * count / total:6.2f} ms")
    if options.flame:
        await record(door, options.clients, options.seconds, options.flame, "flamegraph")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.profile", description=__doc__)
    parser.add_argument("--v1", action="store_true", help="the door of OpenAI's API, stateless")
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--seconds", type=int, default=8)
    parser.add_argument("--flame", type=Path, help="where a flame graph goes (SVG)")
    options = parser.parse_args()
    if shutil.which("py-spy") is None:
        print("py-spy is not on the PATH: pip install py-spy", file=sys.stderr)
        return 1
    asyncio.run(_main(options))
    return 0


if __name__ == "__main__":
    sys.exit(main())
