"""Keys that are not bound to a user: whom they act for, and what their scopes admit."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.conftest import StartServer
from tests.support.client import Client
from tests.support.knowledge import add_collection, add_text
from tests.support.server import Server

ROLES = "/api/kernel2/roles"
ROLE = {"name": "Cook", "system_prompt": "You are a cook."}
ALL = ("chat", "config", "file", "im", "knowledge")


async def connected(server: Server, *scopes: str, username: str | None = None) -> Client:
    return Client(server, await server.new_key(*scopes, username=username))


@pytest.fixture
async def alice(server: Server) -> AsyncIterator[Client]:
    async with await connected(server, *ALL, username="alice") as client:
        yield client


@pytest.fixture
async def shop(server: Server) -> AsyncIterator[Client]:
    """A program's key, which acts for its users."""
    async with await connected(server, *ALL) as client:
        yield client


@pytest.fixture
async def other_shop(server: Server) -> AsyncIterator[Client]:
    async with await connected(server, *ALL) as client:
        yield client


@pytest.fixture
async def admin(server: Server) -> AsyncIterator[Client]:
    async with await connected(server, *ALL, "admin") as client:
        yield client


async def upload(client: Client) -> str:
    response = await client.request("POST", "/api/v1/file", files={"file": ("a.txt", b"a secret")})
    return str(response.json()["data"]["attachment_id"])


async def send(client: Client, username: str, attachment_id: str) -> tuple[int, str | None]:
    message = [{"type": "file", "attachment_id": attachment_id}]
    response = await client.http.post("/api/v1/chat", json={"username": username, "message": message})
    return response.status_code, response.json()["code"] if response.status_code >= 400 else None


FOREIGN = (400, "attachment_not_found")
TAKEN = (200, None)


async def test_a_file_is_used_for_its_user_or_by_the_key_that_uploaded_it(
    server: Server, alice: Client, shop: Client, other_shop: Client
) -> None:
    hers, ownerless = await upload(alice), await upload(shop)
    assert await send(alice, "alice", hers) == TAKEN
    assert await send(shop, "alice", hers) == TAKEN
    assert await send(shop, "bob", hers) == FOREIGN
    assert await send(shop, "alice", ownerless) == TAKEN
    assert await send(shop, "bob", ownerless) == TAKEN
    assert await send(other_shop, "bob", ownerless) == FOREIGN
    assert await send(alice, "alice", ownerless) == FOREIGN
    async with await connected(server, "chat") as chat_only:
        assert await send(chat_only, "alice", hers) == (403, "insufficient_scope")


async def test_a_bot_sends_the_files_of_the_user_it_writes_to(
    server: Server, alice: Client, shop: Client, other_shop: Client
) -> None:
    hers, ownerless = await upload(alice), await upload(shop)
    await alice.chat("Hi", session_id="hers")
    await shop.chat("Hi", session_id="his", username="bob")

    async def sent(client: Client, session: str, attachment_id: str) -> int:
        message = [{"type": "file", "attachment_id": attachment_id}]
        body = {"umo": f"webchat:FriendMessage:{session}", "message": message}
        return (await client.post("/api/v1/im/message", body)).status_code

    assert await sent(shop, "hers", hers) == 200
    assert await sent(shop, "webchat!alice!hers", hers) == 200
    assert await sent(shop, "his", hers) == 400
    assert await sent(shop, "webchat!bob!new", hers) == 400
    assert await sent(shop, "his", ownerless) == 200
    assert await sent(other_shop, "his", ownerless) == 400
    async with await connected(server, "im") as im_only:
        assert [await sent(im_only, "his", each) for each in (hers, ownerless)] == [400, 400]


async def test_a_file_becomes_a_document_of_its_users_collection_only(
    server: Server, alice: Client, shop: Client
) -> None:
    hers, ownerless = await upload(alice), await upload(shop)
    shared = await add_collection(shop, "shared")
    alices = await add_collection(shop, "hers", owner="alice")

    async def added(client: Client, collection_id: str, attachment_id: str) -> int:
        path = f"/api/v1/knowledge/collections/{collection_id}/documents"
        return (await client.post(path, {"attachment_id": attachment_id})).status_code

    assert await added(shop, shared, hers) == 404
    assert await added(shop, shared, ownerless) == 201
    assert await added(shop, alices, hers) == 201
    async with await connected(server, "knowledge") as knowledge_only:
        assert await added(knowledge_only, alices, hers) == 403


