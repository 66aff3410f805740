"""The walk of a request through the code; the tool profiles its whole process, and has one of its own here."""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_walk_of_each_trip_is_printed() -> None:
    command = (sys.executable, "-m", "tools.walk", "--tries", "1", "--files")
    process = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)

    assert process.returncode == 0, process.stderr
    head, *rows = process.stdout.splitlines()[:5]
    assert head.split() == ["trip", "calls", "functions", "files", "moves", "back"]
    trips = [re.fullmatch(r"([a-z ]+?) +(\d+) +(\d+) +(\d+) +(\d+) +(\d+)", row) for row in rows]
    assert [trip and trip[1] for trip in trips] == ["chat message", "completion", "upload", "search"]
    for trip in trips:
        assert trip is not None
        calls, functions, files, moves, back = map(int, trip.groups()[1:])
        assert calls > functions > files > 10
        assert back == moves - files + 1 > 0
    assert re.search(r"^  [a-z_/]+\.py: \w+", process.stdout, re.MULTILINE)
