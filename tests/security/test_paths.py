"""Paths that a stranger makes up, and ids that clients choose."""

from urllib.parse import quote

import pytest

from tests.support.client import Client
from tests.support.model_server import ModelServer

SESSIONS = "/api/v1/chat/sessions/"


@pytest.mark.parametrize(
    "path",
    ["/api//v1/configs", "/api/v1//configs", "/api/v1/configs/", "/API/v1/configs", "/api/v1/configs%00", "/%ff"],
)
async def test_a_path_that_is_only_like_one_of_ours_is_not_found_and_never_html(client: Client, path: str) -> None:
    response = await client.http.get(path)
    assert (response.status_code, response.headers["content-type"]) == (404, "application/json")
    assert response.json()["code"] == "not_found"


@pytest.mark.parametrize("path", ["/docs/assets/..%2f..%2fsettings.py", "/api/v1/files/..%2f..%2fpalaver.db/content"])
async def test_no_path_leads_to_a_file_of_the_server(client: Client, path: str) -> None:
    assert (await client.http.get(path)).status_code == 404


@pytest.mark.parametrize("method", ["TRACE", "CONNECT", "PROPFIND", "PUT"])
async def test_a_method_that_a_path_does_not_have_is_refused_with_those_that_it_has(
    client: Client, method: str
) -> None:
    response = await client.http.request(method, "/api/v1/configs")
    assert (response.status_code, response.json()["code"]) == (405, "method_not_allowed")
    assert set(response.headers["allow"].split(", ")) == {"GET", "HEAD", "OPTIONS"}


async def test_a_header_does_not_change_the_method_or_the_path(client: Client) -> None:
    headers = {"X-HTTP-Method-Override": "DELETE", "X-Original-URL": "/api/v1/bots", "X-Rewrite-URL": "/api/v1/bots"}
    response = await client.http.get("/api/v1/configs", headers=headers)
    assert response.json()["data"]["configs"]


@pytest.mark.parametrize(
    "session_id", ["a/b", "/a", "a//b/", "messages", "a/messages/b", "%2F", "wx:dm:ü/😀", "a?b#c;d"]
)
async def test_a_session_is_read_renamed_stopped_and_deleted_whatever_is_in_its_id(
    client: Client, model: ModelServer, session_id: str
) -> None:
    await client.chat("Hello", session_id=session_id)
    path = SESSIONS + quote(session_id, safe="")
    alice = {"username": "alice"}

    found = await client.http.get(path, params=alice)
    assert found.json()["data"]["session_id"] == session_id
    messages = await client.http.get(f"{path}/messages", params=alice)
    assert len(messages.json()["data"]["messages"]) == 2
    renamed = await client.http.patch(path, json={**alice, "display_name": "New"})
    assert renamed.json()["data"]["display_name"] == "New"
    assert (await client.http.post(f"{path}/stop", json=alice)).json()["data"]["stopped_count"] == 0
    assert (await client.http.delete(path, params=alice)).status_code == 200
    assert (await client.http.get(path, params=alice)).json()["code"] == "session_not_found"


async def test_a_path_below_a_session_has_its_own_methods_only(client: Client) -> None:
    for method, path in (("GET", "s1/stop"), ("PATCH", "s1/messages"), ("DELETE", "s1/messages")):
        response = await client.http.request(method, SESSIONS + path, params={"username": "alice"})
        assert (response.status_code, response.json()["code"]) == (405, "method_not_allowed")
