"""`/api/v1/api-keys`: keys over HTTP, and that what is changed takes effect at once."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from app.auth.keytext import is_well_formed
from app.clock import utc_now
from tests.support.client import Client
from tests.support.server import Server

KEYS = "/api/v1/api-keys"
UNKNOWN = "00000000-0000-4000-8000-000000000000"


@asynccontextmanager
async def client_with(server: Server, *scopes: str, **options: Any) -> AsyncIterator[Client]:
    async with Client(server, await server.new_key(*scopes, **options)) as client:
        yield client


async def create(admin: Client, **body: Any) -> dict[str, Any]:
    answer = await admin.post(KEYS, {"name": "made", "scopes": ["im"], **body})
    assert answer.status_code == 201, answer.text
    api_key: dict[str, Any] = answer.json()["data"]
    return api_key


async def is_good(admin: Client, key: str) -> bool:
    """Whether the text opens `/api/v1/im/bots`, tried without the client's own key."""
    answer = await admin.request("GET", "/api/v1/im/bots", headers={"X-API-Key": key})
    assert answer.status_code in (200, 401)
    return answer.status_code == 200


async def list_keys(admin: Client) -> list[dict[str, Any]]:
    keys: list[dict[str, Any]] = (await admin.get(KEYS)).json()["data"]["api_keys"]
    return keys


async def test_a_key_is_made_shown_once_listed_and_used(admin: Client) -> None:
    api_key = await create(admin, name=" shop ", scopes=["im", "chat", "im"], username="alice", expires_in_days=30)
    text = api_key.pop("key")
    assert is_well_formed(text)
    assert api_key["prefix"] == text[:10]
    assert (api_key["name"], api_key["scopes"], api_key["username"]) == ("shop", ["chat", "im"], "alice")
    assert (api_key["status"], api_key["revoked_at"], api_key["last_used_at"]) == ("live", None, None)
    lifetime = datetime.fromisoformat(api_key["expires_at"]) - datetime.fromisoformat(api_key["created_at"])
    assert lifetime == timedelta(days=30)
    assert await is_good(admin, text)
    answer = await admin.get(KEYS)
    assert answer.json()["data"]["api_keys"][0] == api_key
    assert text not in answer.text


async def test_a_key_without_an_expiry_does_not_expire(admin: Client) -> None:
    assert (await create(admin))["expires_at"] is None


async def test_the_newest_key_is_listed_first(admin: Client) -> None:
    names = ["one", "two", "three"]
    for name in names:
        await create(admin, name=name)
    assert [key["name"] for key in (await list_keys(admin))[:3]] == names[::-1]


@pytest.mark.databases("sqlite")  # refused before the database is asked
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": None}, "Expected `str`, got `null` - at `$.name`"),
        ({"name": ""}, None),
        ({"name": "  "}, None),
        ({"name": "a\nb"}, None),
        ({"name": "a\x1b[31m"}, None),
        ({"name": "x" * 101}, None),
        ({"scopes": []}, None),
        ({"scopes": "chat"}, None),
        ({"scopes": ["chat", "root"]}, "Invalid enum value 'root' - at `$.scopes[1]`"),
        ({"scopes": [None]}, None),
        ({"username": ""}, None),
        ({"username": "u" * 256}, None),
        ({"expires_in_days": 0}, None),
        ({"expires_in_days": -1}, None),
        ({"expires_in_days": 36501}, None),
        ({"expires_in_days": 1e300}, None),
        ({"expires_in_days": "30"}, None),
        ({"expires_in_days": True}, None),
    ],
)
async def test_what_makes_no_key_is_refused(admin: Client, change: dict[str, Any], message: str | None) -> None:
    before = await list_keys(admin)
    answer = await admin.post(KEYS, {"name": "made", "scopes": ["im"], **change})
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_request")
    assert message in (None, answer.json()["message"])
    assert await list_keys(admin) == before


@pytest.mark.parametrize("missing", ["name", "scopes"])
async def test_a_key_needs_a_name_and_scopes(admin: Client, missing: str) -> None:
    body = {"name": "made", "scopes": ["im"]}
    del body[missing]
    answer = await admin.post(KEYS, body)
    assert (answer.status_code, answer.json()["message"]) == (400, f"Missing key: {missing}")


async def test_a_body_that_is_no_json_object_is_refused(admin: Client) -> None:
    for path in (KEYS, f"{KEYS}/{UNKNOWN}/rotate"):
        assert (await admin.post(path, ["im"])).status_code == 400
        assert (await admin.request("POST", path, data={"name": "made"})).status_code == 415
        assert (await admin.post(path, {"name": "x" * 20_000})).status_code == 413


