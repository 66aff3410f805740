"""`python -m bench.cluster`: how far many servers on one PostgreSQL reach, by simulation from measured figures.

    python -m bench.cluster                            # the tables of docs/cluster.md
    python -m bench.cluster --streams 20000 --rate 50
    python -m bench.cluster --measure postgresql+asyncpg://postgres@127.0.0.1/empty    # the figures of this machine

The simulation draws each server's tokens tick by tick, and counts what they cost: CPU, memory, descriptors, messages
between servers, rows in PostgreSQL. What it leaves out: the network, the model servers, and any queue that builds up
behind a core that is full, which is why bounds are well below what there is.
"""

import argparse
import asyncio
import math
import random
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from app.chat.runs.upkeep import CHECKPOINT_SECONDS

TICK_SECONDS = 0.01
"""How long servers gather what they tell each other."""


@dataclass(frozen=True, slots=True)
class Figures:
    """What things cost: CPU in microseconds, memory in KB. Where from: docs/cluster.md."""

    token: float = 62.0
    """A token that comes alone, to one reader of the server that makes the reply."""
    remote_token: float = 95.0
    """One that is read at another server, at that server."""
    told_token: float = 7.0
    heard_token: float = 3.0
    token_bytes: float = 60.0
    turn: float = 4500.0
    """A message and its reply without their tokens."""
    turn_of_database: float = 1900.0
    row_of_database: float = 5.5
    """A run's new events, in a checkpoint of many."""
    commit_of_database: float = 125.0
    notify_of_database: float = 60.0
    notify_of_listener: float = 11.0
    """A statement of notifications, and each server that PostgreSQL wakes for it."""
    server_kb: float = 130_000.0
    stream_kb: float = 60.0
    remote_stream_kb: float = 35.0
    stream_files: float = 2.0
    """Its client's socket, and its model server's."""
    remote_stream_files: float = 1.0
    turn_rows: float = 9.0


@dataclass(frozen=True, slots=True)
class Bounds:
    """What there is to be had, of which no more than this is used."""

    server_cores: float = 0.7
    server_mb: float = 4096.0
    server_files: float = 65_536 * 0.8
    database_cores: float = 16 * 0.6
    database_connections: float = 500.0
    message_bytes: float = 5900.0
    redis_messages: float = 50_000.0

    def notifications(self, servers: int) -> float:
        """How many statements of notifications a second PostgreSQL commits, with so many listeners."""
        return float(0.6 * 6500 / servers**0.35)


@dataclass(frozen=True, slots=True)
class Load:
    """Open streams of which a share is being written, `rate` tokens a second each, for `seconds`.

    A share `elsewhere` is read at another server than the one that makes the reply: after a reconnect, mostly.
    """

    streams: int
    busy: float
    rate: float
    seconds: float = 20.0
    elsewhere: float = 0.1


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a server and the database have to bear, and what of it is nearest to its bound, or beyond, by which share.

    `statements` are of notifications, on PostgreSQL's bus; `messages` are what Redis's passes on instead.
    """

    servers: int
    peak_cores: float
    megabytes: float
    files: float
    statements: float
    messages: float
    rows: float
    database_cores: float
    limit: tuple[str, float]
    limit_with_redis: tuple[str, float]


def simulate(load: Load, servers: int, figures: Figures, bounds: Bounds, *, seconds: float, seed: int) -> Outcome:
    """Draw one server's ticks, as the others are like it. Costs of readers elsewhere come back as costs of its own."""
    source = random.Random(seed)
    streams = load.streams / servers
    writing = streams * load.busy
    elsewhere = load.elsewhere if servers > 1 else 0.0
    ticks = round(seconds / TICK_SECONDS)
    used: list[float] = []
    statements, messages, rows = 0, 0, 0
    since_checkpoint, checkpoint = 0.0, 0
    for _ in range(ticks):
        tokens = _poisson(source, writing * load.rate * TICK_SECONDS)
        far = _binomial(source, tokens, elsewhere)
        turns = _poisson(source, writing / load.seconds * TICK_SECONDS)
        since_checkpoint += TICK_SECONDS
        stored = 0
        if since_checkpoint >= CHECKPOINT_SECONDS:
            since_checkpoint = 0.0
            checkpoint += 1
            stored = _binomial(source, round(writing), 1 - math.exp(-load.rate * CHECKPOINT_SECONDS))
        rows += stored + round(turns * figures.turn_rows)
        statements += far > 0
        messages += sum(
            math.ceil(count * figures.token_bytes / bounds.message_bytes)
            for count in _spread(source, far, min(servers - 1, far))
        )
        used.append(
            (tokens - far) * figures.token
            # As many tokens of others are read here as of its own elsewhere.
            + far * (figures.remote_token + figures.told_token + figures.heard_token)
            + turns * figures.turn
        )
    per_second = 1 / seconds
    # A second's mean at each moment: the loop works off a burst within it.
    window = round(1 / TICK_SECONDS)
    peak = max(sum(used[start : start + window]) for start in range(max(1, ticks - window)))
    all_turns = writing / load.seconds * servers
    all_rows = rows * per_second * servers
    all_statements = statements * per_second * servers
    all_messages = messages * per_second * servers
    database = (
        all_turns * figures.turn_of_database
        + (all_rows - all_turns * figures.turn_rows) * figures.row_of_database
        + (checkpoint * per_second + 1) * servers * figures.commit_of_database  # and each server's own row
    )
    notifying = all_statements * (figures.notify_of_database + servers * figures.notify_of_listener)
    kb = figures.server_kb + streams * (figures.stream_kb + elsewhere * figures.remote_stream_kb)
    files = 60 + streams * (figures.stream_files + elsewhere * figures.remote_stream_files)
    shares = {
        "servers' CPU": peak / 1e6 / bounds.server_cores,
        "servers' memory": kb / 1000 / bounds.server_mb,
        "open files": files / bounds.server_files,
    }
    with_notify = {
        "PostgreSQL's CPU": (database + notifying) / 1e6 / bounds.database_cores,
        "NOTIFY": all_statements / bounds.notifications(servers),
        "connections": servers * 17 / bounds.database_connections,
    }
    with_redis = {
        "PostgreSQL's CPU": database / 1e6 / bounds.database_cores,
        "Redis": all_messages / bounds.redis_messages,
    }
    return Outcome(
        servers,
        peak / 1e6,
        kb / 1000,
        files,
        all_statements,
        all_messages,
        all_rows,
        database / 1e6,
        _largest({**shares, **with_notify}),
        _largest({**shares, **with_redis}),
    )


