"""`python -m bench`: measure, print the table, and fail for a target that is missed beyond noise."""

import argparse
import asyncio
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from bench.processes import BenchError, model_server
from bench.report import HEAD, row_of, summary, write_json
from bench.scenario import Bench, Result, Scenario, Verdict, judge
from bench.scenarios import SCENARIOS

RESULTS = Path("bench/results/latest.json")


def say(text: str) -> None:
    print(text, flush=True)


async def _measure(bench: Bench, scenario: Scenario) -> list[Result]:
    try:
        return judge(scenario, await scenario.measure(bench))
    except (BenchError, TimeoutError) as error:
        say(f"{scenario.name}: {type(error).__name__} {error}")
        return [Result(scenario.name, row, Verdict.BROKEN, reason="see above") for row in scenario.rows]


async def _run(options: argparse.Namespace, folder: Path) -> list[Result]:
    results: list[Result] = []
    say(HEAD)
    async with model_server() as model:
        rounds = 1 if options.smoke else options.rounds
        bench = Bench(model, folder, rounds, options.smoke, options.server)
        for scenario in SCENARIOS:
            if options.only and scenario.name not in options.only:
                continue
            found = await _measure(bench, scenario)
            if options.smoke:  # figures of so little say nothing
                found = [replace(each, verdict=Verdict.INFO) if each.values else each for each in found]
            for result in found:
                say(row_of(result))
            results += found
    return results


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    names = [scenario.name for scenario in SCENARIOS]
    parser.add_argument("--only", choices=names, action="append", help="this scenario; can be given again")
    parser.add_argument("--rounds", type=int, default=3, help="how often each is measured; the median counts  [3]")
    parser.add_argument("--server", choices=("hypercorn", "uvicorn"), default="hypercorn", help="what Palaver runs on")
    parser.add_argument("--smoke", action="store_true", help="run every scenario, tiny: for crashes, not for figures")
    parser.add_argument("--json", type=Path, default=RESULTS, help=f"where the results go  [{RESULTS}]")
    parser.add_argument("--folder", type=Path, help="a folder in which data and logs are kept")
    return parser.parse_args()


def main() -> int:
    options = _parse()
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="palaver-bench-", ignore_cleanup_errors=True) as temporary:
        folder = options.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        results = asyncio.run(_run(options, folder))
    seconds = time.monotonic() - began
    write_json(options.json, results, smoke=options.smoke, seconds=seconds)
    say(f"{summary(results)}, in {seconds:.0f} s; all of it in {options.json}")
    bad = {Verdict.BROKEN} if options.smoke else {Verdict.BROKEN, Verdict.FAIL}
    return 1 if any(result.verdict in bad for result in results) else 0


if __name__ == "__main__":
    sys.exit(main())
