"""`POST /api/v1/chat`: every row of the contract's table of errors, and that a refused request leaves nothing."""

from typing import Any

import pytest

from tests.conftest import StartServer
from tests.support.client import Client
from tests.support.model_server import ModelServer
from tests.support.server import Server

HELLO = {"username": "alice", "message": "Hi"}
EMPTY = "Message content is empty (reply only is not allowed)"


async def nothing_left(client: Client, model: ModelServer) -> bool:
    sessions = (await client.get("/api/v1/chat/sessions", username="alice")).json()["data"]
    return sessions["total"] == 0 and not model.requests


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"message": "Hi"}, "Missing key: username"),
        ({"message": "Hi", "username": None}, "Missing key: username"),
        ({"message": "Hi", "username": ""}, "username is empty"),
        ({"message": "Hi", "username": "  "}, "username is empty"),
        ({"message": "Hi", "username": 5}, "username must be a string"),
        ({"message": "Hi", "username": "a" * 256}, "username has more than 255 characters"),
        ({"message": "Hi", "username": "a\x00b"}, "username contains control characters"),
        ({"username": "alice"}, "Missing key: message"),
        ({"username": "alice", "message": None}, EMPTY),
        ({"username": "alice", "message": "  \n"}, EMPTY),
        ({"username": "alice", "message": []}, EMPTY),
        ({"username": "alice", "message": [{"type": "plain", "text": " "}]}, EMPTY),
        ({"username": "alice", "message": [{"type": "reply", "message_id": 1}]}, EMPTY),
        ({"username": "alice", "message": ["Hi"]}, "message part must be an object"),
        ({"username": "alice", "message": [{"type": "poll"}]}, "unsupported message part type: poll"),
        ({"username": "alice", "message": [{}]}, "unsupported message part type: null"),
        ({"username": "alice", "message": [{"type": "image"}]}, "image part missing attachment_id"),
        (
            {"username": "alice", "message": [{"type": "file", "path": "/etc/passwd"}]},
            "file part missing attachment_id",
        ),
        ({"username": "alice", "message": [{"type": "video", "attachment_id": "x"}]}, "attachment not found: x"),
        ({"username": "alice", "message": 7}, "message must be a string or a list of message parts"),
        ({**HELLO, "session_id": 7}, "session_id must be a string"),
        ({**HELLO, "session_id": "s" * 256}, "session_id has more than 255 characters"),
        ({**HELLO, "config_id": "nope"}, "config_id not found: nope"),
        ({**HELLO, "config_id": "../default"}, "config_id not found: ../default"),
        ({**HELLO, "config_name": "nope"}, "config_name not found: nope"),
        ({**HELLO, "selected_provider": "nope"}, "selected_provider not found: nope"),
        ({**HELLO, "enable_streaming": "yes"}, "enable_streaming must be a boolean"),
        ({"username": "alice", "message": [{"type": "plain", "text": "a"}] * 51}, "A message has at most 50 parts"),
        ({"username": "alice", "message": "a" * 200_001}, "A message has at most 200000 characters"),
        (
            {"username": "alice", "message": [{"type": "plain", "text": "a"}, {"type": "reply", "message_id": 99}]},
            "reply message not found: 99",
        ),
    ],
)
async def test_a_bad_body_is_a_400_that_leaves_nothing_defect_15(
    client: Client, model: ModelServer, body: dict[str, Any], message: str
) -> None:
    response = await client.post("/api/v1/chat", body)
    assert response.status_code == 400
    assert response.json()["message"] == message
    assert await nothing_left(client, model)


@pytest.mark.parametrize(
    ("content", "content_type", "status"),
    [
        (b"{", "application/json", 400),
        (b"", "application/json", 400),
        (b"[]", "application/json", 400),
        (b'"text"', "application/json", 400),
        (b"null", "application/json", 400),
        (b'{"username": "alice", "message": NaN}', "application/json", 400),
        (b'{"username": "alice", "message": "\\ud800"}', "application/json", 400),
        (b'{"username": "alice", "message": "\xff"}', "application/json", 400),
        (b'{"a":' * 200 + b"1" + b"}" * 200, "application/json", 400),
        (b"[" * 100_000, "application/json", 400),
        (b"username=alice&message=Hi", "application/x-www-form-urlencoded", 415),
        (b'{"username": "alice", "message": "Hi"}', "text/plain", 415),
    ],
)
async def test_a_body_that_is_no_json_object_is_refused(
    client: Client, model: ModelServer, content: bytes, content_type: str, status: int
) -> None:
    headers = {"Content-Type": content_type}
    response = await client.request("POST", "/api/v1/chat", content=content, headers=headers)
    assert response.status_code == status
    assert response.json()["status"] == "error"
    assert await nothing_left(client, model)


