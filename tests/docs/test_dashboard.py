"""The Grafana dashboard: its queries are about what /metrics exports, and Prometheus answers them."""

import asyncio
import json
import re
import shutil
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
from prometheus_client.parser import text_string_to_metric_families

from app.edge.services import service
from app.telemetry.metrics import Metrics
from tests.support.client import Client
from tests.support.processes import free_port
from tests.support.programs import ROOT
from tests.support.server import Server

DASHBOARD = json.loads((ROOT / "deploy" / "grafana" / "palaver.json").read_text())
QUERIES = [target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]]
WORDS = {"sum", "min", "max", "by", "rate", "histogram_quantile", "le"}
OF_PROMETHEUS = {"job", "instance"}
SAMPLES = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count"), "gauge": ("",)}


@pytest.fixture
async def used(server: Server, client: Client) -> Client:
    """A server that has done something of everything that is counted."""
    await client.chat("Hello")
    await client.get("/api/v1/chat/runs/unknown")
    async with server.app.app_context():
        metrics = service(Metrics)
    metrics.tool_calls.labels("now", "completed").inc()
    metrics.deliveries.labels("delivered").inc()
    metrics.im_tries.labels("telegram", "sent").inc()
    metrics.im_open_deliveries.labels("telegram1").set(1)
    metrics.im_pauses.labels("telegram1", "rate_limited").set(1)
    metrics.im_connections.labels("telegram1", "connected").set(1)
    metrics.im_callbacks.labels("sent").inc()
    metrics.im_events.labels("taken").inc()
    metrics.documents.labels("ready").inc()
    metrics.passages.inc()
    metrics.requests.labels("GET", "/x", "503").inc()
    return client


async def exported(client: Client) -> dict[str, set[str]]:
    """The names of what /metrics exports, with their labels."""
    labels: dict[str, set[str]] = {}
    for family in text_string_to_metric_families((await client.http.get("/metrics")).text):
        for suffix in SAMPLES[family.type]:
            labels[family.name + suffix] = set()
        for sample in family.samples:
            labels.setdefault(sample.name, set()).update(sample.labels)
    return labels


def selectors(query: str) -> Iterator[tuple[str, set[str]]]:
    """The metrics that a query selects, each with the labels that are named in its braces and in `by`."""
    grouped = {name.strip() for names in re.findall(r"by \(([^)]*)\)", query) for name in names.split(",")}
    rest = re.sub(r"by \([^)]*\)|\[[^]]*\]", "", query)
    for name, braces in re.findall(r"([a-z_]\w*)(\{[^}]*\})?", re.sub(r'"[^"]*"', '""', rest)):
        if name not in WORDS | OF_PROMETHEUS and (braces or "_" in name):
            yield name, set(re.findall(r"(\w+)=", braces)) | grouped


async def test_every_query_is_about_something_that_is_exported(used: Client) -> None:
    names = await exported(used)
    for query in QUERIES:
        found = list(selectors(query))
        assert found, query
        for name, labels in found:
            if name == "up":  # Prometheus's own
                continue
            assert name in names, query
            assert labels - OF_PROMETHEUS <= names[name], query


async def test_what_is_exported_is_on_the_dashboard(used: Client) -> None:
    families = {name for name in await exported(used) if name.startswith("palaver_")}
    shown = {name for query in QUERIES for name, _ in selectors(query)}
    unseen = {name for name in families if not name.endswith(("_sum", "_count", "_created"))} - shown
    assert unseen <= {"palaver_tool_seconds_bucket"}


@asynccontextmanager
async def prometheus(target: str, folder: Path) -> AsyncIterator[httpx2.AsyncClient]:
    """Run a Prometheus that scrapes the target once a second."""
    scrape = {"job_name": "palaver", "scrape_interval": "1s", "static_configs": [{"targets": [target]}]}
    config = folder / "prometheus.yml"
    config.write_text(json.dumps({"scrape_configs": [scrape]}))  # JSON is YAML
    port = free_port()
    process = await asyncio.create_subprocess_exec(
        "prometheus",
        f"--config.file={config}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        async with httpx2.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False) as http:
            yield http
    finally:
        process.kill()
        await process.wait()


async def value_of(http: httpx2.AsyncClient, query: str) -> Mapping[str, Any] | None:
    """Prometheus's answer; None while it is not there."""
    try:
        answer: Mapping[str, Any] = (await http.get("/api/v1/query", params={"query": query})).json()
    except (httpx2.TransportError, ValueError):
        return None
    return answer


@pytest.mark.skipif(shutil.which("prometheus") is None, reason="Prometheus is not installed")
async def test_prometheus_answers_every_query(used: Client, server: Server, tmp_path: Path) -> None:
    async with prometheus(server.base_url.removeprefix("http://"), tmp_path) as http:
        async with asyncio.timeout(60):
            while True:
                scrapes = await value_of(http, 'count_over_time(up{job="palaver"}[1m])')
                if scrapes and scrapes["data"]["result"] and int(scrapes["data"]["result"][0]["value"][1]) >= 3:
                    break
                await asyncio.sleep(0.2)
        for query in QUERIES:
            concrete = query.replace("$job", "palaver").replace("$instance", ".*").replace("$__rate_interval", "1m")
            answer = await value_of(http, concrete)
            assert answer is not None
            assert answer["status"] == "success", (query, answer)
            assert answer["data"]["result"], query
