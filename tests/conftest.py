"""Fixtures: a data folder, a scripted model server, a running server, and clients that hold it to its document."""

import os
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import pytest

from tests.support.certificates import authority_certificate
from tests.support.client import Client
from tests.support.model_server import ModelServer
from tests.support.server import Server, make_settings, migrated_template, running

StartServer = Callable[..., AbstractAsyncContextManager[Server]]


@pytest.fixture(scope="session")
def authorities(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of one certificate authority, which nobody has a certificate of."""
    file = tmp_path_factory.mktemp("tls") / "authorities.pem"
    file.write_bytes(authority_certificate())
    return file


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch: pytest.MonkeyPatch, authorities: Path) -> None:
    """Keep the developer's settings out of the tests, and the system's many authorities, which take long to read."""
    for name in list(os.environ):
        if name.startswith(("PALAVER_", "OPENAI_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("SSL_CERT_FILE", str(authorities))


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return migrated_template(tmp_path_factory.mktemp("template"))


@pytest.fixture
def closed_port() -> Iterator[int]:
    """A port of loopback that nobody listens on, and nobody can before the test's end."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
async def model() -> AsyncIterator[ModelServer]:
    async with ModelServer() as server:
        yield server


@pytest.fixture
def start_server(data_dir: Path, template: Path, model: ModelServer) -> StartServer:
    """Start servers on the test's data folder, answering from the scripted model server unless told otherwise."""

    def start(**values: Any) -> AbstractAsyncContextManager[Server]:
        provider = {"id": "scripted", "base_url": model.base_url, "api_key": "sk-upstream-secret", "max_retries": 0}
        chosen = {"providers": [provider], **values}
        return running(make_settings(chosen.pop("data_dir", data_dir), **chosen), template)

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
