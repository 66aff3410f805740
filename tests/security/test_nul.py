"""A NUL, which no text of PostgreSQL can hold, is never a fault of the server's."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.support import answers
from tests.support.answers import reply
from tests.support.client import Client, text_of
from tests.support.model_server import ModelServer
from tests.support.server import Server
from tests.tools.test_steps import use

UNKNOWN: list[tuple[str, str, Any]] = [
    *(("GET", f"/api/v1/chat/sessions/%00{rest}?username=alice", None) for rest in ("", "/messages")),
    ("DELETE", "/api/v1/chat/sessions/%00?username=alice", None),
    ("PATCH", "/api/v1/chat/sessions/%00", {"username": "alice", "display_name": "x"}),
    ("POST", "/api/v1/chat/sessions/%00/stop", {"username": "alice"}),
    *(("GET", f"/api/v1/chat/runs/%00{rest}", None) for rest in ("", "/stream")),
    ("POST", "/api/v1/chat/runs/%00/stop", None),
    ("GET", "/api/v1/file?attachment_id=%00", None),
    *(("GET", f"/api/v1/files/%00{rest}", None) for rest in ("", "/content")),
    ("DELETE", "/api/v1/files/%00", None),
    *((method, "/api/v1/bots/%00", None) for method in ("GET", "DELETE")),
    ("PATCH", "/api/v1/bots/%00", {"enabled": False}),
    ("DELETE", "/api/v1/api-keys/%00", None),
    *((method, "/api/kernel2/roles/%00", None) for method in ("GET", "DELETE")),
    ("PUT", "/api/kernel2/roles/%00", {"name": "x"}),
    *((method, "/api/v1/knowledge/collections/%00", None) for method in ("GET", "DELETE")),
    ("PATCH", "/api/v1/knowledge/collections/%00", {"name": "x"}),
    ("GET", "/api/v1/knowledge/collections/%00/documents", None),
]


@pytest.fixture
async def everything(server: Server) -> AsyncIterator[Client]:
    """A client with every scope."""
    key = await server.new_key("chat", "config", "file", "im", "knowledge", "admin")
    async with Client(server, key) as client:
        yield client


async def test_an_id_with_a_nul_names_nothing(everything: Client) -> None:
    for method, path, body in UNKNOWN:
        assert (await everything.request(method, path, json=body)).status_code == 404, (method, path)
    message = [{"type": "image", "attachment_id": "\0"}]
    refused = await everything.post("/api/v1/chat", {"username": "alice", "message": message})
    assert (refused.status_code, refused.json()["code"]) == (400, "attachment_not_found")
    listed = await everything.get("/api/v1/chat/sessions", username="alice", platform_id="\0")
    assert listed.json()["data"]["sessions"] == []


async def test_texts_with_a_nul_are_taken(everything: Client, model: ModelServer) -> None:
    model.script(reply(["a\0b"]))
    assert text_of(await everything.chat("Say\0it", session_id="s1")) == "a\0b"
    assert [len(message["parts"]) for message in await everything.history("s1")] == [1, 1]
    assert text_of(await everything.chat("Again", session_id="s1")) == "You said: Again"
    body = {"messages": [{"role": "user", "content": "x\0"}], "session_id": "s2"}
    assert (await everything.post("/v1/chat/completions", body)).status_code == 200
    answer = await everything.post("/api/v1/knowledge/search", {"query": "shade\0ferns"})
    assert answer.json()["data"]["passages"] == []
    message = {"umo": "webchat:FriendMessage:s3", "message": "x\0"}
    assert (await everything.post("/api/v1/im/message", message)).status_code == 200


async def test_a_name_with_a_nul_is_refused(everything: Client) -> None:
    await everything.chat("Hello", session_id="s1")
    change = {"username": "alice", "display_name": "x\0"}
    refused = await everything.request("PATCH", "/api/v1/chat/sessions/s1", json=change)
    assert (refused.status_code, refused.json()["code"]) == (400, "invalid_request")


async def test_calls_and_decisions_with_a_nul_are_taken(server: Server, everything: Client, model: ModelServer) -> None:
    use(server, "now", more='ask = ["now"]\n')
    model.script(
        answers.tool_calls(("c\0", "now", '{"timezone": "UTC\\u0000"}'), ("c2", "no\0w", "\0"), text=["a\0"]),
        reply(["b\0"]),
    )
    async with everything.chatting("Hi", session_id="s1") as events:
        run_id = (await anext(events)).data["run_id"]
        async for event in events:
            if event.type == "approval_required":
                path = f"/api/v1/chat/runs/{run_id}/approvals"
                (approval,) = (await everything.get(path)).json()["data"]["approvals"]
                body = {"approval_id": approval["approval_id"], "approve": False, "reason": "not\0now"}
                decided = await everything.post(path, body)
                assert (decided.status_code, decided.json()["data"]["state"]) == (200, "denied")
    assert event.type == "end"
    assert [message["status"] for message in await everything.history("s1")] == ["complete"] * 2
    assert (await everything.get(f"/api/v1/chat/runs/{run_id}")).json()["data"]["status"] == "completed"
    assert len(model.requests) == 2


async def test_names_and_texts_with_a_nul_anywhere_are_no_fault(everything: Client) -> None:
    collection = (await everything.post("/api/v1/knowledge/collections", {"name": "garden"})).json()["data"]
    documents = f"/api/v1/knowledge/collections/{collection['collection_id']}/documents"
    bodies: list[tuple[str, str, Any]] = [
        ("POST", "/api/v1/knowledge/collections", {"name": "x\0"}),
        ("POST", "/api/v1/knowledge/collections", {"name": "x", "description": "x\0"}),
        ("POST", documents, {"title": "x\0", "text": "x"}),
        ("POST", documents, {"title": "x", "text": "x\0y"}),
        ("POST", documents, {"title": "x", "attachment_id": "\0"}),
        ("POST", "/api/v1/bots", {"id": "x\0", "adapter": "webhook", "config": {}}),
        ("POST", "/api/v1/bots", {"id": "x", "adapter": "web\0", "config": {}}),
        ("POST", "/api/v1/bots", {"id": "x", "adapter": "webhook", "config": {"url": "http://127.0.0.1/\0"}}),
        ("POST", "/api/v1/bots", {"id": "x", "name": "\0", "adapter": "webhook", "config": {}}),
        ("POST", "/api/v1/api-keys", {"name": "x\0", "scopes": ["chat"]}),
        ("POST", "/api/v1/api-keys", {"name": "x", "scopes": ["chat\0"]}),
        ("POST", "/api/v1/api-keys", {"name": "x", "scopes": ["chat"], "username": "\0"}),
        ("POST", "/api/v1/mcp/servers", {"name": "x\0", "url": "http://127.0.0.1/"}),
        ("POST", "/api/v1/mcp/servers", {"name": "x", "url": "http://127.0.0.1/\0"}),
        ("POST", "/api/kernel2/roles", {"name": "x\0", "system_prompt": "x"}),
        ("POST", "/api/kernel2/roles", {"name": "x", "system_prompt": "x\0", "description": "\0"}),
        ("POST", "/api/v1/chat", {"username": "a\0", "message": "x"}),
        ("POST", "/api/v1/chat", {"username": "alice", "message": "x", "session_id": "\0"}),
        ("POST", "/api/v1/chat", {"username": "alice", "message": "x", "message_id": "\0"}),
        ("POST", "/api/v1/chat", {"username": "alice", "message": "x", "config_id": "\0"}),
        ("POST", "/api/v1/chat", {"username": "alice", "message": "x", "selected_model": "\0"}),
        ("POST", "/v1/chat/completions", {"messages": [{"role": "us\0er", "content": "x"}]}),
        ("POST", "/v1/chat/completions", {"messages": [{"role": "user", "content": "x"}], "user": "\0"}),
        ("POST", "/v1/chat/completions", {"messages": [{"role": "user", "content": "x"}], "model": "\0"}),
        ("POST", "/v1/chat/completions", {"messages": [{"role": "user", "content": "x"}], "session_id": "\0"}),
        ("POST", "/api/v1/im/message", {"umo": "webchat:FriendMessage:s\0", "message": "x"}),
    ]
    for method, path, body in bodies:
        answer = await everything.request(method, path, json=body)
        assert answer.status_code < 500, (method, path, body, answer.text)
    uploads = [{"file": ("x\0.txt", b"x\0")}, {"file": ("x.txt", "x\0".encode("utf-16"))}]
    for files in uploads:
        for path in ("/api/v1/file", documents):
            answer = await everything.request("POST", path, files=files)
            assert answer.status_code < 500, (path, answer.text)
