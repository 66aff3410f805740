"""Health, readiness, numbers, and the documentation as it is served."""

import asyncio
import gzip
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from quart import Quart
from sqlalchemy import Connection, text
from sqlalchemy.ext.asyncio import create_async_engine

from app import __version__
from app.auth.guards import AuthPolicy, install_guard
from app.auth.service import KeyService
from app.crypto import SecretBox
from app.database.engine import open_database, sqlite_url
from app.database.errors import DatabaseUnavailable
from app.edge.errors import install_errors
from app.edge.openapi import build_document
from app.edge.request_log import install_request_log
from app.edge.services import provide
from app.ops import documentation, health
from app.ops.health import OpsPolicy
from app.ops.publishing import Publisher
from app.ops.readiness import PacedCheck, ReadyChecks, database_check
from app.telemetry.metrics import Metrics
from tests.support.spec import SpecValidator


async def works() -> None:
    pass


async def fails() -> None:
    raise OSError("/srv/secret/path is gone")


async def hangs() -> None:
    await asyncio.Event().wait()


def make_app(checks: ReadyChecks | None = None, policy: OpsPolicy | None = None) -> Quart:
    app = Quart("tests", static_folder=None)
    metrics = Metrics()
    keys = KeyService(open_database("sqlite+aiosqlite://"), SecretBox(b"m" * 32), Path("unused"))
    for each in (metrics, keys, AuthPolicy(), policy or OpsPolicy(), checks or ReadyChecks({"database": works})):
        provide(app, each)
    install_request_log(app, metrics)
    install_errors(app, [])
    install_guard(app, AuthPolicy(), keys)
    app.register_blueprint(health.blueprint)
    app.register_blueprint(documentation.blueprint)
    provide(app, Publisher(app))
    return app


@pytest.fixture
def app() -> Quart:
    return make_app()


async def get(app: Quart, path: str, **headers: str) -> Any:
    """A GET whose answer is held against the app's own document."""
    response = await app.test_client().get(
        path, headers={name.replace("_", "-"): each for name, each in headers.items()}
    )
    body = await response.get_data(as_text=False)
    SpecValidator(build_document(app)).check(
        "GET", path, response.status_code, response.headers.get("Content-Type"), body
    )
    return response


async def test_health_is_what_the_seeds_clients_expect(app: Quart) -> None:
    response = await get(app, "/health")

    assert await response.get_json() == {"status": "healthy"}


async def test_ready_says_of_each_part_that_it_works() -> None:
    response = await get(make_app(ReadyChecks({"database": works, "storage": works})), "/ready")

    assert response.status_code == 200
    assert await response.get_json() == {"status": "ready", "checks": {"database": "ok", "storage": "ok"}}


@pytest.mark.parametrize("check", [fails, hangs])
async def test_ready_names_the_part_that_fails_and_not_the_reason(check: Any) -> None:
    response = await get(make_app(ReadyChecks({"database": works, "storage": check}, timeout_seconds=0.01)), "/ready")

    assert response.status_code == 503
    assert await response.get_json() == {"status": "not_ready", "checks": {"database": "ok", "storage": "failed"}}


async def test_the_databases_check_passes_when_it_was_migrated_and_fails_when_not(tmp_path: Path) -> None:
    url = sqlite_url(tmp_path / "palaver.db")
    database = open_database(url)
    check = database_check(database)
    with pytest.raises(DatabaseUnavailable):
        await check()

    engine = create_async_engine(url)
    async with engine.begin() as connection:
        await connection.execute(text("CREATE TABLE alembic_version (version_num VARCHAR(32))"))
    await engine.dispose()
    await check()
    await database.close()
    assert (tmp_path / "palaver.db").exists()


class CountingDatabase:
    """A database that takes every function, runs none, and counts them."""

    url = "sqlite+aiosqlite://"

    def __init__(self) -> None:
        self.reads = self.writes = 0

    async def read(self, act: Callable[[Connection], Any]) -> Any:
        self.reads += 1

    async def write(self, act: Callable[[Connection], Any]) -> Any:
        self.writes += 1
        await asyncio.sleep(0)

    async def close(self) -> None: ...


async def test_the_databases_write_is_shared_by_those_who_ask_at_once() -> None:
    database = CountingDatabase()
    check = database_check(database)
    start = time.monotonic()
    for _ in range(3):
        await asyncio.gather(*(check() for _ in range(20)))
    assert database.reads == 60
    # One, and another for each second that this took.
    assert 1 <= database.writes <= 1 + (time.monotonic() - start)