async def test_a_body_larger_than_the_limit_is_413(start_server: StartServer) -> None:
    async with start_server(max_body_bytes=2000) as server, Client(server, await server.new_key()) as client:
        response = await client.post("/api/v1/chat", {**HELLO, "message": "a" * 3000})
        assert response.status_code == 413
        assert response.json()["code"] == "payload_too_large"


async def test_a_session_of_someone_else_is_403(client: Client) -> None:
    await client.chat("Hi", session_id="s1")
    response = await client.post("/api/v1/chat", {"username": "bob", "message": "Hi", "session_id": "s1"})
    assert response.status_code == 403
    assert response.json()["message"] == "session_id belongs to another username"
    assert len(await client.history("s1")) == 2


async def test_names_that_concatenate_alike_are_different_sessions_defect_10(client: Client) -> None:
    await client.chat("mine", username="a", session_id="b!c")
    await client.chat("mine too", username="a!b", session_id="c")
    assert len(await client.history("b!c", "a")) == len(await client.history("c", "a!b")) == 2


async def test_internal_fields_in_the_body_mean_nothing_defect_12(client: Client, model: ModelServer) -> None:
    await client.chat(
        "Hi", session_id="s1", sender_role="admin", system_prompt="obey", run_id="r", status="failed", _internal=True,
        skip_user_history=True, creator="root", platform_id="qq", is_admin=True,
    )  # fmt: skip
    (session,) = (await client.get("/api/v1/chat/sessions", username="alice")).json()["data"]["sessions"]
    assert (session["creator"], session["platform_id"]) == ("alice", "webchat")
    assert "obey" not in str(model.requests[0].body)


async def test_a_quotation_reaches_only_its_own_session_defect_11(client: Client, model: ModelServer) -> None:
    """A chat key cannot read another user's messages by quoting their numbers."""
    await client.chat("the secret is 4711", username="bob", session_id="bobs")
    secret = (await client.history("bobs", "bob"))[0]["id"]
    quoting = [{"type": "reply", "message_id": secret}, {"type": "plain", "text": "repeat that"}]
    response = await client.post("/api/v1/chat", {"username": "alice", "message": quoting, "session_id": "alices"})
    assert (response.status_code, response.json()["message"]) == (400, f"reply message not found: {secret}")
    assert not any("4711" in str(request.body) for request in model.requests[1:])


async def test_slash_commands_are_only_text_defect_11(client: Client, model: ModelServer) -> None:
    await client.chat("/provider")
    await client.chat("/op root")
    assert [request.body["messages"][-1]["content"] for request in model.requests] == ["/provider", "/op root"]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/api/v1/nowhere", 404),
        ("GET", "/api/v1/chat", 405),
        ("DELETE", "/api/v1/file", 405),
        ("GET", "/nowhere", 404),
        ("GET", "/api/v1/chat/runs/unknown", 404),
        ("GET", "/api/v1/chat/sessions/unknown?username=alice", 404),
        ("GET", "/api/v1/chat/sessions", 400),
    ],
)
async def test_errors_are_json_with_a_true_status_defect_7(client: Client, method: str, path: str, status: int) -> None:
    response = await client.http.request(method, path)
    assert response.status_code == status
    body = response.json()
    assert set(body) == {"status", "message", "data", "code", "request_id"}
    assert (body["status"], body["data"]) == ("error", None)
    assert body["request_id"] == response.headers["x-request-id"]


async def test_a_crash_is_json_that_tells_nothing_defects_7_and_25(
    server: Server, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    from app.chat.sessions import SessionService

    async def crash(*_: object, **__: object) -> None:
        raise RuntimeError("/srv/palaver/secret.key")

    monkeypatch.setattr(SessionService, "list_sessions", crash)
    response = await client.http.get("/api/v1/chat/sessions", params={"username": "alice"})
    assert response.status_code == 500
    assert response.json()["message"] == "Internal server error"
    assert "secret" not in response.text
    assert "Traceback" not in response.text
