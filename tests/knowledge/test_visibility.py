"""Who sees which collections, and who may change them."""

from collections.abc import AsyncIterator

import pytest

from app.edge.services import service
from app.errors import BadRequest
from app.knowledge.service import KnowledgeService
from tests.knowledge.conftest import Library
from tests.support.server import Server


@pytest.fixture
async def alice(server: Server) -> AsyncIterator[Library]:
    async with Library(server, await server.new_key("knowledge", "file", username="alice")) as client:
        yield client


@pytest.fixture
async def bob(server: Server) -> AsyncIterator[Library]:
    async with Library(server, await server.new_key("knowledge", "file", username="bob")) as client:
        yield client


async def names_seen(library: Library) -> list[str]:
    return [collection["name"] for collection in (await library.data("GET", "/collections"))["collections"]]


async def test_a_bound_key_sees_its_users_collections_and_the_shared_ones(
    library: Library, alice: Library, bob: Library
) -> None:
    await library.create("shared")
    own = await alice.create("alice's")
    assert own["owner"] == "alice"
    await library.create("given to bob", owner="bob")
    assert await names_seen(library) == ["alice's", "given to bob", "shared"]
    assert await names_seen(alice) == ["alice's", "shared"]
    assert await names_seen(bob) == ["given to bob", "shared"]
    assert await bob.refused("POST", "/collections", json={"name": "x", "owner": "alice"}) == (
        403,
        "username_not_allowed",
    )


async def test_what_a_key_may_not_see_does_not_exist_for_it(alice: Library, bob: Library) -> None:
    own = await alice.create("alice's")
    document = await alice.until(await alice.add(own["collection_id"]))
    path = f"/collections/{own['collection_id']}"
    inside = f"{path}/documents/{document['document_id']}"
    hidden = (404, "collection_not_found")
    for method, place in (("GET", path), ("DELETE", path), ("GET", f"{path}/documents"), ("GET", inside)):
        assert await bob.refused(method, place) == hidden
    assert await bob.refused("DELETE", inside) == await bob.refused("GET", f"{inside}/passages") == hidden
    assert await bob.refused("PATCH", path, json={"name": "x"}) == hidden
    assert await bob.refused("POST", f"{path}/documents", json={"title": "x", "text": "x"}) == hidden
    assert await bob.refused("POST", f"{path}/search", json={"query": "trees"}) == hidden
    for name in ("alice's", own["collection_id"]):
        refusal = await bob.refused("POST", "/search", json={"query": "trees", "collections": [name]})
        assert refusal == (400, "collection_not_found")
    assert await bob.search("trees") == []
    assert await alice.search("trees") != []


async def test_a_bound_key_reads_shared_collections_and_changes_none(library: Library, alice: Library) -> None:
    shared = await library.create("shared")
    document = await library.until(await library.add(shared["collection_id"]))
    assert await alice.search("trees", collections=["shared"]) != []
    assert await alice.passages(document) != []
    path = f"/collections/{shared['collection_id']}"
    refused = (403, "collection_shared")
    assert await alice.refused("PATCH", path, json={"name": "x"}) == refused
    assert await alice.refused("DELETE", path) == refused
    assert await alice.refused("DELETE", f"{path}/documents/{document['document_id']}") == refused
    assert await alice.refused("POST", f"{path}/documents", json={"title": "x", "text": "x"}) == refused
    assert (await alice.upload(shared["collection_id"], b"text", "a.txt")).json()["code"] == "collection_shared"


async def test_an_attachment_of_another_user_cannot_be_added(alice: Library, bob: Library) -> None:
    uploaded = await alice.request("POST", "/api/v1/file", files={"file": ("a.md", b"Ferns like shade")})
    attachment_id = uploaded.json()["data"]["attachment_id"]
    collection_id = (await bob.create("bob's"))["collection_id"]
    path = f"/collections/{collection_id}/documents"
    assert await bob.refused("POST", path, json={"attachment_id": attachment_id}) == (404, "attachment_not_found")


async def test_names_lead_to_a_users_own_collection_before_a_shared_one(
    server: Server, library: Library, alice: Library, bob: Library
) -> None:
    shared = await library.create("garden")
    own = await alice.create("garden")
    only_bobs = await bob.create("bob's")
    async with server.app.app_context():
        knowledge = service(KnowledgeService)

    async def ids(*names: str, username: str | None) -> list[str]:
        return [collection.id for collection in await knowledge.collections_for(names, username)]

    assert await ids("garden", username="alice") == [own["collection_id"]]
    assert await ids("garden", username="bob") == await ids("garden", username=None) == [shared["collection_id"]]
    expected = [shared["collection_id"], own["collection_id"]]
    assert await ids(shared["collection_id"], "garden", "garden", username="alice") == expected
    with pytest.raises(BadRequest, match="collection not found: bob's"):
        await ids("bob's", username="alice")
    assert [collection.id for collection in await knowledge.visible_to("bob")] == [
        only_bobs["collection_id"],
        shared["collection_id"],
    ]

    # A key that is bound to nobody sees all: a name that several users have does not say which is meant.
    await alice.create("twice")
    await bob.create("twice")
    assert await library.search("x", collections=["bob's"]) == []
    refusal = await library.refused("POST", "/search", json={"query": "x", "collections": ["twice"]})
    assert refusal == (400, "collection_ambiguous")
