"""Schemathesis against a running server: every operation, every check; thoroughly with `-m thorough`."""

import asyncio
import os
import re
import sys
from asyncio.subprocess import PIPE, STDOUT
from pathlib import Path

import pytest

from app.edge.routes import routes
from app.settings import ApiKeySettings
from tests.support.server import make_settings, running

ROOT = Path(__file__).resolve().parents[2]
COMMAND = (sys.executable, "-c", "from schemathesis.cli import schemathesis; schemathesis()")
# The operator's own key is not in the database: no request can revoke, rotate or delete it.
KEY = "operator-key-of-schemathesis"
OPERATOR = ApiKeySettings.model_validate({"key": KEY, "scopes": ["chat", "config", "file", "im", "knowledge", "admin"]})
ALLOW = "allow_header_conformance"
"""Some paths, such as /sessions/new, are also ones of another operation's parameter, and answer for both."""
JSON_LINES = "importSessions"
"""Takes lines of JSON, which Schemathesis cannot write."""
THOROUGH = (pytest.mark.thorough, pytest.mark.timeout(900))


@pytest.mark.parametrize(
    ("phases", "examples"),
    [
        pytest.param("examples,fuzzing", 1, id="quick"),
        pytest.param("examples,coverage,fuzzing,stateful", 6, id="thorough", marks=THOROUGH),
    ],
)
async def test_every_operation_does_what_the_document_says(
    data_dir: Path, template: Path, tmp_path: Path, phases: str, examples: int
) -> None:
    settings = make_settings(data_dir, api_keys=[OPERATOR], log_level="error")
    async with running(settings, template) as server:
        process = await asyncio.create_subprocess_exec(
            *COMMAND,
            *("run", f"{server.base_url}/openapi.json", "--header", f"X-API-Key: {KEY}"),
            *("--checks", "all", "--exclude-checks", ALLOW, "--exclude-operation-id", JSON_LINES),
            *("--phases", phases, "--max-examples", str(examples), "--generation-deterministic", "--no-color"),
            cwd=ROOT,
            stdout=PIPE,
            stderr=STDOUT,
            env={**os.environ, "NO_PROXY": "*", "HYPOTHESIS_STORAGE_DIRECTORY": str(tmp_path)},
        )
        try:
            said, _ = await process.communicate()
        finally:
            if process.returncode is None:
                process.kill()
        text = said.decode()
        assert process.returncode == 0, text[-20_000:]
        # All but the one that the document is read from, whose twin is below /api/v1.
        count = sum(route.method != "WEBSOCKET" for route in routes(server.app)) - 1
    assert re.search(rf"Selected: {count - 1}/{count}\s+Tested: {count - 1}\b", text), text[-3000:]
