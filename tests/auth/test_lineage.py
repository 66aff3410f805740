"""Keys that make keys: what ends with what, what is written down, and what outlasts a fault."""

import asyncio
import io
import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from app.auth import guesses
from app.clock import utc_now
from tests.conftest import StartServer
from tests.support.client import Client
from tests.support.logs import logging_to, parsed
from tests.support.server import Server

KEYS = "/api/v1/api-keys"
AUDIT = "/api/v1/audit"


async def create(client: Client, **body: Any) -> dict[str, Any]:
    response = await client.post(KEYS, {"name": "made", "scopes": ["im", "admin"], **body})
    assert response.status_code == 201, response.text
    return dict(response.json()["data"])


@pytest.fixture
async def maker(server: Server, admin: Client) -> AsyncIterator[Client]:
    """A client whose key was created by `admin`, and ends in a day."""
    key = await create(admin, expires_in_days=1)
    async with Client(server, key["key"]) as client:
        yield client


async def own_id(client: Client) -> str:
    keys = (await client.get(KEYS)).json()["data"]["api_keys"]
    return str(next(key["key_id"] for key in keys if (client.key or "").startswith(key["prefix"])))


async def is_good(server: Server, text: str) -> bool:
    async with Client(server, text) as client:
        return (await client.get("/api/v1/im/bots")).status_code == 200


async def entries(client: Client, **params: Any) -> list[dict[str, Any]]:
    response = await client.get(AUDIT, **params)
    assert response.status_code == 200, response.text
    return list(response.json()["data"]["entries"])


@pytest.mark.parametrize("overlap", [0, 600])
async def test_the_old_text_of_a_key_manages_no_keys(server: Server, admin: Client, overlap: int) -> None:
    other = await create(admin)
    key_id = await own_id(admin)
    new = (await admin.post(f"{KEYS}/{key_id}/rotate", {"overlap_seconds": overlap})).json()["data"]["key"]
    expected = (403, "old_key_text") if overlap else (401, "invalid_api_key")
    for method, path, body in (
        ("POST", KEYS, {"name": "made", "scopes": ["im"]}),
        ("POST", f"{KEYS}/{key_id}/rotate", {}),
        ("POST", f"{KEYS}/{key_id}/revoke", None),
        ("POST", f"{KEYS}/{other['key_id']}/revoke", None),
        ("DELETE", f"{KEYS}/{key_id}", None),
    ):
        response = await admin.request(method, path, json=body)
        assert (response.status_code, response.json()["code"]) == expected
    assert await is_good(server, new)
    assert await is_good(server, other["key"])


async def test_a_key_ends_with_its_maker_or_before(admin: Client, maker: Client) -> None:
    (parent,) = [key for key in (await maker.get(KEYS)).json()["data"]["api_keys"] if key["name"] == "made"]
    ends = {days: (await create(maker, expires_in_days=days))["expires_at"] for days in (None, 30, 0.5)}
    assert (ends[None], ends[30]) == (parent["expires_at"], parent["expires_at"])
    assert ends[0.5] < parent["expires_at"]
    assert (await create(admin))["expires_at"] is None


@pytest.mark.parametrize("action", ["revoke", "delete"])
@pytest.mark.parametrize("by_command_line", [False, True])
async def test_what_a_key_made_ends_with_it(
    server: Server, admin: Client, maker: Client, action: str, by_command_line: bool
) -> None:
    maker_id = await own_id(maker)
    child = await create(maker)
    async with Client(server, child["key"]) as client:
        grandchild = await create(client)
    assert (child["created_by"], grandchild["created_by"]) == (maker_id, child["key_id"])
    sibling = await create(admin)
    if by_command_line:
        await (server.core.keys.revoke if action == "revoke" else server.core.keys.delete)(maker_id)
    elif action == "revoke":
        await admin.post(f"{KEYS}/{maker_id}/revoke")
    else:
        await admin.request("DELETE", f"{KEYS}/{maker_id}")
    texts = (maker.key or "", child["key"], grandchild["key"], sibling["key"])
    assert [await is_good(server, text) for text in texts] == [False, False, False, True]
    statuses = {key["key_id"]: key["status"] for key in (await admin.get(KEYS)).json()["data"]["api_keys"]}
    assert (statuses[child["key_id"]], statuses[grandchild["key_id"]]) == ("revoked", "revoked")


