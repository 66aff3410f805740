"""`/api/kernel2/roles`: Second Me's roles, and whose they are."""

import asyncio
from datetime import datetime
from typing import Any

from tests.support.client import Client
from tests.support.server import Server

ROLES = "/api/kernel2/roles"
PIRATE = {"name": "Pirate", "system_prompt": "You are a pirate."}


async def create(client: Client, **values: Any) -> dict[str, Any]:
    response = await client.post(ROLES, {**PIRATE, **values})
    assert response.status_code == 200, response.text
    body = response.json()
    assert (body["code"], body["message"]) == (0, "success")
    return dict(body["data"])


async def names(client: Client, **params: Any) -> list[str]:
    return [role["name"] for role in (await client.get(ROLES, **params)).json()["data"]]


async def put(client: Client, uuid: str, **values: Any) -> Any:
    return await client.request("PUT", f"{ROLES}/{uuid}", json=values)


async def test_a_role_is_made_read_changed_and_deleted(client: Client) -> None:
    made = await create(client, description="Talks like one", icon="🏴‍☠️", enable_l0_retrieval=True, collections=["sea"])
    assert made == {
        **PIRATE,
        "uuid": made["uuid"],
        "description": "Talks like one",
        "icon": "🏴‍☠️",
        "is_active": True,
        "enable_l0_retrieval": True,
        "owner": "",
        "config_id": None,
        "collections": ["sea"],
        "tools": None,
        "begin_dialogs": [],
        "create_time": made["update_time"],
        "update_time": made["update_time"],
    }
    assert datetime.fromisoformat(made["create_time"]).utcoffset() is not None
    one = await client.get(f"{ROLES}/{made['uuid']}")
    assert one.json() == {"code": 0, "message": "success", "data": made}

    changed = (await put(client, made["uuid"], is_active=False, config_id="default", icon=None)).json()["data"]
    assert changed == {
        **made,
        "is_active": False,
        "config_id": "default",
        "update_time": changed["update_time"],
    }
    assert changed["update_time"] > made["update_time"]
    assert (await put(client, made["uuid"], config_id=None, collections=[])).json()["data"]["config_id"] is None

    gone = await client.request("DELETE", f"{ROLES}/{made['uuid']}")
    assert gone.json() == {"code": 0, "message": "success", "data": None}
    for response in (
        await client.get(f"{ROLES}/{made['uuid']}"),
        await put(client, made["uuid"], name="x"),
        await client.request("DELETE", f"{ROLES}/{made['uuid']}"),
    ):
        assert response.status_code == 404
        assert response.json() == {"success": False, "message": "Role not found", "code": 404}


async def test_roles_are_listed_in_their_order_and_by_what_they_are(client: Client) -> None:
    for name in ("b", "a", "c"):
        await create(client, name=name, is_active=name != "a")
    assert await names(client) == ["b", "a", "c"]
    assert await names(client, is_active="true") == ["b", "c"]
    assert await names(client, is_active="false") == ["a"]
    assert (await client.get(ROLES, is_active="perhaps")).status_code == 400


TAKEN: list[dict[str, Any]] = [
    {"name": "x" * 100, "description": "y" * 500, "system_prompt": "z" * 100_000},
    {"name": "  Captain  "},
    {"name": "船长 🏴‍☠️", "icon": "data:image/png;base64," + "A" * 16_000},
    {"description": None, "icon": None, "is_active": None, "collections": None, "config_id": None},
    {"name": "Mate", "begin_dialogs": ["Who goes there?", "Arr, a friend."]},
    {"name": "Cook", "something": "that Second Me may add"},
]


async def test_what_fits_is_taken(client: Client) -> None:
    for values in TAKEN:
        made = await create(client, **values)
        assert made["name"] == values.get("name", "Pirate").strip()
        assert (await client.get(f"{ROLES}/{made['uuid']}")).json()["data"] == made


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"name": ""}, "name"),
    ({"name": " "}, "name"),
    ({"name": "x" * 101}, "name"),
    ({"name": "a\nb"}, "name"),
    ({"name": None}, "name"),
    ({"description": "x" * 501}, "description"),
    ({"description": "\x00"}, "description"),
    ({"system_prompt": ""}, "system_prompt"),
    ({"system_prompt": "\n"}, "system_prompt"),
    ({"system_prompt": "x" * 100_001}, "system_prompt"),
    ({"icon": "x" * 16_385}, "icon"),
    ({"is_active": "yes"}, "is_active"),
    ({"enable_l0_retrieval": 1}, "enable_l0_retrieval"),
    ({"config_id": "nowhere"}, "config_id"),
    ({"collections": "sea"}, "collections"),
    ({"collections": ["x" * 101]}, "collections"),
    ({"collections": ["x"] * 51}, "collections"),
    ({"owner": "a\nb"}, "owner"),
    ({"begin_dialogs": ["Who goes there?"]}, "begin_dialogs"),
    ({"begin_dialogs": ["Who goes there?", " "]}, "begin_dialogs"),
    ({"begin_dialogs": ["x", "y" * 8_001]}, "begin_dialogs"),
    ({"begin_dialogs": ["x", "y"] * 33}, "begin_dialogs"),
    ({"begin_dialogs": "Who goes there?"}, "begin_dialogs"),
]


