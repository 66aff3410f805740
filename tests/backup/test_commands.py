"""`palaver db backup` and `palaver db restore`, beside a server that runs."""

import json
from collections.abc import AsyncIterator
from pathlib import Path

import httpx2
import pytest

from tests.support.model_server import ModelServer
from tests.support.processes import API_KEY, ServerProcess, palaver, provider_toml


@pytest.fixture
async def process(data_dir: Path, model: ModelServer) -> AsyncIterator[ServerProcess]:
    data_dir.mkdir()
    (data_dir / "palaver.toml").write_text(provider_toml(model.base_url))
    started = ServerProcess(data_dir)
    try:
        await started.start()
        yield started
    finally:
        await started.close()


async def chat(process: ServerProcess, message: str) -> str:
    headers = {"X-API-Key": API_KEY}
    async with httpx2.AsyncClient(base_url=process.base_url, headers=headers, trust_env=False, timeout=30) as http:
        body = {"username": "alice", "session_id": "s1", "message": message}
        return (await http.post("/api/v1/chat", json=body)).text


async def questions(process: ServerProcess) -> list[str]:
    headers = {"X-API-Key": API_KEY}
    async with httpx2.AsyncClient(base_url=process.base_url, headers=headers, trust_env=False, timeout=30) as http:
        response = await http.get("/api/v1/chat/sessions/s1/messages", params={"username": "alice"})
        messages = json.loads(response.text)["data"]["messages"]
        return [m["parts"][0]["text"] for m in messages[::-1] if m["role"] == "user"]


async def test_back_up_while_the_server_runs_and_restore_when_it_is_gone(
    process: ServerProcess, data_dir: Path, tmp_path: Path
) -> None:
    file = tmp_path / "backup.tar"
    await chat(process, "first")
    code, output = await palaver("db", "backup", str(file), data_dir=data_dir)
    assert (code, "and 0 attachments" in output, "keep it like one" in output) == (0, True, True)
    await chat(process, "second")

    code, output = await palaver("db", "backup", str(file), data_dir=data_dir)
    assert (code, output) == (1, f"Error: {file} exists already: a backup is never written over\n")
    code, output = await palaver("db", "restore", str(file), "--force", data_dir=data_dir)
    assert (code, output) == (1, f"Error: Another palaver serve uses the data folder {data_dir}\n")
    assert await questions(process) == ["first", "second"]

    assert await process.end() == 0
    code, output = await palaver("db", "restore", str(file), data_dir=data_dir)
    assert (code, "--force" in output) == (1, True)
    code, output = await palaver("db", "restore", str(file), "--force", data_dir=data_dir)
    assert (code, "before-restore-" in output) == (0, True)
    await process.start()
    assert await questions(process) == ["first"]
    await chat(process, "third")
    assert await questions(process) == ["first", "third"]


async def test_an_external_database_is_not_backed_up_here(data_dir: Path, tmp_path: Path) -> None:
    url = {"PALAVER_DATABASE_URL": f"sqlite+aiosqlite:///{tmp_path}/other.db"}
    for command in (("backup", str(tmp_path / "b.tar")), ("restore", __file__)):
        code, output = await palaver("db", *command, data_dir=data_dir, environment=url)
        assert (code, output.startswith("Error: Backups are of the embedded database")) == (1, True)


async def test_what_is_no_backup_is_one_line(data_dir: Path) -> None:
    code, output = await palaver("db", "restore", __file__, data_dir=data_dir)
    assert (code, len(output.splitlines()), "is not a backup of Palaver" in output) == (1, 1, True)
