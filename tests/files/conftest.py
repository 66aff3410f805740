"""The server of all tests with a small upload limit, and uploads written to its socket by hand."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest
from quart import Quart
from sqlalchemy import select

from app.auth.scopes import Scope
from app.auth.service import KeyService
from app.database.engine import Database
from app.edge.services import service
from app.files.models import AttachmentRow
from app.files.service import FileService
from tests.conftest import StartServer
from tests.support.client import Client

MAX_UPLOAD_BYTES = 8 * 1024**2


class FileClient(Client):
    """The shared client, for bodies that are no JSON."""

    async def get(self, path: str, **options: Any) -> httpx2.Response:
        return await self.request("GET", path, **options)

    async def head(self, path: str, **options: Any) -> httpx2.Response:
        return await self.request("HEAD", path, **options)

    async def post(self, path: str, body: Any = None, **options: Any) -> httpx2.Response:
        return await self.request("POST", path, **options if body is None else {**options, "json": body})

    async def delete(self, path: str, **options: Any) -> httpx2.Response:
        return await self.request("DELETE", path, **options)

    def reading(self, path: str) -> AbstractAsyncContextManager[httpx2.Response]:
        return self.http.stream("GET", path)


@dataclass
class Served:
    """A running server, and what lies behind it."""

    app: Quart
    port: int
    database: Database
    files: FileService
    keys: KeyService
    folder: Path
    key: str
    client: FileClient

    async def new_key(self, scopes: Sequence[str] = (Scope.FILE,), username: str | None = None) -> dict[str, str]:
        """The headers of a caller with a key of its own."""
        _, text = await self.keys.create(name="other", scopes=scopes, username=username)
        return {"X-API-Key": text}

    async def upload(
        self, content: bytes, filename: str = "a.txt", media_type: str = "text/plain", **options: Any
    ) -> Any:
        files = {"file": (filename, content, media_type)}
        answer = await self.client.post("/api/v1/file", files=files, **options)
        assert answer.status_code == 200, answer.text
        return answer.json()["data"]

    async def content(self, attachment_id: str, **headers: str) -> httpx2.Response:
        return await self.client.get("/api/v1/file", params={"attachment_id": attachment_id}, headers=headers)

    async def rows(self) -> list[Any]:
        return await self.database.read(lambda connection: list(connection.execute(select(AttachmentRow))))

    def stored(self) -> list[Path]:
        """Everything in the storage folder, folders and staged files too."""
        while True:
            with suppress(FileNotFoundError):  # a folder was cleared away while it was being looked through
                return sorted(self.folder.rglob("*"))


@pytest.fixture
async def served(start_server: StartServer, data_dir: Path) -> AsyncIterator[Served]:
    async with start_server(max_upload_bytes=MAX_UPLOAD_BYTES) as server:
        key = await server.new_key(Scope.FILE)
        async with FileClient(server, key) as client:
            async with server.app.app_context():
                files, keys = service(FileService), service(KeyService)
            yield Served(
                app=server.app,
                port=server.port,
                database=server.core.database,
                files=files,
                keys=keys,
                folder=data_dir / "attachments",
                key=key,
                client=client,
            )


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
            f"Host: 127.0.0.1:{served.port}",
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
        self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self._served.port)
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
