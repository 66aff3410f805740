"""Clients that other people's generators make of the document, each with a program against a server."""

import subprocess
import sys
from pathlib import Path

import pytest

from sdks.clients import ALL

pytestmark = [pytest.mark.clients, pytest.mark.xdist_group("sdks")]

ROOT = Path(__file__).parents[2]
SKIPPED = 3


@pytest.mark.parametrize("name", [client.name for client in ALL])
def test_a_generated_client_chats_lists_uploads_and_catches_an_error(name: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "sdks", name], cwd=ROOT, capture_output=True, text=True, timeout=1200, check=False
    )
    if done.returncode == SKIPPED:
        pytest.skip(done.stdout.strip().splitlines()[-1] + done.stdout)
    assert done.returncode == 0, done.stdout + done.stderr
    (line,) = [line for line in done.stdout.splitlines() if line.startswith(f"{name}: passed")]
    assert all(word in line for word in ("chat", "sessions", "file", "error run_not_found"))
