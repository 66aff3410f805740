"""`python -m chaos`: run the trials and say how they ended."""

import argparse
import asyncio
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from chaos.audit import KINDS
from chaos.plan import Plan
from chaos.storm import Storm, weather


def say(line: str) -> None:
    print(line, flush=True)


def _report(storm: Storm, seconds: float) -> bool:
    """Say what happened; True when all was well."""
    tally, plan = storm.tally, storm.plan
    counts = Counter(finding.kind for finding in storm.findings)
    for finding in storm.findings[:40]:
        say(f"{finding.kind}: {finding.what[:600]}")
    ended = Counter(str(exchange.refused or "ended") for exchange in tally.exchanges)
    say(
        f"Storm, seed {plan.seed}, {seconds:.0f} s: {storm.kills} kills ({storm.early_kills} during the start), "
        f"{storm.terminations} SIGTERMs; {len(tally.exchanges)} messages ({dict(ended)}), {len(tally.posted)} bot "
        f"messages, {len(tally.uploaded)} files; {tally.cuts} cuts, {tally.resumes} resumes, {tally.repeats} repeats, "
        f"{tally.refusals} refusals, {tally.early_ends} streams ended early by the server"
    )
    say(", ".join(f"{counts[kind]} {kind}" for kind in KINDS))
    if storm.unfinished:
        say(f"{storm.unfinished} clients did not finish")
    if not storm.reached_its_size:
        say(f"The time was up before {plan.kills} kills and {plan.cuts} cuts")
    return not storm.findings and not storm.unfinished and storm.reached_its_size


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m chaos", description=__doc__)
    parser.add_argument("--seed", type=int, default=None, help="the same seed plans the same messages and kills")
    parser.add_argument("--minutes", type=float, default=9.0, help="the most that the storm may last")
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--cuts", type=int, default=1000)
    parser.add_argument("--clients", type=int, default=24)
    parser.add_argument("--folder", type=Path, default=None, help="keep what is left here, an empty folder")
    return parser.parse_args()


def main() -> int:
    options = _parse()
    seed = options.seed if options.seed is not None else int(time.time())
    plan = Plan(
        seed=seed, seconds=options.minutes * 60, kills=options.kills, cuts=options.cuts, clients=options.clients
    )
    say(f"Seed {seed}")
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="palaver-chaos-", ignore_cleanup_errors=True) as temporary:
        folder = options.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        storm = asyncio.run(weather(plan, folder, say))
    return 0 if _report(storm, time.monotonic() - began) else 1


if __name__ == "__main__":
    sys.exit(main())
