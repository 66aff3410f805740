"""Fixtures: a data folder, a scripted model server, a running server, and clients that hold it to its document."""

import gc
import os
import shutil
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from sqlalchemy import make_url

from app.database.engine import sqlite_url
from tests.support.certificates import authority_certificate
from tests.support.client import Client
from tests.support.model_server import ModelServer
from tests.support.postgres import Databases, Postgres, PostgresMissing
from tests.support.proxy import Proxy, proxied
from tests.support.server import Server, make_settings, migrated_template, running

StartServer = Callable[..., AbstractAsyncContextManager[Server]]
DatabaseOf = Callable[[Path], Awaitable[str]]


DATABASE = os.environ.get("PALAVER_TEST_DATABASE", "sqlite")
"""What tests run on whose mark does not name another database alone; with "postgresql" no others are run.

Read at import: the tests themselves run without such variables.
"""


def pytest_xdist_auto_num_workers() -> int:
    """Return how many processes `--numprocesses=auto` means: half as many again as cores, as tests wait for a third."""
    return (os.cpu_count() or 1) * 3 // 2


def pytest_collection_finish() -> None:
    gc.set_threshold(20_000, 10, 10)
    _freeze()


def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    if nextitem is None or nextitem.path != item.path:
        _freeze()


def _freeze() -> None:
    """Spare the garbage collector what stays, which it took a third of the tests' time to look through."""
    gc.collect()
    gc.freeze()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what runs the same whatever DATABASE is: tests that have no database, or are for PostgreSQL alone."""
    if DATABASE == "sqlite":
        return
    runs: list[pytest.Item] = []
    others: list[pytest.Item] = []
    for item in items:
        mark = item.get_closest_marker("databases")
        is_same = "backend" not in getattr(item, "fixturenames", ()) or (mark is not None and mark.args == (DATABASE,))
        (others if is_same else runs).append(item)
        if mark is not None and DATABASE not in mark.args:
            item.add_marker(pytest.mark.skip(reason=mark.kwargs.get("reason", f"for {', '.join(mark.args)} alone")))
    config.hook.pytest_deselected(items=others)
    items[:] = runs


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run tests on DATABASE; those whose mark `databases` does not name it run on the ones that it names."""
    marker = metafunc.definition.get_closest_marker("databases")
    if marker is not None and "backend" in metafunc.fixturenames:
        metafunc.parametrize("backend", (DATABASE,) if DATABASE in marker.args else marker.args, indirect=True)


@pytest.fixture(scope="session")
def authorities(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with one certificate authority, which certifies nobody."""
    file = tmp_path_factory.mktemp("tls") / "authorities.pem"
    file.write_bytes(authority_certificate())
    return file


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch: pytest.MonkeyPatch, authorities: Path) -> None:
    """Keep out the developer's settings, and the system's many certificate authorities, which take long to read."""
    for name in list(os.environ):
        if name.startswith(("PALAVER_", "OPENAI_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("SSL_CERT_FILE", str(authorities))


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return migrated_template(tmp_path_factory.mktemp("template"))


@pytest.fixture
def closed_port() -> Iterator[int]:
    """A port of loopback without a listener, reserved until the test's end."""
    with socket.socket() as reservation:
        reservation.bind(("127.0.0.1", 0))
        yield reservation.getsockname()[1]


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
async def model() -> AsyncIterator[ModelServer]:
    async with ModelServer() as server:
        yield server


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def postgres() -> AsyncIterator[Postgres]:
    """The PostgreSQL server; skips the test without one."""
    try:
        server = await Postgres.connect()
    except PostgresMissing as error:
        pytest.skip(str(error))
    yield server
    await server.close()


@pytest.fixture
async def postgres_databases(postgres: Postgres) -> AsyncIterator[Databases]:
    databases = Databases(postgres)
    yield databases
    await databases.close()


@pytest.fixture
def backend(request: pytest.FixtureRequest) -> str:
    """The kind of the test's database: one of its mark `databases`, or DATABASE."""
    return str(getattr(request, "param", DATABASE))


@pytest.fixture
def database_of(backend: str, template: Path, request: pytest.FixtureRequest) -> DatabaseOf:
    """Return the URL of a data folder's database; create it with the newest schema if there is none."""

    async def sqlite_of(data_dir: Path) -> str:
        data_dir.mkdir(parents=True, exist_ok=True)
        path = data_dir / "palaver.db"
        if not path.exists():
            shutil.copy(template, path)
        return str(sqlite_url(path))

    if backend == "sqlite":
        return sqlite_of
    databases: Databases = request.getfixturevalue("postgres_databases")
    return databases.url_of


@pytest.fixture
async def database_url(database_of: DatabaseOf, data_dir: Path) -> str:
    """The URL of the test's database."""
    return await database_of(data_dir)


@pytest.fixture
async def proxy(database_url: str) -> AsyncIterator[Proxy]:
    """A proxy in front of PostgreSQL; `proxied_url` is the test's database through it."""
    url = make_url(database_url)
    async with proxied(url.host or "127.0.0.1", url.port or 5432) as proxy:
        yield proxy


@pytest.fixture
def proxied_url(database_url: str, proxy: Proxy) -> str:
    return make_url(database_url).set(host="127.0.0.1", port=proxy.port).render_as_string(hide_password=False)


@pytest.fixture
def start_server(data_dir: Path, backend: str, database_of: DatabaseOf, model: ModelServer) -> StartServer:
    """Start servers on the test's data folder, answering from the scripted model server by default."""

    @asynccontextmanager
    async def start(*, data_dir: Path = data_dir, **values: Any) -> AsyncIterator[Server]:
        provider = {"id": "scripted", "base_url": model.base_url, "api_key": "sk-upstream-secret", "max_retries": 0}
        url = await database_of(data_dir)
        settings = make_settings(
            data_dir,
            **{"providers": [provider], "database_url": None if backend == "sqlite" else url, **values},
        )
        async with running(settings) as server:
            yield server

    return start


@pytest.fixture
async def server(start_server: StartServer) -> AsyncIterator[Server]:
    async with start_server() as started:
        yield started


@pytest.fixture
async def client(server: Server) -> AsyncIterator[Client]:
    """A client with the seed scopes."""
    async with Client(server, await server.new_key()) as made:
        yield made
