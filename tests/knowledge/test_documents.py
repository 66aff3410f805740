"""Documents: added as text, as an upload or as an attachment, each content once; read, searched and deleted."""

import asyncio
from pathlib import Path
from typing import Any

from tests.knowledge.conftest import SHADE, Library, rows, stored
from tests.support.server import Server

DOCUMENTS = Path(__file__).parents[1] / "data" / "documents"
TABLES = ("knowledge_collections", "knowledge_documents", "knowledge_passages", "knowledge_terms", "attachments")


async def test_a_text_becomes_passages_that_are_found(library: Library) -> None:
    collection = await library.create()
    added = await library.add(collection["collection_id"])
    assert (added["status"], added["title"], added["passage_count"]) == ("queued", "Plants", 0)
    ready = await library.until(added)
    assert (ready["status"], ready["error"], ready["truncated"]) == ("ready", None, False)

    passages = await library.passages(ready)
    assert [each["position"] for each in passages] == list(range(ready["passage_count"]))
    for answer in (
        await library.search("old trees"),
        await library.search("old trees", collections=["garden"]),
        (await library.data("POST", f"/collections/{collection['collection_id']}/search", json={"query": "old trees"}))[
            "passages"
        ],
    ):
        best = answer[0]
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


async def test_the_same_content_is_one_document_however_it_comes(library: Library, data_dir: Path) -> None:
    collection_id = (await library.create())["collection_id"]
    path = f"/collections/{collection_id}/documents"
    first = await library.until(await library.add(collection_id))
    again = await library.data("POST", path, 200, json={"title": "Other", "text": SHADE})
    uploaded = await library.upload(collection_id, SHADE.encode(), "shade.md")
    assert uploaded.status_code == 200
    attachment = (await library.request("POST", "/api/v1/file", files={"file": ("a.md", SHADE.encode())})).json()
    attachment_id = attachment["data"]["attachment_id"]
    attached = await library.data("POST", path, 200, json={"attachment_id": attachment_id})
    assert first == again == uploaded.json()["data"] == attached
    assert len(stored(data_dir)) == 2  # the first one's, and the one that was uploaded apart
    # In another collection it is a document of its own.
    await library.add((await library.create("other"))["collection_id"])


async def test_one_of_many_requests_at_once_makes_the_document(library: Library, data_dir: Path) -> None:
    collection_id = (await library.create())["collection_id"]
    answers = await asyncio.gather(*(library.upload(collection_id, SHADE.encode(), f"{n}.txt") for n in range(5)))
    assert sorted(answer.status_code for answer in answers) == [200, 200, 200, 200, 201]
    assert len({answer.json()["data"]["document_id"] for answer in answers}) == 1
    assert len(stored(data_dir)) == 1


async def test_an_upload_is_a_document_in_one_step(library: Library) -> None:
    collection_id = (await library.create())["collection_id"]
    content = (DOCUMENTS / "libreoffice-report.docx").read_bytes()
    added = (await library.upload(collection_id, content, "report.docx")).json()["data"]
    assert (added["title"], added["size"]) == ("report.docx", len(content))
    ready = await library.until(added)
    assert ready["status"] == "ready"
    assert ready["passage_count"] == len(await library.passages(ready)) > 0


async def test_an_attachment_stays_when_its_document_is_deleted(library: Library) -> None:
    collection_id = (await library.create())["collection_id"]
    uploaded = await library.request("POST", "/api/v1/file", files={"file": ("shade.md", SHADE.encode())})
    attachment_id = uploaded.json()["data"]["attachment_id"]
    added = await library.data(
        "POST", f"/collections/{collection_id}/documents", 201, json={"attachment_id": attachment_id}
    )
    assert (added["title"], added["attachment_id"]) == ("shade.md", attachment_id)
    await library.until(added)
    await library.data("DELETE", f"/collections/{collection_id}/documents/{added['document_id']}")
    assert (await library.get(f"/api/v1/files/{attachment_id}/content")).content == SHADE.encode()