async def test_nobody_makes_a_key_while_its_own_ends(server: Server, admin: Client) -> None:
    """Whichever comes first, no live key is left."""
    for _ in range(5):
        key = await create(admin)
        async with Client(server, key["key"]) as client:
            made, _ = await asyncio.gather(
                client.post(KEYS, {"name": "made", "scopes": ["im"]}), admin.post(f"{KEYS}/{key['key_id']}/revoke")
            )
        if made.status_code == 201:
            assert not await is_good(server, made.json()["data"]["key"])


async def test_rotation_leaves_what_a_key_made(server: Server, maker: Client) -> None:
    child = await create(maker)
    await maker.post(f"{KEYS}/{await own_id(maker)}/rotate", {})
    assert await is_good(server, child["key"])


async def test_a_narrow_admin_ends_wider_keys_but_takes_none_over(server: Server, admin: Client) -> None:
    wide = [await create(admin, scopes=["im", "chat"]) for _ in range(2)]
    async with Client(server, await server.new_key("admin")) as client:
        assert (await client.post(f"{KEYS}/{wide[0]['key_id']}/rotate", {})).status_code == 403
        assert (await client.post(f"{KEYS}/{wide[0]['key_id']}/revoke")).status_code == 200
        assert (await client.request("DELETE", f"{KEYS}/{wide[1]['key_id']}")).status_code == 200


# What is written down


async def test_changes_of_keys_are_in_the_audit_trail_and_the_log(server: Server, admin: Client, maker: Client) -> None:
    admin_id, maker_id = await own_id(admin), await own_id(maker)
    stream = io.StringIO()
    with logging_to(stream):
        child = await create(maker)
        await admin.post(f"{KEYS}/{maker_id}/rotate", {})
        await admin.post(f"{KEYS}/{maker_id}/revoke")
        await admin.post(f"{KEYS}/{maker_id}/revoke")
        await server.core.keys.delete(child["key_id"])
    changes = [(each["key_id"], each["action"], each["target"], each["address"]) for each in await entries(admin)]
    assert changes[:5] == [
        (None, "api_key.deleted", child["key_id"], None),
        (admin_id, "api_key.revoked", child["key_id"], "127.0.0.1"),
        (admin_id, "api_key.revoked", maker_id, "127.0.0.1"),
        (admin_id, "api_key.rotated", maker_id, "127.0.0.1"),
        (maker_id, "api_key.created", child["key_id"], "127.0.0.1"),
    ]
    logs = parsed(stream)
    events = [(each["event"], each["id"], each["by"]) for each in logs if each["event"].startswith("key_")]
    assert events[:3] == [
        ("key_created", child["key_id"], maker_id),
        ("key_rotated", maker_id, admin_id),
        ("key_revoked", maker_id, admin_id),
    ]


async def test_the_audit_trail_is_read_in_pages_the_newest_first(server: Server, admin: Client) -> None:
    ids = [(await create(admin, name=f"k{number}"))["key_id"] for number in range(3)]
    first = (await admin.get(AUDIT, limit=2)).json()["data"]
    assert [each["target"] for each in first["entries"]] == [ids[2], ids[1]]
    second = (await admin.get(AUDIT, limit=2, cursor=first["next_cursor"])).json()["data"]
    assert [each["target"] for each in second["entries"]][:1] == [ids[0]]
    assert second["next_cursor"] is None
    for query, code in (({"cursor": "x"}, "invalid_cursor"), ({"limit": "x"}, "invalid_limit")):
        response = await admin.get(AUDIT, **query)
        assert (response.status_code, response.json()["code"]) == (400, code)
    for options in ({"username": "alice"},):
        async with Client(server, await server.new_key("admin", **options)) as bound:
            assert (await bound.get(AUDIT)).status_code == 403
    async with Client(server, await server.new_key("chat")) as other:
        assert (await other.get(AUDIT)).status_code == 403