async def test_what_does_not_fit_is_refused_by_its_name(client: Client) -> None:
    made = await create(client, name="There")
    for values, named in REFUSED:
        refused = [await client.post(ROLES, {**PIRATE, **values})]
        if values != {"name": None}:
            refused.append(await put(client, made["uuid"], **values))
        for response in refused:
            body = response.json()
            assert (response.status_code, body["success"], body["code"]) == (400, False, 400)
            assert named in body["message"]
    assert (await client.get(ROLES)).json()["data"] == [made]


async def test_a_dialogue_stays_until_it_is_taken_away(client: Client) -> None:
    dialogue = ["Who goes there?", "Arr, a friend."]
    made = await create(client, begin_dialogs=dialogue)
    for values, kept in (({"icon": "x"}, dialogue), ({"begin_dialogs": None}, dialogue), ({"begin_dialogs": []}, [])):
        assert (await put(client, made["uuid"], **values)).json()["data"]["begin_dialogs"] == kept


async def test_name_and_prompt_are_wanted(client: Client) -> None:
    for missing in PIRATE:
        body = {name: value for name, value in PIRATE.items() if name != missing}
        response = await client.post(ROLES, body)
        assert response.status_code == 400
        assert missing in response.json()["message"]


async def test_a_name_is_given_once(client: Client, alice: Client) -> None:
    both = await asyncio.gather(*(client.post(ROLES, PIRATE) for _ in range(2)))
    assert sorted(response.status_code for response in both) == [200, 409]
    assert (await client.post(ROLES, {**PIRATE, "name": " Pirate "})).json()["code"] == 409
    other = await create(client, name="Cook")
    assert (await put(client, other["uuid"], name="Pirate")).status_code == 409
    assert (await create(alice))["owner"] == "alice"  # whose roles are their own


async def test_users_see_their_own_and_the_shared_roles_and_change_only_theirs(
    client: Client, alice: Client, bob: Client
) -> None:
    shared = await create(client, name="Shared")
    hers = await create(alice, name="Hers")
    his = await create(client, name="His", owner="bob")
    assert (await names(alice), await names(bob)) == (["Shared", "Hers"], ["Shared", "His"])
    assert await names(client) == ["Shared", "Hers", "His"]
    assert (hers["owner"], his["owner"]) == ("alice", "bob")

    assert (await alice.get(f"{ROLES}/{shared['uuid']}")).status_code == 200
    assert (await alice.get(f"{ROLES}/{his['uuid']}")).status_code == 404
    assert (await alice.get(f"{ROLES}/{shared['uuid']}")).json()["data"]["begin_dialogs"] is None
    assert (await alice.get(f"{ROLES}/{hers['uuid']}")).json()["data"]["begin_dialogs"] == []
    for uuid, status in ((shared["uuid"], 403), (his["uuid"], 404)):
        assert (await put(alice, uuid, name="Mine")).status_code == status
        assert (await alice.request("DELETE", f"{ROLES}/{uuid}")).status_code == status
    for owner in ("", "bob"):
        assert (await alice.post(ROLES, {**PIRATE, "owner": owner})).status_code == 403
        assert (await put(alice, hers["uuid"], owner=owner)).status_code == 403
    assert (await put(alice, hers["uuid"], name="Mine", owner="alice")).json()["data"]["name"] == "Mine"
    assert (await put(client, his["uuid"], owner="")).json()["data"]["owner"] == ""
    assert await names(alice) == ["Shared", "Mine", "His"]
    assert (await alice.request("DELETE", f"{ROLES}/{hers['uuid']}")).status_code == 200


async def test_one_user_cannot_fill_the_database(client: Client, alice: Client, monkeypatch: Any) -> None:
    from app.roles import service

    monkeypatch.setattr(service, "MAX_ROLES_PER_OWNER", 2)
    for name in ("a", "b"):
        await create(alice, name=name)
    moved = await create(client, name="c")
    assert (await alice.post(ROLES, {**PIRATE, "name": "d"})).status_code == 409
    assert (await put(client, moved["uuid"], owner="alice")).status_code == 409


async def test_roles_want_the_scope_chat(server: Server) -> None:
    async with Client(server, None) as nobody:
        assert (await nobody.get(ROLES)).json() == {"success": False, "message": "Missing API key", "code": 401}
    async with Client(server, await server.new_key("config", "file", "im")) as other:
        response = await other.post(ROLES, PIRATE)
        assert response.json() == {"success": False, "message": "Insufficient API key scope", "code": 403}
