"""A NUL, which no text of PostgreSQL can hold, is never a fault of the server's."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.support.answers import reply
from tests.support.client import Client, text_of
from tests.support.model_server import ModelServer
from tests.support.server import Server

pytestmark = pytest.mark.databases("sqlite", "postgresql")

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