NO_DOCUMENTS: list[tuple[dict[str, Any], int, str]] = [
    ({}, 400, "missing_key"),
    ({"text": "a"}, 400, "missing_key"),
    ({"title": "a"}, 400, "missing_key"),
    ({"title": "a", "text": "a", "attachment_id": "x"}, 400, "missing_key"),
    ({"title": "a", "text": " \n"}, 400, "invalid_request"),
    ({"title": "a\nb", "text": "a"}, 400, "invalid_request"),
    ({"title": "t" * 256, "text": "a"}, 400, "invalid_request"),
    ({"attachment_id": "nowhere"}, 404, "attachment_not_found"),
]


async def test_what_is_no_document_is_refused(library: Library) -> None:
    collection_id = (await library.create())["collection_id"]
    path = f"/collections/{collection_id}/documents"
    for body, status, code in NO_DOCUMENTS:
        assert (await library.refused("POST", path, json=body), body) == ((status, code), body)
    assert (await library.data("GET", path))["total"] == 0


async def test_a_file_that_is_refused_leaves_nothing(library: Library, data_dir: Path) -> None:
    collection_id = (await library.create())["collection_id"]
    image = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\1\0\0\0\1\x08\6\0\0\0\x1f\x15\xc4\x89"
    refusal = await library.upload(collection_id, image, "cat.png")
    assert (refusal.status_code, refusal.json()["code"]) == (422, "document_unsupported")
    path = f"/collections/{collection_id}/documents"
    assert await library.refused("POST", path, files={"other": ("a.txt", b"a")}) == (400, "missing_key")
    assert await library.refused("POST", path, content=b"a") == (415, "unsupported_media_type")
    assert await library.refused("POST", "/collections/nowhere/documents", files={"file": ("a.txt", b"a")}) == (
        404,
        "collection_not_found",
    )
    assert (await library.data("GET", path))["total"] == 0
    assert stored(data_dir) == []


async def test_a_file_that_is_too_large_is_refused(start_server: Any, data_dir: Path) -> None:
    async with start_server(max_document_bytes=1000) as server, Library(server, await key_of(server)) as library:
        collection_id = (await library.create())["collection_id"]
        for size in (1001, 200_000):
            refusal = await library.upload(collection_id, b"a" * size, "a.txt")
            assert refusal.status_code == 413
        assert stored(data_dir) == []


async def test_a_deleted_collection_goes_with_all_in_it(library: Library, server: Server, data_dir: Path) -> None:
    collection_id = (await library.create())["collection_id"]
    await library.until(await library.add(collection_id))
    await library.upload(collection_id, b"Ferns like the shade of trees", "ferns.txt")
    await library.data("DELETE", f"/collections/{collection_id}")
    assert await library.search("trees") == []
    assert await library.refused("POST", "/search", json={"query": "trees", "collections": [collection_id]}) == (
        400,
        "collection_not_found",
    )
    await until_empty(data_dir)
    await until_no_rows(server)


async def test_a_collection_that_is_deleted_while_documents_are_added_leaves_nothing(
    library: Library, server: Server, data_dir: Path
) -> None:
    collection_id = (await library.create())["collection_id"]
    uploads = [library.upload(collection_id, f"Text {number}".encode(), "a.txt") for number in range(10)]
    *answers, deletion = await asyncio.gather(*uploads, library.call("DELETE", f"/collections/{collection_id}"))
    assert deletion.status_code == 200
    assert {answer.status_code for answer in answers} <= {201, 404}
    await until_empty(data_dir)
    await until_no_rows(server)


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


async def key_of(server: Server) -> str:
    return await server.new_key("knowledge", "file")


async def until_no_rows(server: Server) -> None:
    """Wait until the remover has removed everything."""
    async with asyncio.timeout(20):
        while any([await rows(server, table) for table in TABLES]):
            await asyncio.sleep(0.02)


async def until_empty(data_dir: Path) -> None:
    """Wait until the remover has removed the bytes of all attachments."""
    async with asyncio.timeout(20):
        while stored(data_dir):
            await asyncio.sleep(0.02)
