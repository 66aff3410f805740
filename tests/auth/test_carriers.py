"""How a key comes to the server, and what is answered when it does not: section 1 of the contract, row by row."""

import httpx2
import pytest

from app.auth.keytext import new_key_text
from tests.conftest import StartServer
from tests.support.client import Client
from tests.support.server import Server

PATH = "/api/v1/im/bots"


def refusal(answer: httpx2.Response) -> tuple[int, str, str]:
    body = answer.json()
    assert body["status"] == "error"
    assert body["data"] is None
    assert body["request_id"] == answer.headers["x-request-id"]
    return answer.status_code, body["message"], body["code"]


@pytest.mark.parametrize(
    ("header", "form"),
    [
        ("X-API-Key", "{}"),
        ("x-api-key", "{}"),
        ("Authorization", "Bearer {}"),
        ("Authorization", "bearer {}"),
        ("authorization", "BEARER   {}"),
        ("Authorization", "ApiKey {}"),
        ("Authorization", "apikey {}"),
        ("Authorization", "APIKEY {}"),
    ],
)
async def test_a_key_comes_in_a_header(server: Server, stranger: Client, header: str, form: str) -> None:
    key = await server.new_key("im")
    answer = await stranger.request("GET", PATH, headers={header: form.format(key)})
    assert answer.status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"X-API-Key": ""},
        {"Authorization": ""},
        {"Authorization": "Bearer"},
        {"Authorization": "ApiKey"},
        {"Authorization": "Basic YWxpY2U6c2VjcmV0"},
        {"Authorization": "plv_this_is_no_scheme"},
    ],
)
async def test_no_key(stranger: Client, headers: dict[str, str]) -> None:
    answer = await stranger.request("GET", PATH, headers=headers)
    assert refusal(answer) == (401, "Missing API key", "missing_api_key")
    assert answer.headers["www-authenticate"] == 'Bearer realm="palaver"'


@pytest.mark.parametrize("kind", ["not ours", "mistyped", "unknown", "very long", "not ASCII", "another's prefix"])
async def test_a_wrong_key(server: Server, stranger: Client, kind: str) -> None:
    key = await server.new_key("im")
    text = {
        "not ours": b"sk-something",
        "mistyped": (key[:10] + ("a" if key[10] != "a" else "b") + key[11:]).encode(),
        "unknown": new_key_text().encode(),
        "very long": b"plv_" + b"A" * 8000,
        "not ASCII": "plv_schlüssel".encode(),
        "another's prefix": key[:10].encode(),
    }[kind]
    answer = await stranger.request("GET", PATH, headers={b"X-API-Key": text})
    assert refusal(answer) == (401, "Invalid API key", "invalid_api_key")
    assert answer.headers["www-authenticate"] == 'Bearer realm="palaver"'


async def test_a_key_in_the_query_is_refused(server: Server, stranger: Client) -> None:
    key = await server.new_key("im")
    for name in ("api_key", "key"):
        answer = await stranger.get(PATH, **{name: key})
        assert refusal(answer) == (401, "Missing API key", "missing_api_key")


async def test_a_key_in_the_query_is_admitted_where_the_operator_says_so(start_server: StartServer) -> None:
    async with start_server(allow_query_keys=True) as server, Client(server, None) as stranger:
        key = await server.new_key("im")
        for name in ("api_key", "key"):
            assert (await stranger.get(PATH, **{name: key})).status_code == 200
            assert refusal(await stranger.get(PATH, **{name: key + "x"}))[0] == 401
        assert refusal(await stranger.get(PATH, api_key=""))[1] == "Missing API key"


async def test_a_header_goes_before_the_query(start_server: StartServer) -> None:
    async with start_server(allow_query_keys=True) as server, Client(server, "plv_wrong") as wrong:
        assert refusal(await wrong.get(PATH, api_key=await server.new_key("im")))[1] == "Invalid API key"


async def test_the_operators_keys_of_any_form_are_good(start_server: StartServer) -> None:
    async with start_server(api_keys="agent=lang-agent-key-of-old-times,second-fixed-key-of-old-times") as server:
        for key in ("lang-agent-key-of-old-times", "second-fixed-key-of-old-times"):
            async with Client(server, key) as client:
                assert (await client.get(PATH)).status_code == 200
                assert refusal(await client.get("/api/v1/api-keys"))[0] == 403
        async with Client(server, "lang-agent-kez") as client:
            assert refusal(await client.get(PATH))[1] == "Invalid API key"


async def test_an_operators_key_has_the_scopes_and_the_user_that_it_was_given(start_server: StartServer) -> None:
    operator_key = {"key": "fixed-key-of-alice-herself", "name": "alice", "scopes": ["chat"], "username": "alice"}
    async with start_server(api_keys=[operator_key]) as server, Client(server, "fixed-key-of-alice-herself") as client:
        assert (await client.get("/api/v1/chat/sessions", username="alice")).status_code == 200
        assert refusal(await client.get("/api/v1/chat/sessions", username="bob"))[2] == "username_not_allowed"
        assert refusal(await client.get(PATH))[1] == "Insufficient API key scope"


async def test_without_auth_everyone_has_the_seed_scopes(start_server: StartServer) -> None:
    async with start_server(no_auth=True) as server:
        for key in (None, "whatever-a-client-sends", await server.new_key("admin")):
            async with Client(server, key) as client:
                for path in (PATH, "/api/v1/configs", "/api/v1/chat/sessions?username=alice"):
                    assert (await client.request("GET", path)).status_code == 200
                assert refusal(await client.get("/api/v1/api-keys"))[1] == "Insufficient API key scope"


@pytest.mark.parametrize(
    ("headers", "is_admitted"),
    [
        ({"Origin": "http://localhost:3000"}, True),
        ({"Origin": "http://app.localhost"}, True),
        ({"Origin": "http://[::1]:8080"}, True),
        ({"Host": "localhost:6185"}, True),
        ({"Origin": "https://friend.example"}, True),
        ({"Origin": "https://evil.example"}, False),
        ({"Origin": "null"}, False),
        ({"Origin": "http://127.0.0.1.evil.example"}, False),
        ({"Origin": "http://[::1"}, False),
        ({"Host": "rebound.evil.example:6185"}, False),
    ],
)
async def test_without_auth_other_sites_pages_are_refused(
    start_server: StartServer, headers: dict[str, str], is_admitted: bool
) -> None:
    friends = ["https://friend.example"]
    async with start_server(no_auth=True, cors_origins=friends) as server, Client(server, None) as client:
        answer = await client.request("GET", PATH, headers=headers)
        if is_admitted:
            assert answer.status_code == 200
        else:
            assert refusal(answer)[2] == "origin_not_allowed"
