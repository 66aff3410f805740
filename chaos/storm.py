"""The storm: many clients, one server that is killed again and again, and a model server that fails on request."""

import asyncio
import sys
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from app.database.engine import sqlite_url
from chaos.audit import Finding, audit
from chaos.clients import Client, Tally
from chaos.fleet import Fleet, fleet_of
from chaos.plan import Plan, sessions_of
from chaos.postgres import OwnPostgres
from chaos.seen import Faults
from tests.support.processes import API_KEY, ServerProcess, provider_toml
from tests.support.programs import ROOT

OUTAGE_CHANCE = 0.4
"""The chance of a disturbance of the database before each kill."""
CALM_SECONDS = 90.0
"""The time that clients get to finish their messages once nothing is killed any more."""

KEYS = tuple(f"{API_KEY}-{number}" for number in range(4))
ENVIRONMENT = {
    "PALAVER_API_KEYS": ",".join((f"tests={API_KEY}", *(f"chaos{number}={key}" for number, key in enumerate(KEYS)))),
    "PALAVER_DRAIN_SECONDS": "1",
    "PALAVER_FETCH_ALLOW_PRIVATE": "true",
}

Say = Callable[[str], None]


@dataclass(slots=True)
class Storm:
    """The course of a storm."""

    plan: Plan
    tally: Tally = field(default_factory=Tally)
    kills: int = 0
    early_kills: int = 0
    terminations: int = 0
    outages: int = 0
    faults: Faults = field(default_factory=Faults)
    findings: list[Finding] = field(default_factory=list)
    unfinished: int = 0

    @property
    def reached_its_size(self) -> bool:
        return self.kills >= self.plan.kills and self.tally.cuts >= self.plan.cuts


async def weather(
    plan: Plan, folder: Path, say: Say, database_url: str | None = None, postgres: OwnPostgres | None = None
) -> Storm:
    """Run the storm in an empty folder, or on an empty database elsewhere, and audit what it left.

    `postgres`, whose database that is, is restarted now and then where the plan has outages.
    """
    storm = Storm(plan)
    record = folder / "model.jsonl"
    async with model_process(record) as model_url:
        toml = provider_toml(model_url, timeout_seconds=2, max_retries=2)
        async with fleet_of(plan.servers, folder, toml, ENVIRONMENT, database_url, plan.skew) as fleet:
            await _blow(storm, fleet, say, postgres)
            say("auditing ...")
            url = database_url or sqlite_url(folder / "data" / "palaver.db")
            storm.findings = await audit(storm.tally, storm.faults, fleet.base_url, url, record)
            if (code := await fleet.end()) != 0:
                storm.findings.append(Finding("altered", f"a server ended with {code} on SIGTERM"))
    return storm


async def _blow(storm: Storm, fleet: Fleet, say: Say, postgres: OwnPostgres | None) -> None:
    plan = storm.plan
    random = Random(plan.seed)
    rush = asyncio.Event()
    sessions = sessions_of(plan)
    start = time.monotonic()
    async with asyncio.TaskGroup() as group:
        clients = [
            group.create_task(
                Client(
                    f"c{number}",
                    fleet.base_url,
                    KEYS[number % len(KEYS)],
                    Random(f"{plan.seed}/{number}"),
                    storm.tally,
                    rush,
                ).run(sessions)
            )
            for number in range(plan.clients)
        ]
        while not storm.reached_its_size and time.monotonic() - start < plan.seconds:
            if storm.kills < plan.kills:
                await _disturb_the_database(storm, fleet, random, postgres)
                await _end_and_restart(storm, random.choice(fleet.servers), random)
                if storm.kills % 10 == 0:
                    say(_progress(storm, start))
            else:
                await asyncio.sleep(0.2)
        rush.set()
        _, late = await asyncio.wait(clients, timeout=CALM_SECONDS)
        for client in late:
            client.cancel()
    storm.unfinished = len(late)
    say(_progress(storm, start))


async def _disturb_the_database(storm: Storm, fleet: Fleet, random: Random, postgres: OwnPostgres | None) -> None:
    """Cut a server's connections to PostgreSQL, hold back what is on them, or take it away from all for a while."""
    if not storm.plan.outages or random.random() > OUTAGE_CHANCE:
        return
    storm.outages += 1
    start = time.monotonic()
    roll = random.random()
    if roll < 0.4:
        random.choice(fleet.proxies).cut()
    elif roll < 0.7:
        proxy = random.choice(fleet.proxies)
        proxy.hold()
        await asyncio.sleep(random.uniform(0.2, 2.0))
        proxy.release()
    elif postgres is not None:
        await postgres.restart(random)
    else:
        for proxy in fleet.proxies:
            await proxy.go_away()
        await asyncio.sleep(random.uniform(0.2, 2.0))
        for proxy in fleet.proxies:
            await proxy.open()
    storm.faults.absences.append((start, time.monotonic()))


async def _end_and_restart(storm: Storm, server: ServerProcess, random: Random) -> None:
    await asyncio.sleep(random.uniform(0.2, 4.0))
    gently = random.random() < 0.15
    storm.faults.deaths.append(time.monotonic())
    if gently:
        await server.end()
        storm.terminations += 1
    else:
        await server.kill()
        storm.kills += 1
    if random.random() < 0.15 and storm.kills < storm.plan.kills:
        # While it is starting: what it was putting right must be put right by the next one.
        await server.spawn()
        await asyncio.sleep(random.uniform(0.5, 1.6))
        storm.faults.deaths.append(time.monotonic())
        await server.kill()
        storm.kills += 1
        storm.early_kills += 1
    await server.start()


def _progress(storm: Storm, start: float) -> str:
    tally = storm.tally
    return (
        f"{time.monotonic() - start:4.0f} s: {storm.kills} kills, {storm.outages} outages, {tally.cuts} cuts, "
        f"{len(tally.exchanges)} messages, {tally.repeats} repeats"
    )


@asynccontextmanager
async def model_process(record: Path) -> AsyncIterator[str]:
    """The scripted model server's base URL; the process is gone when the block ends."""
    process: Process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "chaos.model", str(record), cwd=ROOT, stdout=PIPE
    )
    assert process.stdout is not None
    try:
        yield (await process.stdout.readline()).decode().strip()
    finally:
        process.kill()
        await process.wait()