@pytest.mark.parametrize(("seconds", "count"), [(3600.0, 1), (0.0, 5)])
async def test_a_paced_check_is_made_again_once_it_is_due(seconds: float, count: int) -> None:
    made = 0

    async def check() -> None:
        nonlocal made
        made += 1
        raise OSError

    paced = PacedCheck(check, seconds)
    for _ in range(5):
        with pytest.raises(OSError):
            await paced()
    assert made == count


async def test_metrics_are_prometheus_text(app: Quart) -> None:
    await get(app, "/health")
    response = await get(app, "/metrics")

    assert response.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    lines = (await response.get_data()).decode().splitlines()
    assert 'palaver_requests_total{method="GET",route="/health",status="200"} 1.0' in lines
    assert "palaver_runs_active 0.0" in lines


async def test_metrics_want_a_key_when_they_are_not_public() -> None:
    response = await get(make_app(policy=OpsPolicy(metrics_public=False)), "/metrics")

    assert response.status_code == 401
    assert (await response.get_json())["message"] == "Missing API key"
    assert "WWW-Authenticate" in response.headers


async def test_the_root_says_what_this_is_and_names_every_path(app: Quart) -> None:
    info = await (await get(app, "/")).get_json()

    assert list(info) == ["name", "message", "version", "description", "authentication", "endpoints"]
    assert (info["name"], info["version"]) == ("Palaver", __version__)
    assert info["endpoints"]["/health"] == "GET - Is the process alive?"
    assert set(info["endpoints"]) == set(build_document(app)["paths"])


async def test_the_document_is_served_compact_and_compressed(app: Quart) -> None:
    whole = await get(app, "/openapi.json")
    client = app.test_client()
    compressed = await client.get("/openapi.json", headers={"Accept-Encoding": "gzip, br"})

    content = await whole.get_data()
    assert msgspec.json.format(content, indent=-1) == content
    assert "Content-Encoding" not in whole.headers
    assert compressed.headers["Content-Encoding"] == "gzip"
    assert gzip.decompress(await compressed.get_data(as_text=False)) == content
    assert whole.headers["Vary"] == compressed.headers["Vary"] == "Accept-Encoding"
    assert whole.headers["ETag"] != compressed.headers["ETag"]

    conditions = {"Accept-Encoding": "gzip", "If-None-Match": compressed.headers["ETag"]}
    again = await client.get("/openapi.json", headers=conditions)
    assert again.status_code == 304


async def test_the_document_is_served_in_openapi_3_0_too(app: Quart) -> None:
    document = await (await get(app, "/openapi-3.0.json")).get_json()
    whole = await (await get(app, "/openapi.json")).get_json()
    assert document["openapi"] == "3.0.3"
    assert document["paths"].keys() == whole["paths"].keys()


@pytest.mark.parametrize("path", ["/openapi.json", "/api/v1/openapi.json"])
async def test_the_document_is_served_to_all_and_sent_once(app: Quart, path: str) -> None:
    response = await get(app, path)
    assert (await response.get_json())["openapi"] == "3.1.0"

    second = await get(app, path, If_None_Match=response.headers["ETag"])
    assert second.status_code == 304
    assert await second.get_data() == b""


async def test_the_docs_page_needs_no_other_host_and_no_inline_script(app: Quart) -> None:
    response = await get(app, "/docs")
    page = (await response.get_data()).decode()

    policy = response.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "http" not in policy
    assert "//" not in page
    assert not re.search(r"<script>|<style|style=| on\w+=", page)
    linked = re.findall(r'(?:src|href)="([^"]+)"', page)
    assert len(linked) == 6
    for address in linked:
        assert (await get(app, f"/{address.partition('?')[0]}")).status_code == 200


async def test_assets_are_kept_for_a_year_under_an_address_that_changes_with_them(app: Quart) -> None:
    response = await get(app, "/docs/assets/swagger-ui-bundle.js")

    assert response.headers["Cache-Control"] == "public, max-age=31536000, immutable"
    assert response.headers["Content-Type"] == "text/javascript; charset=utf-8"
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    page = (await (await get(app, "/docs")).get_data()).decode()
    assert re.search(r"swagger-ui-bundle\.js\?v=[0-9a-f]{16}", page)


@pytest.mark.parametrize("name", ["oauth2-redirect.html", "..%2f__init__.py", "%2e%2e", "nothing.js"])
async def test_other_files_are_not_served(app: Quart, name: str) -> None:
    response = await app.test_client().get(f"/docs/assets/{name}")

    assert response.status_code == 404
    assert (await response.get_json())["code"] == "not_found"