@pytest.mark.parametrize(("method", "action"), [("DELETE", ""), ("POST", "/revoke"), ("POST", "/rotate")])
async def test_a_key_that_is_not_there(admin: Client, method: str, action: str) -> None:
    for key_id in (UNKNOWN, "no-uuid", "%00", "x" * 300):
        answer = await admin.request(method, f"{KEYS}/{key_id}{action}")
        assert (answer.status_code, answer.json()["message"]) == (404, "API key not found")


async def test_revoking_takes_effect_at_once_and_stays_in_the_list(admin: Client) -> None:
    api_key = await create(admin)
    assert await is_good(admin, api_key["key"])
    answer = await admin.post(f"{KEYS}/{api_key['key_id']}/revoke")
    assert answer.status_code == 200
    assert not await is_good(admin, api_key["key"])
    assert (answer.json()["data"]["status"], (await list_keys(admin))[0]) == ("revoked", answer.json()["data"])
    second = await admin.post(f"{KEYS}/{api_key['key_id']}/revoke")
    assert second.json()["data"] == answer.json()["data"]


async def test_deleting_takes_effect_at_once_and_leaves_nothing(admin: Client) -> None:
    api_key = await create(admin)
    assert await is_good(admin, api_key["key"])
    answer = await admin.request("DELETE", f"{KEYS}/{api_key['key_id']}")
    assert (answer.status_code, answer.json()["data"]) == (200, {"key_id": api_key["key_id"]})
    assert not await is_good(admin, api_key["key"])
    assert api_key["key_id"] not in [key["key_id"] for key in await list_keys(admin)]


async def test_rotating_ends_the_old_text_at_once(admin: Client) -> None:
    api_key = await create(admin)
    assert await is_good(admin, api_key["key"])
    answer = await admin.post(f"{KEYS}/{api_key['key_id']}/rotate")
    assert answer.status_code == 200
    rotated = answer.json()["data"]
    assert rotated["key_id"] == api_key["key_id"]
    assert rotated["previous_expires_at"] is None
    assert rotated["prefix"] == rotated["key"][:10] != api_key["prefix"]
    assert not await is_good(admin, api_key["key"])
    assert await is_good(admin, rotated["key"])


