"""Documents: added as text, as an upload or as an attachment, each content once; read, searched and deleted."""

import asyncio
from pathlib import Path

from tests.knowledge.conftest import SHADE, Library


async def test_a_text_becomes_passages_that_are_found(library: Library) -> None:
    collection = await library.create()
    added = await library.add(collection["collection_id"])
    assert (added["status"], added["title"], added["passage_count"]) == ("queued", "Plants", 0)
    ready = await library.until(added)
    assert (ready["status"], ready["error"], ready["truncated"]) == ("ready", None, False)

    passages = await library.passages(ready)
    assert [each["position"] for each in passages] == list(range(ready["passage_count"]))
    for found in (
        await library.search("old trees"),
        await library.search("old trees", collections=["garden"]),
        (await library.data("POST", f"/collections/{collection['collection_id']}/search", json={"query": "old trees"}))[
            "passages"
        ],
    ):
        best = found[0]
        assert "Epimedium" in best["text"]
        assert (best["document_id"], best["title"], best["collection"]) == (ready["document_id"], "Plants", "garden")
        assert 0 <= best["score"] <= 1
        assert {key: best[key] for key in ("position", "heading", "text")} in passages
    counted = await library.data("GET", f"/collections/{collection['collection_id']}")
    assert (counted["document_count"], counted["passage_count"]) == (1, ready["passage_count"])


async def test_documents_are_listed_the_newest_first_and_by_state(library: Library) -> None:
    collection_id = (await library.create())["collection_id"]
    added = [await library.add(collection_id, f"Text number {number}") for number in range(3)]
    for document in added:
        await library.until(document)
    path = f"/collections/{collection_id}/documents"
    page = await library.data("GET", path, params={"page_size": 2, "status": "ready"})
    assert [each["document_id"] for each in page["documents"]] == [each["document_id"] for each in added[:0:-1]]
    assert page["total"] == 3
    assert (await library.data("GET", path, params={"status": "failed"}))["documents"] == []
    assert await library.refused("GET", path, params={"status": "deleting"}) == (400, "invalid_status")


async def test_a_deleted_document_is_in_no_answer_and_leaves_nothing(library: Library, data_dir: Path) -> None:
    collection_id = (await library.create())["collection_id"]
    document = await library.until(await library.add(collection_id))
    path = f"/collections/{collection_id}/documents/{document['document_id']}"
    await library.data("DELETE", path)
    assert await library.search("old trees") == []
    for method in ("GET", "DELETE"):
        assert await library.refused(method, path) == (404, "document_not_found")
    assert await library.refused("GET", f"{path}/passages") == (404, "document_not_found")
    await until_empty(data_dir)
    again = await library.until(await library.add(collection_id))
    assert again["document_id"] != document["document_id"]
    assert (await library.search("old trees"))[0]["text"] in SHADE


async def until_empty(data_dir: Path) -> None:
    """Wait until the remover has removed the bytes of all attachments."""
    async with asyncio.timeout(20):
        while list((data_dir / "attachments").rglob("*")):
            await asyncio.sleep(0.02)
