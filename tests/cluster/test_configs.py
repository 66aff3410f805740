"""Servers on one database that are not set to the same: the log, the metrics and `GET /api/v1/configs` say so."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from tests.conftest import StartServer
from tests.support.client import Client


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.lifespan.CHECK_SECONDS", 0.1)


async def differences(client: Client) -> list[Any]:
    found: list[Any] = (await client.get("/api/v1/configs")).json()["data"]["differences"]
    return found


async def until_different(client: Client, *names: str) -> list[Any]:
    async with asyncio.timeout(20):
        while True:
            found = await differences(client)
            if [each["name"] for each in found] == sorted(names):
                return found
            await asyncio.sleep(0.05)


async def until_logged(logs: list[Any], *names: str) -> None:
    async with asyncio.timeout(20):
        while not any(each["event"] == "servers_differ" and each["names"] == sorted(names) for each in logs):
            await asyncio.sleep(0.05)


@pytest.mark.databases("postgresql")
async def test_servers_that_differ_are_told_until_they_agree(
    start_server: StartServer, data_dir: Path, database_url: str, tmp_path: Path
) -> None:
    other_dir = tmp_path / "other"
    other_dir.mkdir()
    data_dir.mkdir(exist_ok=True)
    (other_dir / "secret.key").write_text(secret := "ab" * 32)
    (data_dir / "secret.key").write_text(secret)
    with capture_logs() as logs:
        async with (
            start_server() as one,
            start_server(data_dir=other_dir, database_url=database_url, max_runs=7) as other,
            Client(one, key := await one.new_key()) as client,
            Client(other, key) as beside,
        ):
            poem = other_dir / "configs" / "poet.toml"
            poem.write_text('system_prompt = "Rhyme."')
            (setting_or_profile, setting) = await until_different(client, "profile poet", "setting max_runs")
            assert setting_or_profile["server_ids"] == setting["server_ids"]
            assert len(setting["server_ids"]) == 1
            seen_from_beside = await until_different(beside, "profile poet", "setting max_runs")
            assert seen_from_beside[0]["server_ids"] != setting["server_ids"]
            metrics = (await client.http.get("/metrics")).text
            assert "palaver_config_differences 2.0" in metrics
            await until_logged(logs, "profile poet", "setting max_runs")
            poem.unlink()
            await until_different(client, "setting max_runs")
            (one.settings.data_dir / "configs" / "default.toml").write_text('name = "Other"')
            await until_different(client, "profile default", "setting max_runs")
            await until_logged(logs, "profile default", "setting max_runs")
        assert not any("Rhyme" in str(each) for each in logs)


async def test_one_server_differs_from_nobody(client: Client) -> None:
    with capture_logs() as logs:
        await asyncio.sleep(0.5)
        assert await differences(client) == []
    assert not [each for each in logs if each["event"].startswith("servers_")]