def _largest(shares: Mapping[str, float]) -> tuple[str, float]:
    return max(shares.items(), key=lambda each: each[1])


def _poisson(source: random.Random, mean: float) -> int:
    if mean > 50:
        return max(0, round(source.gauss(mean, math.sqrt(mean))))
    bound, count, product = math.exp(-mean), 0, source.random()
    while product > bound:
        count += 1
        product *= source.random()
    return count


def _binomial(source: random.Random, count: int, share: float) -> int:
    mean = count * share
    if count <= 50:
        return sum(source.random() < share for _ in range(count))
    return min(count, max(0, round(source.gauss(mean, math.sqrt(mean * (1 - share))))))


def _spread(source: random.Random, count: int, places: int) -> list[int]:
    """Spread so many tokens over places at random, as far as it matters: which get any at all."""
    if places <= 0:
        return []
    if count > 20 * places:
        return [count // places] * places
    counts = [0] * places
    for _ in range(count):
        counts[source.randrange(places)] += 1
    return [each for each in counts if each]


def table(load: Load, servers: Sequence[int], *, seconds: float, seed: int) -> Iterator[str]:
    """The outcomes as a table in Markdown."""
    yield (
        "| Servers | Each: cores | memory | open files | All: NOTIFY/s | or Redis, messages/s | rows/s "
        "| cores of PostgreSQL | Nearest limit with NOTIFY | with Redis and PgBouncer |"
    )
    yield "| --- " * 10 + "|"
    for count in servers:
        each = simulate(load, count, Figures(), Bounds(), seconds=seconds, seed=seed)
        yield (
            f"| {count} | {each.peak_cores:.2f} | {each.megabytes:,.0f} MB | {each.files:,.0f} "
            f"| {each.statements:,.0f} | {each.messages:,.0f} | {each.rows:,.0f} | {each.database_cores:.1f} "
            f"| {_shown(each.limit)} | {_shown(each.limit_with_redis)} |"
        )


def _shown(limit: tuple[str, float]) -> str:
    name, share = limit
    return f"{name} {share:.0%}" if share <= 1 else f"**{name} {share:.0%}**"


async def measure(url: str) -> None:
    """Print what a stream and a token cost a server on the empty database at `url`, on this machine."""
    from bench.measures.streams import Subject, hold, run
    from bench.processes import generating, model_server
    from bench.systems import CHAT, palaver

    few, many = 64, 400
    with tempfile.TemporaryDirectory() as folder:
        async with (
            model_server() as model,
            palaver(Path(folder) / "data", model, PALAVER_DATABASE_URL=url, PALAVER_MAX_RUNS_PER_KEY="1000") as server,
        ):
            subject = Subject(CHAT, server)
            await run(subject, "t64", 2 * many, few)
            turn = await run(subject, "t1", 300, 8)
            print(f"a turn: {turn.cpu_ms:.2f} ms of the server's CPU", flush=True)
            paced = await run(subject, "t400-d20", few, few, ramp=1.0)
            cpu = paced.cpu_seconds - few * turn.cpu_ms / 1000
            print(
                f"a token that comes alone: {1e6 * cpu / paced.tokens:.0f} us, {few} replies of 50 tokens/s", flush=True
            )
            first = CHAT.job(server, "t2-d3600000", few, few, first=10_000)
            others = CHAT.job(server, "t2-d3600000", many, many, first=20_000)
            async with generating(hold(first)) as one:
                await one.announced()
                memory, files = server.rss(), server.process.num_fds()
                async with generating(hold(others)) as more:
                    await more.announced()
                    await asyncio.sleep(1.5)
                    print(f"a stream: {(server.rss() - memory) / many / 1000:.0f} KB, ", end="")
                    print(f"{(server.process.num_fds() - files) / many:.2f} open files", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.cluster", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--streams", type=int, default=100_000)
    parser.add_argument("--rate", type=float, default=20.0, help="tokens a second of a reply that is being written")
    parser.add_argument("--busy", type=float, nargs="+", default=[0.02, 0.1, 1.0], help="shares that are being written")
    parser.add_argument("--servers", type=int, nargs="+", default=[4, 8, 16, 32, 64, 128, 256])
    parser.add_argument("--seconds", type=float, default=5.0, help="simulated time")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--measure", metavar="URL", help="measure on the empty PostgreSQL database at URL instead")
    options = parser.parse_args()
    if options.measure:
        asyncio.run(measure(options.measure))
        return
    began = time.monotonic()
    for busy in options.busy:
        load = Load(options.streams, busy, options.rate)
        print(f"\n{load.streams:,} open streams, {busy:.0%} of them being written at {load.rate:g} tokens/s:\n")
        print("\n".join(table(load, options.servers, seconds=options.seconds, seed=options.seed)))
    print(f"\nSimulated in {time.monotonic() - began:.1f} s.")


if __name__ == "__main__":
    main()
