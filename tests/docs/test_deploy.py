"""The files of deploy/: they name settings, routes and files that there are, and nginx takes its own."""

import asyncio
import re
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx2
import pytest
import yaml  # type: ignore[import-untyped, unused-ignore]

from app.settings import Settings
from tests.conftest import StartServer
from tests.support.client import Client, text_of, types_of
from tests.support.processes import free_port
from tests.support.programs import ROOT
from tests.support.server import Server

DEPLOY = ROOT / "deploy"
COMPOSE = yaml.safe_load((DEPLOY / "compose" / "compose.yaml").read_text())
KUBERNETES = list(yaml.safe_load_all((DEPLOY / "kubernetes" / "palaver.yaml").read_text()))
NGINX = (DEPLOY / "compose" / "nginx.conf").read_text()
SETTINGS = {f"PALAVER_{name.upper()}" for name in Settings.model_fields}
PALAVERS = [name for name in COMPOSE["services"] if name.startswith("palaver-")]


def of_kind(kind: str) -> Mapping[str, Any]:
    (document,) = [each for each in KUBERNETES if each["kind"] == kind]
    return dict(document)


def variables() -> Iterator[str]:
    for name in PALAVERS:
        yield from COMPOSE["services"][name]["environment"]
    yield from of_kind("ConfigMap")["data"]
    text = (DEPLOY / "kubernetes" / "palaver.yaml").read_text() + (DEPLOY / "compose" / ".env.example").read_text()
    yield from re.findall(r"PALAVER_[A-Z_]+", text)


def test_every_variable_is_a_setting() -> None:
    assert {name for name in variables() if name.startswith("PALAVER_")} <= SETTINGS


def test_the_servers_differ_in_nothing() -> None:
    assert len(PALAVERS) == 2
    first, second = (COMPOSE["services"][name] for name in PALAVERS)
    assert first == second


def test_compose_names_files_and_services_that_there_are() -> None:
    services = COMPOSE["services"]
    for service in services.values():
        assert set(service.get("depends_on", ())) <= services.keys()
        for volume in service.get("volumes", ()):
            source = volume.split(":")[0]
            if source.startswith("."):
                assert source == "./configs" or (DEPLOY / "compose" / source).exists()
            else:
                assert source in COMPOSE["volumes"]
    needed = set(re.findall(r"\$\{(\w+)", (DEPLOY / "compose" / "compose.yaml").read_text()))
    assert needed == set(re.findall(r"^(\w+)=", (DEPLOY / "compose" / ".env.example").read_text(), re.MULTILINE))
    assert re.findall(r"server ([\w-]+):6185", NGINX) == PALAVERS


def test_pods_have_longer_to_end_than_replies_have() -> None:
    spec = of_kind("Deployment")["spec"]["template"]["spec"]
    assert spec["terminationGracePeriodSeconds"] > int(of_kind("ConfigMap")["data"]["PALAVER_DRAIN_SECONDS"]) + 10


async def test_the_probes_are_answered(server: Server) -> None:
    (container,) = of_kind("Deployment")["spec"]["template"]["spec"]["containers"]
    async with httpx2.AsyncClient(base_url=server.base_url, trust_env=False) as http:
        for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
            assert (await http.get(container[probe]["httpGet"]["path"])).status_code == 200


@pytest.mark.databases("postgresql")
@pytest.mark.skipif(shutil.which("nginx") is None, reason="nginx is not installed")
async def test_servers_behind_nginx_answer_in_each_others_place(start_server: StartServer, tmp_path: Path) -> None:
    async with start_server() as one:
        key = await one.new_key()
        async with start_server() as other:
            port = free_port()
            config = NGINX.replace("listen 80", f"listen 127.0.0.1:{port}").replace(
                "worker_processes auto", f"daemon off; pid {tmp_path}/pid; error_log {tmp_path}/log; worker_processes 1"
            )
            for name, server in zip(PALAVERS, (one, other), strict=True):
                config = config.replace(f"{name}:6185", f"127.0.0.1:{server.port}")
            (tmp_path / "nginx.conf").write_text(config)
            process = await asyncio.create_subprocess_exec("nginx", "-c", str(tmp_path / "nginx.conf"))
            try:
                behind = Server(one.app, f"http://127.0.0.1:{port}", one.settings, one.core)
                async with Client(behind, key) as client:
                    async with asyncio.timeout(20):
                        while not await _answers(client):
                            await asyncio.sleep(0.05)
                    assert (await client.http.get("/metrics")).status_code == 403
                    for number in range(6):
                        events = await client.chat(f"m{number}", session_id="s1")
                        assert (text_of(events), types_of(events)[-1]) == (f"You said: m{number}", "end")
                    assert len(await client.history("s1")) == 12
                for server in (one, other):  # both were asked
                    async with httpx2.AsyncClient(base_url=server.base_url, trust_env=False) as http:
                        assert 'route="/api/v1/chat"' in (await http.get("/metrics")).text
            finally:
                process.terminate()
                await process.wait()


async def _answers(client: Client) -> bool:
    try:
        return (await client.http.get("/health")).status_code == 200
    except httpx2.TransportError:
        return False