async def test_rotating_with_an_overlap_leaves_the_old_text_good_until_it_is_over(
    admin: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    api_key = await create(admin)
    rotated = (await admin.post(f"{KEYS}/{api_key['key_id']}/rotate", {"overlap_seconds": 3600})).json()["data"]
    assert await is_good(admin, api_key["key"])
    assert await is_good(admin, rotated["key"])
    ends = datetime.fromisoformat(rotated["previous_expires_at"])
    assert timedelta(minutes=59) < ends - datetime.now(UTC) <= timedelta(hours=1)
    monkeypatch.setattr("app.auth.service.utc_now", lambda: ends - timedelta(milliseconds=1))
    assert await is_good(admin, api_key["key"])
    monkeypatch.setattr("app.auth.service.utc_now", lambda: ends)
    assert not await is_good(admin, api_key["key"])
    assert await is_good(admin, rotated["key"])


async def test_rotating_again_ends_the_oldest_text(admin: Client) -> None:
    api_key = await create(admin)
    path = f"{KEYS}/{api_key['key_id']}/rotate"
    second = (await admin.post(path, {"overlap_seconds": 60})).json()["data"]["key"]
    third = (await admin.post(path, {"overlap_seconds": 60})).json()["data"]["key"]
    assert [await is_good(admin, key) for key in (api_key["key"], second, third)] == [False, True, True]


async def test_revoking_during_an_overlap_ends_both_texts(admin: Client) -> None:
    api_key = await create(admin)
    rotated = (await admin.post(f"{KEYS}/{api_key['key_id']}/rotate", {"overlap_seconds": 60})).json()["data"]
    await admin.post(f"{KEYS}/{api_key['key_id']}/revoke")
    assert not await is_good(admin, api_key["key"])
    assert not await is_good(admin, rotated["key"])


@pytest.mark.parametrize("overlap", [-1, 7 * 86_400 + 1, 1e300, "60", None])
async def test_an_overlap_that_is_none_is_refused_and_changes_nothing(admin: Client, overlap: Any) -> None:
    api_key = await create(admin)
    answer = await admin.post(f"{KEYS}/{api_key['key_id']}/rotate", {"overlap_seconds": overlap})
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_request")
    assert await is_good(admin, api_key["key"])


async def test_a_dead_key_is_not_rotated(admin: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    revoked, expired = await create(admin), await create(admin, expires_in_days=1)
    await admin.post(f"{KEYS}/{revoked['key_id']}/revoke")
    later = utc_now() + timedelta(days=2)
    monkeypatch.setattr("app.auth.service.utc_now", lambda: later)
    for dead in (revoked, expired):
        answer = await admin.post(f"{KEYS}/{dead['key_id']}/rotate")
        assert (answer.status_code, answer.json()["code"]) == (400, "key_not_live")


async def test_an_expired_key_is_refused_though_it_is_remembered(
    admin: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    api_key = await create(admin, expires_in_days=1)
    assert await is_good(admin, api_key["key"])
    ends = datetime.fromisoformat(api_key["expires_at"])
    for place in ("app.auth.service.utc_now", "app.auth.schemas.utc_now"):
        monkeypatch.setattr(place, lambda: ends)
    answer = await admin.request("GET", "/api/v1/im/bots", headers={"X-API-Key": api_key["key"]})
    assert (answer.status_code, answer.json()["message"]) == (401, "Invalid API key")
    assert (await list_keys(admin))[0]["status"] == "expired"


async def test_what_another_process_changes_takes_effect_at_once(server: Server, admin: Client) -> None:
    for end in (server.core.keys.revoke, server.core.keys.delete, server.core.keys.rotate):
        api_key = await create(admin)
        assert await is_good(admin, api_key["key"])
        await end(api_key["key_id"])
        assert not await is_good(admin, api_key["key"])


async def test_a_key_may_end_itself(server: Server) -> None:
    for method, action in (("DELETE", ""), ("POST", "/revoke")):
        async with client_with(server, "admin") as client:
            own = (await list_keys(client))[0]
            assert (await client.request(method, f"{KEYS}/{own['key_id']}{action}")).status_code == 200
            assert (await client.get(KEYS)).status_code == 401


async def test_a_key_cannot_grant_scopes_that_it_lacks(server: Server, admin: Client) -> None:
    strong = await create(admin, scopes=["im", "file"])
    async with client_with(server, "admin", "im") as client:
        answer = await client.post(KEYS, {"name": "made", "scopes": ["im", "file", "chat"]})
        assert answer.status_code == 403
        assert answer.json()["message"] == "The API key cannot grant scopes it lacks: chat, file"
        # Rotating would hand out the text of a stronger key.
        answer = await client.post(f"{KEYS}/{strong['key_id']}/rotate")
        assert (answer.status_code, answer.json()["code"]) == (403, "scope_not_held")
        assert await is_good(admin, strong["key"])
        assert (await client.post(KEYS, {"name": "made", "scopes": ["admin", "im"]})).status_code == 201


async def test_a_key_bound_to_a_user_manages_only_keys_bound_to_it(server: Server, admin: Client) -> None:
    of_bob, of_all = await create(admin, username="bob"), await create(admin)
    of_alice = await create(admin, username="alice")
    async with client_with(server, "admin", "im", username="alice") as alice:
        assert {key["username"] for key in await list_keys(alice)} == {"alice"}
        for other in (of_bob, of_all):
            for method, action in (("DELETE", ""), ("POST", "/revoke"), ("POST", "/rotate")):
                answer = await alice.request(method, f"{KEYS}/{other['key_id']}{action}")
                assert (answer.status_code, answer.json()["message"]) == (404, "API key not found")
            assert await is_good(admin, other["key"])
        for username in ("bob", None):
            answer = await alice.post(KEYS, {"name": "made", "scopes": ["im"], "username": username})
            assert (answer.status_code, answer.json()["code"]) == (403, "username_not_allowed")
        assert (await create(alice, username="alice"))["username"] == "alice"
        assert (await alice.post(f"{KEYS}/{of_alice['key_id']}/revoke")).status_code == 200


async def test_a_key_bound_to_a_user_acts_only_as_that_user(server: Server) -> None:
    async with client_with(server, "chat", username="alice") as alice:
        assert len(await alice.chat("Hello")) > 1
        assert (await alice.get("/api/v1/chat/sessions", username="alice")).status_code == 200
        for answer in (
            await alice.post("/api/v1/chat", {"username": "bob", "message": "Hello"}),
            await alice.get("/api/v1/chat/sessions", username="bob"),
        ):
            assert answer.status_code == 403
            assert answer.json()["message"] == "The API key is bound to another username"
