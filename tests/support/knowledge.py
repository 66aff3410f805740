"""A knowledge base for tests of what is made of it."""

import asyncio
from typing import Any

from tests.support.client import Client

HANDBOOK = """# Handbook

## Holidays

Employees of the Lanternworks have thirty-one days of paid holiday a year.

## Travel

Train journeys above four hours may be booked in the first class.
"""


async def add_collection(client: Client, name: str = "handbook", **fields: Any) -> str:
    """The id of a new collection."""
    answer = await client.post("/api/v1/knowledge/collections", {"name": name, **fields})
    assert answer.status_code == 201, answer.text
    return str(answer.json()["data"]["collection_id"])


async def add_text(client: Client, collection_id: str, text: str = HANDBOOK, title: str = "handbook.md") -> str:
    """The id of a document that has become ready."""
    path = f"/api/v1/knowledge/collections/{collection_id}/documents"
    answer = await client.post(path, {"text": text, "title": title})
    assert answer.status_code == 201, answer.text
    document_id = answer.json()["data"]["document_id"]
    async with asyncio.timeout(20):
        while (found := (await client.get(f"{path}/{document_id}")).json()["data"])["status"] != "ready":
            assert found["status"] != "failed", found
            await asyncio.sleep(0.02)
    return str(document_id)