async def test_answers_about_keys_are_kept_out_of_caches(admin: Client) -> None:
    key = await create(admin)
    for response in (
        await admin.get(KEYS),
        await admin.post(KEYS, {"name": "made", "scopes": ["im"]}),
        await admin.post(f"{KEYS}/{key['key_id']}/rotate", {}),
        await admin.post(f"{KEYS}/{key['key_id']}/revoke"),
    ):
        assert response.headers["Cache-Control"] == "no-store"
        assert response.headers["X-Content-Type-Options"] == "nosniff"


# Faults


@contextmanager
def locked(server: Server) -> Iterator[None]:
    """Another process writes to the database, and does not end."""
    connection = sqlite3.connect(server.settings.data_dir / "palaver.db")
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
    finally:
        connection.rollback()
        connection.close()


@pytest.mark.databases("sqlite")
async def test_a_key_is_revoked_while_the_database_is_locked(
    start_server: StartServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.database.sqlite.BUSY_TIMEOUT_SECONDS", 0.2)
    monkeypatch.setattr("app.lifespan.STORE_REVOCATIONS_EVERY", timedelta(seconds=0.05))
    async with start_server() as server, Client(server, await server.new_key("im", "admin")) as admin:
        leaked = await create(admin)
        async with Client(server, leaked["key"]) as client:
            child = await create(client)
        texts = (leaked["key"], child["key"])
        assert [await is_good(server, text) for text in texts] == [True, True]
        with locked(server):
            response = await admin.post(f"{KEYS}/{leaked['key_id']}/revoke")
            assert (response.status_code, response.json()["data"]["status"]) == (202, "revoked")
            assert "tried again" in response.json()["message"]
            assert [await is_good(server, text) for text in texts] == [False, False]
        async with asyncio.timeout(20):
            while len(await entries(admin)) < 4:
                await asyncio.sleep(0.05)
        stored = {key.id: key.revoked_at for key in await server.core.keys.list_keys()}
        assert stored[leaked["key_id"]] is not None
        assert stored[child["key_id"]] is not None
        assert [await is_good(server, text) for text in texts] == [False, False]
        assert (await admin.post(f"{KEYS}/{leaked['key_id']}/revoke")).status_code == 200


# Clocks


async def test_what_has_expired_stays_so_when_the_clock_goes_back(
    start_server: StartServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def set_clock(moment: datetime) -> None:
        monkeypatch.setattr("app.auth.service.utc_now", lambda: moment)

    now = utc_now()
    async with start_server() as server:
        expiring = await server.new_key("im", expires_in_days=1)
        key, old = await server.core.keys.create(name="k", scopes=["im"])
        _, new = await server.core.keys.rotate(key.id, overlap=timedelta(days=1))
        set_clock(now + timedelta(days=2))
        assert [await is_good(server, text) for text in (expiring, old, new)] == [False, False, True]
        set_clock(now)
        assert [await is_good(server, text) for text in (expiring, old, new)] == [False, False, True]
    async with start_server() as server:  # the clock is a process's no longer
        assert [await is_good(server, text) for text in (expiring, old, new)] == [False, False, True]
        assert datetime.now(UTC) < now + timedelta(days=1)


# Guesses


@pytest.mark.databases("sqlite")
async def test_who_guesses_keys_is_slowed_and_good_keys_are_not(
    server: Server, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guesses, "FREE_GUESSES", 3)
    monkeypatch.setattr(guesses, "INTERVAL_SECONDS", 2.0)
    async with Client(server, "plv_wrong") as stranger:
        for _ in range(3):
            assert (await asyncio.wait_for(stranger.get("/api/v1/im/bots"), 1.5)).status_code == 401
        fourth = asyncio.create_task(stranger.get("/api/v1/im/bots"))
        for _ in range(3):
            assert (await client.get("/api/v1/im/bots")).status_code == 200
        assert not fourth.done()
        assert (await fourth).status_code == 401


async def test_only_so_many_addresses_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guesses, "MAX_ADDRESSES", 10)
    limit = guesses.GuessLimit()
    for number in range(50):
        await limit.slow_down(f"192.0.2.{number}")
    for number in range(50):  # one network
        await limit.slow_down(f"2001:db8::{number:x}%eth0")
    assert len(limit._full_at) == 10
