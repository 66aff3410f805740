"""Collections: made, listed, changed and deleted."""

from typing import Any

from tests.knowledge.conftest import Library
from tests.support.client import Client
from tests.support.server import Server


async def test_a_collection_is_made_found_changed_and_deleted(library: Library) -> None:
    collection = await library.create("garden", description="What grows where")
    assert (collection["name"], collection["owner"], collection["embedding_model"]) == ("garden", None, None)
    assert (collection["document_count"], collection["passage_count"]) == (0, 0)
    path = f"/collections/{collection['collection_id']}"
    assert await library.data("GET", path) == collection

    changed = await library.data("PATCH", path, json={"name": " shade "})
    assert (changed["name"], changed["description"]) == ("shade", "What grows where")
    assert changed["updated_at"] > collection["updated_at"]
    assert await library.data("PATCH", path, json={}) == changed

    await library.data("DELETE", path)
    for method in ("GET", "DELETE"):
        assert await library.refused(method, path) == (404, "collection_not_found")
    assert await library.refused("PATCH", path, json={"name": "x"}) == (404, "collection_not_found")


async def test_collections_are_listed_by_name_in_pages(library: Library) -> None:
    for name in ("c", "a", "b"):
        await library.create(name)
    first = await library.data("GET", "/collections", params={"page_size": 2})
    second = await library.data("GET", "/collections", params={"page_size": 2, "page": 2})
    names = [collection["name"] for page in (first, second) for collection in page["collections"]]
    assert (names, first["total"], second["total"]) == (["a", "b", "c"], 3, 3)


async def test_a_name_is_an_owners_once_and_free_again_after_deletion(library: Library) -> None:
    shared = await library.create("garden")
    assert await library.refused("POST", "/collections", json={"name": "garden "}) == (409, "collection_exists")
    of_alice = await library.create("garden", owner="alice")
    assert of_alice["owner"] == "alice"
    other = await library.create("other")
    path = f"/collections/{other['collection_id']}"
    assert await library.refused("PATCH", path, json={"name": "garden"}) == (409, "collection_exists")
    await library.data("DELETE", f"/collections/{shared['collection_id']}")
    await library.create("garden")


NO_COLLECTIONS: list[tuple[dict[str, Any], str]] = [
    ({}, "missing_key"),
    ({"name": "  "}, "invalid_request"),
    ({"name": "a\x07b"}, "invalid_request"),
    ({"name": "n" * 101}, "invalid_request"),
    ({"name": None}, "invalid_request"),
    ({"name": "a", "description": "d" * 501}, "invalid_request"),
    ({"name": "a", "owner": ""}, "invalid_request"),
    ({"name": "a", "config_id": "nowhere"}, "config_not_found"),
]


async def test_what_makes_no_collection_is_refused(library: Library) -> None:
    for body, code in NO_COLLECTIONS:
        assert (await library.refused("POST", "/collections", json=body), body) == ((400, code), body)
    assert (await library.data("GET", "/collections"))["total"] == 0


async def test_the_scope_is_wanted(server: Server) -> None:
    async with Client(server, await server.new_key()) as client:
        assert (await client.get("/api/v1/knowledge/collections")).json()["code"] == "insufficient_scope"
