"""`python -m chaos`: run the trials and print their results."""

import argparse
import asyncio
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from chaos.abuse import AbusePlan, abuse
from chaos.abuse_attacks import ATTACKS
from chaos.audit import KINDS
from chaos.plan import Plan
from chaos.postgres import own_postgres
from chaos.slow_reader import stop_a_reader
from chaos.storm import Storm, weather
from chaos.writers import write


def say(line: str) -> None:
    print(line, flush=True)


def _report(storm: Storm, seconds: float) -> bool:
    """Print the result of a storm; returns True when all was well."""
    tally, plan = storm.tally, storm.plan
    counts = Counter(finding.kind for finding in storm.findings)
    for finding in storm.findings[:40]:
        say(f"{finding.kind}: {finding.text[:600]}")
    ended = Counter(str(exchange.refused or "ended") for exchange in tally.exchanges)
    say(
        f"Storm, seed {plan.seed}, {seconds:.0f} s: {storm.kills} kills ({storm.early_kills} during the start), "
        f"{storm.terminations} SIGTERMs, {storm.outages} outages of the database, {plan.servers} servers; "
        f"{len(tally.exchanges)} messages ({dict(ended)}), {len(tally.posted)} bot "
        f"messages, {len(tally.uploaded)} files; {tally.cuts} cuts, {tally.resumes} resumes, {tally.repeats} repeats, "
        f"{tally.refusals} refusals, {tally.early_ends} streams ended early by the server"
    )
    say(", ".join(f"{counts[kind]} {kind}" for kind in KINDS))
    if storm.unfinished:
        say(f"{storm.unfinished} clients did not finish")
    if not storm.reached_its_size:
        say(f"The time was up before {plan.kills} kills and {plan.cuts} cuts")
    return not storm.findings and not storm.unfinished and storm.reached_its_size


def _storm(options: argparse.Namespace, folder: Path) -> bool:
    seed = options.seed if options.seed is not None else int(time.time())
    plan = Plan(
        seed=seed,
        seconds=options.minutes * 60,
        kills=options.kills,
        cuts=options.cuts,
        clients=options.clients,
        servers=options.servers,
        outages=options.outages,
        skew=options.skew,
    )
    say(f"The storm, seed {seed}")
    start = time.monotonic()
    storm = asyncio.run(_weather(options, plan, folder))
    return _report(storm, time.monotonic() - start)


async def _weather(options: argparse.Namespace, plan: Plan, folder: Path) -> Storm:
    if not options.own_postgres:
        return await weather(plan, folder, say, options.database_url)
    async with own_postgres() as postgres:
        return await weather(plan, folder, say, postgres.url, postgres)


def _writers(options: argparse.Namespace, folder: Path) -> bool:
    writing = asyncio.run(write(folder, writers=options.writers, messages=options.messages))
    for problem in writing.problems[:20]:
        say(problem)
    say(
        f"Writers: {writing.writers} with {writing.messages} messages each in {writing.seconds:.0f} s, while the "
        f"command line made {writing.commands} keys and a third process {writing.keys}: "
        f"{len(writing.problems)} problems"
    )
    return not writing.problems


def _reader(_options: argparse.Namespace, folder: Path) -> bool:
    reading = asyncio.run(stop_a_reader(folder))
    for problem in reading.problems:
        say(problem)
    say(
        f"A stopped reader: the server's memory grew by {reading.growth / 1024:.0f} KiB, others' replies took "
        f"{reading.meanwhile * 1000:.0f} ms (before: {reading.before * 1000:.0f}, at worst "
        f"{reading.worst * 1000:.0f}): {len(reading.problems)} problems"
    )
    return not reading.problems


def _abuse(options: argparse.Namespace, folder: Path) -> bool:
    plan = AbusePlan(
        seconds=options.attack_seconds,
        tolerance=options.tolerance,
        attacks=options.attack or tuple(ATTACKS),
        at_once=options.at_once,
    )
    trial = asyncio.run(abuse(plan, folder, say))
    for attack, answers in sorted(trial.answers.items()):
        say(f"  {attack}: {answers}")
    for problem, count in Counter(trial.problems).most_common(20):
        say(f"{problem} ({count} times)")
    say(
        f"Abuse, {len(trial.during)} attacks: at most "
        f"{trial.server_peak / 1024**2:.0f} MiB, {trial.total_peak / 1024**2:.0f} with workers: "
        f"{len(trial.problems)} problems"
    )
    return not trial.problems


TRIALS = {"storm": _storm, "writers": _writers, "reader": _reader, "abuse": _abuse}


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m chaos", description=__doc__)
    parser.add_argument("--only", choices=TRIALS, action="append", help="this trial; can be given again")
    parser.add_argument("--folder", type=Path, help="an empty folder, in which what is left is kept")
    storm = parser.add_argument_group("the storm")
    storm.add_argument("--seed", type=int, help="the same seed plans the same messages, kills and cuts")
    storm.add_argument("--database-url", help="an empty PostgreSQL database, instead of SQLite in the folder")
    storm.add_argument("--own-postgres", action="store_true", help="start a PostgreSQL, and restart it in outages")
    storm.add_argument("--skew", type=float, default=0.0, help="seconds by which the servers' clocks differ")
    storm.add_argument("--servers", type=int, default=1, help="on the PostgreSQL database, behind a balancer")
    storm.add_argument("--outages", action="store_true", help="PostgreSQL is cut off, silent or away now and then")
    storm.add_argument("--minutes", type=float, default=8.0, help="the most that it may last")
    storm.add_argument("--kills", type=int, default=50)
    storm.add_argument("--cuts", type=int, default=1000)
    storm.add_argument("--clients", type=int, default=24)
    writers = parser.add_argument_group("the writers")
    writers.add_argument("--writers", type=int, default=50)
    writers.add_argument("--messages", type=int, default=200, help="of each")
    hostility = parser.add_argument_group("the abuse")
    hostility.add_argument("--attack", choices=ATTACKS, action="append", help="this attack alone; can be given again")
    hostility.add_argument("--attack-seconds", type=float, default=15.0, help="for each")
    hostility.add_argument("--at-once", action="store_true", help="all attacks at the same time")
    hostility.add_argument(
        "--tolerance", type=float, default=0.2, help="seconds by which an attack may delay a busy machine's first token"
    )
    return parser.parse_args()


def main() -> int:
    options = _parse()
    good = True
    with tempfile.TemporaryDirectory(prefix="palaver-chaos-", ignore_cleanup_errors=True) as temporary:
        for name in options.only or TRIALS:
            folder = (options.folder or Path(temporary)) / name
            folder.mkdir(parents=True)
            good &= TRIALS[name](options, folder)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
