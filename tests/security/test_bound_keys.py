"""A key bound to one user, in the hands of someone who wants what is another's."""

from collections.abc import AsyncIterator

import pytest

from tests.support.client import Client
from tests.support.server import Server

NEW_BOT = {"id": "hook", "adapter": "webhook", "config": {"url": "https://hooks.example.com/?token=of-the-operator"}}


@pytest.fixture
async def alice(server: Server) -> AsyncIterator[Client]:
    async with Client(server, await server.new_key(username="alice")) as client:
        yield client


@pytest.fixture
async def bob(server: Server) -> AsyncIterator[Client]:
    async with Client(server, await server.new_key(username="bob")) as client:
        yield client


async def test_another_users_session_run_and_messages_are_closed_in_every_way(alice: Client, bob: Client) -> None:
    events = await bob.chat("a secret", username="bob", session_id="bobs")
    run, saved = events[0].data["run_id"], events[1].data["data"]["id"]
    for user in ("alice", "bob"):
        for method, path in (("GET", "bobs"), ("GET", "bobs/messages"), ("DELETE", "bobs")):
            response = await alice.request(method, f"/api/v1/chat/sessions/{path}", params={"username": user})
            assert response.status_code == 403
        assert (await alice.post("/api/v1/chat/sessions/bobs/stop", {"username": user})).status_code == 403
        body = {"username": user, "display_name": "mine"}
        assert (await alice.request("PATCH", "/api/v1/chat/sessions/bobs", json=body)).status_code == 403
        body = {"username": user, "session_id": "bobs", "message": "x"}
        assert (await alice.post("/api/v1/chat", body)).status_code == 403
    for method, path in (("GET", ""), ("GET", "/stream"), ("POST", "/stop")):
        assert (await alice.request(method, f"/api/v1/chat/runs/{run}{path}")).status_code == 404
    quote = [{"type": "plain", "text": "x"}, {"type": "reply", "message_id": saved}]
    assert (await alice.post("/api/v1/chat", {"username": "alice", "message": quote})).status_code == 400
    for place in ("bobs", "webchat!bob!bobs", "webchat!alice!bobs", "webchat!bob!new"):
        body = {"umo": f"webchat:FriendMessage:{place}", "message": "x"}
        assert (await alice.post("/api/v1/im/message", body)).status_code == 403
    assert len(await bob.history("bobs", "bob")) == 2


async def test_a_user_named_twice_is_the_first_and_a_name_like_the_users_is_another(alice: Client, bob: Client) -> None:
    await bob.chat("a secret", username="bob", session_id="bobs")
    response = await alice.http.get("/api/v1/chat/sessions?username=alice&username=bob")
    assert response.json()["data"]["total"] == 0
    for name in ("Alice", "ａlice", "alice\u200b", "%"):
        response = await alice.post("/api/v1/chat", {"username": name, "message": "x"})
        assert (response.status_code, response.json()["code"]) == (403, "username_not_allowed")


async def test_another_users_file_does_not_exist(alice: Client, bob: Client) -> None:
    uploaded = await bob.request("POST", "/api/v1/file", files={"file": ("a.txt", b"a secret")})
    id = uploaded.json()["data"]["attachment_id"]
    for method, path in (
        ("GET", f"/api/v1/files/{id}"),
        ("GET", f"/api/v1/files/{id}/content"),
        ("HEAD", f"/api/v1/files/{id}/content"),
        ("GET", f"/api/v1/file?attachment_id={id}"),
        ("DELETE", f"/api/v1/files/{id}"),
    ):
        assert (await alice.request(method, path)).status_code == 404
    part = {"type": "file", "attachment_id": id}
    for path, body in (
        ("/api/v1/chat", {"username": "alice", "message": [part]}),
        ("/api/v1/im/message", {"umo": "webchat:FriendMessage:s1", "message": [part]}),
    ):
        assert (await alice.post(path, body)).status_code == 400


async def test_bots_are_everyones_and_no_bound_key_manages_them(server: Server) -> None:
    async with Client(server, await server.new_key("admin")) as operator:
        assert (await operator.post("/api/v1/bots", NEW_BOT)).status_code == 201
        async with Client(server, await server.new_key("admin", "im", username="alice")) as alice:
            for method, path in (("GET", ""), ("POST", ""), ("GET", "/hook"), ("PATCH", "/hook"), ("DELETE", "/hook")):
                body = {"json": {**NEW_BOT, "id": "hers"}} if method in ("POST", "PATCH") else {}
                response = await alice.request(method, f"/api/v1/bots{path}", **body)
                assert (response.status_code, response.json()["code"]) == (403, "username_not_allowed")
                assert "of-the-operator" not in response.text
        listed = (await operator.get("/api/v1/bots")).json()["data"]["bots"]
        assert [bot["id"] for bot in listed] == ["hook"]
