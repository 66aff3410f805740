"""The files slice on a real server: Hypercorn on a socket in the test's own event loop, SQLite and a folder on disk."""

import asyncio
import contextlib
import secrets
import socket
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest
from hypercorn.asyncio import serve
from hypercorn.config import Config
from quart import Quart
from sqlalchemy import create_engine, select

from app.auth.guards import AuthPolicy, install_guard
from app.auth.scopes import Scope
from app.auth.service import KeyService
from app.files.models import AttachmentRow
from app.files.routes import blueprint
from app.files.service import FileService
from app.files.storage import AttachmentStorage, open_storage
from app.kit.body import install_bounded_bodies
from app.kit.crypto import SecretBox
from app.kit.db import Base, Database, sqlite_url
from app.kit.http import install_errors, open_api_error, provide

MAX_UPLOAD_BYTES = 8 * 1024**2


@dataclass
class Served:
    """A running server, and what lies behind it."""

    app: Quart
    host: str
    port: int
    database: Database
    files: FileService
    keys: KeyService
    folder: Path
    key: str
    client: httpx2.AsyncClient

    async def new_key(self, scopes: Sequence[str] = (Scope.FILE,), username: str | None = None) -> dict[str, str]:
        """The headers of a caller with a key of its own."""
        _, text = await self.keys.create(name="other", scopes=scopes, username=username)
        return {"X-API-Key": text}

    async def upload(
        self, content: bytes, filename: str = "a.txt", media_type: str = "text/plain", **kwargs: Any
    ) -> Any:
        answer = await self.client.post("/api/v1/file", files={"file": (filename, content, media_type)}, **kwargs)
        assert answer.status_code == 200, answer.text
        return answer.json()["data"]

    async def content(self, attachment_id: str, **headers: str) -> httpx2.Response:
        return await self.client.get("/api/v1/file", params={"attachment_id": attachment_id}, headers=headers)

    async def rows(self) -> list[Any]:
        async with self.database.read() as connection:
            return list(await connection.execute(select(AttachmentRow)))

    def stored(self) -> list[Path]:
        """Everything in the storage folder, folders and staged files too."""
        return sorted(self.folder.rglob("*"))


@pytest.fixture
async def storage(tmp_path: Path) -> AttachmentStorage:
    return open_storage(tmp_path / "attachments")


@pytest.fixture
async def served(tmp_path: Path, storage: AttachmentStorage) -> AsyncIterator[Served]:
    path = tmp_path / "palaver.db"
    engine = create_engine(f"sqlite:///{path}")
    Base.metadata.create_all(engine)
    engine.dispose()
    database = Database(sqlite_url(path))
    keys = KeyService(database, SecretBox(secrets.token_bytes(32)), tmp_path / "keys.changed")
    files = FileService(database, storage, MAX_UPLOAD_BYTES)
    app = Quart("palaver-files-test")
    install_bounded_bodies(app)
    install_errors(app, [("/", open_api_error)])
    install_guard(app)
    for service in (keys, files, AuthPolicy()):
        provide(app, service)
    app.register_blueprint(blueprint)
    _, key = await keys.create(name="test", scopes=[Scope.FILE])
    async with running(app) as (host, port):
        headers = {"Authorization": f"Bearer {key}"}
        async with httpx2.AsyncClient(base_url=f"http://{host}:{port}", headers=headers, timeout=30) as client:
            yield Served(app, host, port, database, files, keys, tmp_path / "attachments", key, client)
    await database.close()


@contextlib.asynccontextmanager
async def running(app: Quart) -> AsyncIterator[tuple[str, int]]:
    listener = socket.create_server(("127.0.0.1", 0))
    host, port = listener.getsockname()
    config = Config()
    config.bind = [f"fd://{listener.detach()}"]
    config.graceful_timeout = 1
    config.accesslog = None
    config.errorlog = None
    started, stop = asyncio.Event(), asyncio.Event()

    @app.before_serving
    async def on_start() -> None:
        started.set()

    task = asyncio.create_task(serve(app, config, shutdown_trigger=stop.wait))  # type: ignore[arg-type]
    await started.wait()
    try:
        yield host, port
    finally:
        stop.set()
        await task


class RawUpload:
    """An upload written to the socket by hand, so that it can stop where it likes."""

    BOUNDARY = "----palaver"

    def __init__(
        self, served: Served, *, length: int | None, key: str | None = None, filename: str = "big.bin"
    ) -> None:
        self._served = served
        self._chunked = length is None
        self._headers = [
            "POST /api/v1/file HTTP/1.1",
            f"Host: {served.host}",
            f"X-API-Key: {key or served.key}",
            f"Content-Type: multipart/form-data; boundary={self.BOUNDARY}",
            "Transfer-Encoding: chunked" if self._chunked else f"Content-Length: {length}",
        ]
        self._part = (
            f'--{self.BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="{filename}"\r\n'
            "Content-Type: application/octet-stream\r\n\r\n"
        ).encode()
        self.reader: asyncio.StreamReader
        self.writer: asyncio.StreamWriter

    async def __aenter__(self) -> "RawUpload":
        self.reader, self.writer = await asyncio.open_connection(self._served.host, self._served.port)
        self.writer.write(("\r\n".join(self._headers) + "\r\n\r\n").encode())
        await self.send(self._part)
        return self

    async def __aexit__(self, *_: object) -> None:
        self.abort()

    async def send(self, data: bytes) -> None:
        self.writer.write(b"%x\r\n%s\r\n" % (len(data), data) if self._chunked else data)
        await self.writer.drain()

    def abort(self) -> None:
        self.writer.transport.abort()

    async def answer(self) -> tuple[int, bytes]:
        """The status and the body, which must have a Content-Length."""
        head = await self.reader.readuntil(b"\r\n\r\n")
        length = next(
            int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")
        )
        return int(head.split()[1]), await self.reader.readexactly(length)


async def eventually(holds: Callable[[], Any], seconds: float = 5.0) -> None:
    """Wait for what the other side of a closed connection does in its own time; there is no event to await."""
    async with asyncio.timeout(seconds):
        while True:
            result = holds()
            if asyncio.iscoroutine(result):
                result = await result
            if result:
                return
            await asyncio.sleep(0.01)