async def test_a_chat_sees_the_knowledge_of_its_user_only(server: Server, alice: Client, shop: Client) -> None:
    collection_id = await add_collection(alice)
    await add_text(alice, collection_id)
    question = {"message": "How many days of paid holiday?", "enable_streaming": False}

    async def has_refs(**body: Any) -> bool:
        events = await chat_only.chat(question["message"], **body)
        return "refs" in [event.type for event in events]

    async with await connected(server, "chat") as chat_only:
        assert await has_refs(username="alice", knowledge=True)
        assert not await has_refs(username="bob", knowledge=True)
        body = {"username": "bob", **question, "knowledge": [collection_id]}
        assert (await chat_only.post("/api/v1/chat", body)).status_code == 400


async def test_no_key_writes_into_another_keys_sessions(server: Server, shop: Client, other_shop: Client) -> None:
    body = {"messages": [{"role": "user", "content": "Hi"}], "session_id": "plans"}
    assert (await shop.post("/v1/chat/completions", body)).status_code == 200
    (session,) = await sessions_of_key(shop)
    umo = {"umo": f"webchat:FriendMessage:{session}", "message": "You owe us"}
    response = await other_shop.post("/api/v1/im/message", umo)
    assert (response.status_code, response.json()["code"]) == (403, "session_not_yours")
    assert (await shop.post("/api/v1/im/message", umo)).status_code == 200


async def sessions_of_key(client: Client) -> list[str]:
    page = (await client.get("/api/v1/chat/sessions", username="api:test")).json()["data"]
    assert page["total"] == len(page["sessions"])
    return [session["session_id"] for session in page["sessions"]]


async def test_keys_of_one_name_do_not_share_their_sessions(shop: Client, other_shop: Client) -> None:
    body = {"messages": [{"role": "user", "content": "Hi"}], "session_id": "plans"}
    for client in (shop, other_shop):
        assert (await client.post("/v1/chat/completions", body)).status_code == 200
    (mine,), (theirs,) = await sessions_of_key(shop), await sessions_of_key(other_shop)
    assert mine != theirs
    path = f"/api/v1/chat/sessions/{theirs}"
    named = {"username": "api:test"}
    for method, suffix in (("GET", ""), ("DELETE", ""), ("GET", "/messages")):
        assert (await shop.request(method, f"{path}{suffix}", params=named)).status_code == 403
    assert (await shop.request("PATCH", path, json={**named, "display_name": "x"})).status_code == 403
    assert (await shop.post(f"{path}/stop", named)).status_code == 403
    assert (await shop.post("/api/v1/chat", {**named, "session_id": theirs, "message": "x"})).status_code == 403
    assert len(await shop.history(mine, "api:test")) == 2


@pytest.mark.parametrize("username", ["api:other", "api:", "im!telegram1!77", " api:other "])
async def test_names_that_palaver_gives_are_no_usernames(
    server: Server, shop: Client, admin: Client, username: str
) -> None:
    named = {"username": username}
    answers = [
        await shop.post("/api/v1/chat", {**named, "message": "Hi"}),
        await shop.get("/api/v1/chat/sessions", **named),
        await shop.get("/api/v1/chat/sessions/s1", **named),
        await shop.post("/api/v1/chat/sessions/s1/stop", named),
        await shop.post("/api/v1/knowledge/collections", {"name": "c", "owner": username.strip()}),
        await shop.post("/api/v1/im/message", {"umo": f"webchat:FriendMessage:{username.strip()}", "message": "x"}),
        await admin.post("/api/v1/api-keys", {"name": "k", "scopes": ["chat"], **named}),
    ]
    assert {(answer.status_code, answer.json()["code"]) for answer in answers} == {(400, "username_reserved")}
    role = await shop.post(ROLES, {**ROLE, "owner": username.strip()})
    assert (role.status_code, role.json()["success"]) == (400, False)


