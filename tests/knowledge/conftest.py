"""A server with a client that may use the knowledge base, and what its tests often do."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx2
import pytest
from sqlalchemy import text

from tests.conftest import StartServer
from tests.support.client import Client
from tests.support.server import Server

ROOT = "/api/v1/knowledge"
SHADE = (
    "# Shade\n\nEpimedium grows under old trees, where little else does.\n\n# Sun\n\nLavender wants sun and dry soil."
)


class Library(Client):
    """Calls the knowledge base's routes."""

    async def create(self, name: str = "garden", **more: Any) -> Any:
        return await self.data("POST", "/collections", 201, json={"name": name, **more})

    async def add(self, collection_id: str, text: str = SHADE, title: str = "Plants") -> Any:
        return await self.data(
            "POST", f"/collections/{collection_id}/documents", 201, json={"title": title, "text": text}
        )

    async def upload(self, collection_id: str, content: bytes, filename: str) -> httpx2.Response:
        files = {"file": (filename, content, "application/octet-stream")}
        return await self.call("POST", f"/collections/{collection_id}/documents", files=files)

    async def document(self, document: Any) -> Any:
        return await self.data("GET", f"/collections/{document['collection_id']}/documents/{document['document_id']}")

    async def until(self, document: Any, *states: str) -> Any:
        """The document, once it is in one of the states; ready or failed if none is given."""
        async with asyncio.timeout(30):
            while (document := await self.document(document))["status"] not in (states or ("ready", "failed")):
                await asyncio.sleep(0.02)
        return document

    async def passages(self, document: Any) -> list[Any]:
        path = f"/collections/{document['collection_id']}/documents/{document['document_id']}/passages"
        passages: list[Any] = []
        while True:
            page = await self.data("GET", path, params={"page": len(passages) // 100 + 1, "page_size": 100})
            passages += page["passages"]
            if len(page["passages"]) < 100:
                assert len(passages) == page["total"]
                return passages

    async def search(self, query: str, **more: Any) -> list[Any]:
        passages: list[Any] = (await self.data("POST", "/search", json={"query": query, **more}))["passages"]
        return passages

    async def data(self, method: str, path: str, status: int = 200, **options: Any) -> Any:
        answer = await self.call(method, path, **options)
        assert answer.status_code == status, answer.text
        return answer.json()["data"]

    async def call(self, method: str, path: str, **options: Any) -> httpx2.Response:
        return await self.request(method, f"{ROOT}{path}", **options)

    async def refused(self, method: str, path: str, **options: Any) -> tuple[int, str]:
        """The status and the code of an error."""
        answer = await self.call(method, path, **options)
        return answer.status_code, answer.json()["code"]


@pytest.fixture
async def server(start_server: StartServer) -> AsyncIterator[Server]:
    async with start_server() as server:
        yield server


@pytest.fixture
async def library(server: Server) -> AsyncIterator[Library]:
    """With a key that is bound to nobody."""
    async with Library(server, await server.new_key("knowledge", "file")) as client:
        yield client


def stored(data_dir: Path) -> list[Path]:
    """The bytes of all attachments."""
    while True:
        with suppress(FileNotFoundError):  # a folder was removed during the listing
            return [path for path in (data_dir / "attachments").rglob("*") if path.is_file()]


async def rows(server: Server, table: str) -> int:
    query = text(f"SELECT count(*) FROM {table}")
    return int(await server.core.database.read(lambda connection: connection.execute(query).scalar_one()))