async def test_a_key_begins_no_session_under_its_own_name_in_the_open_api(shop: Client) -> None:
    response = await shop.post("/api/v1/chat", {"username": "api:test", "message": "Hi"})
    assert (response.status_code, response.json()["code"]) == (400, "username_reserved")
    response = await shop.post("/api/v1/chat", {"username": "api:test", "message": "Hi", "session_id": "mine"})
    assert (response.status_code, response.json()["code"]) == (403, "session_not_yours")


async def make_role(client: Client, **values: Any) -> str:
    response = await client.post(ROLES, {**ROLE, **values})
    assert response.status_code == 200, response.text
    return str(response.json()["data"]["uuid"])


async def change_and_delete(client: Client, uuid: str) -> tuple[int, int]:
    change = await client.request("PUT", f"{ROLES}/{uuid}", json={"system_prompt": "EVIL"})
    return change.status_code, (await client.request("DELETE", f"{ROLES}/{uuid}")).status_code


async def test_roles_of_others_are_changed_with_the_scope_admin(
    alice: Client, shop: Client, other_shop: Client, admin: Client
) -> None:
    hers = await make_role(alice, name="Hers")
    for uuid in (await make_role(shop), await make_role(shop, name="Hers too", owner="alice"), hers):
        assert await change_and_delete(other_shop, uuid) == (403, 403)
        assert await change_and_delete(admin, uuid) == (200, 200)
    assert await change_and_delete(shop, await make_role(shop)) == (200, 200)
    assert await change_and_delete(shop, await make_role(admin)) == (403, 403)


async def test_without_keys_everyone_changes_all_roles(start_server: StartServer, data_dir: Any) -> None:
    async with start_server() as server, await connected(server, "chat") as client:
        uuid = await make_role(client)
    async with start_server(no_auth=True) as server, Client(server, None) as client:
        assert await change_and_delete(client, uuid) == (200, 200)


async def test_prompts_of_shared_roles_are_hidden_from_users(alice: Client, shop: Client) -> None:
    shared, hers = await make_role(shop, name="Shared"), await make_role(alice, name="Hers")
    prompts = {
        (who, role["name"]): role["system_prompt"]
        for who, client in (("alice", alice), ("shop", shop))
        for role in (await client.get(ROLES)).json()["data"]
    }
    prompt = ROLE["system_prompt"]
    assert prompts == {
        ("alice", "Shared"): None,
        ("alice", "Hers"): prompt,
        ("shop", "Shared"): prompt,
        ("shop", "Hers"): prompt,
    }
    for client, uuid, expected in ((alice, shared, None), (alice, hers, prompt), (shop, shared, prompt)):
        assert (await client.get(f"{ROLES}/{uuid}")).json()["data"]["system_prompt"] == expected


async def test_a_role_is_used_for_its_user_only(alice: Client, shop: Client) -> None:
    hers = await make_role(alice, name="Hers")
    chat = {"message": "Hi", "role": hers}
    assert (await shop.http.post("/api/v1/chat", json={**chat, "username": "alice"})).status_code == 200
    assert (await shop.post("/api/v1/chat", {**chat, "username": "bob"})).status_code == 404
    body = {"messages": [{"role": "user", "content": "Hi"}], "model": f"role:{hers}"}
    for client in (alice, shop):  # a key that acts for no user may use any
        assert (await client.post("/v1/chat/completions", body)).status_code == 200


async def test_the_models_of_v1_are_those_the_key_can_use(alice: Client, shop: Client) -> None:
    await make_role(alice, name="Hers")
    await make_role(shop, name="Shared")
    for client, names in ((alice, ["role:Hers", "role:Shared"]), (shop, ["role:Shared"])):
        models = (await client.get("/v1/models")).json()["data"]
        assert sorted(model["id"] for model in models if model["id"].startswith("role:")) == names
        for name in names:
            body = {"messages": [{"role": "user", "content": "Hi"}], "model": name}
            assert (await client.post("/v1/chat/completions", body)).status_code == 200
