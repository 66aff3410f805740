"""`/api/v1/config-profiles`: profiles are edited over HTTP and in their files, and neither overwrites the other."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from app.database.errors import DatabaseUnavailable
from app.profiles.models import ProfileFile
from app.profiles.schemas import ProfileFields
from tests.conftest import StartServer
from tests.support.client import Client
from tests.support.model_server import ModelServer
from tests.support.server import Server

PATH = "/api/v1/config-profiles"
POET = {"id": "poet", "name": "Poet", "system_prompt": "Answer in verse.", "parameters": {"temperature": 1}}
FILE = """\
# What the poet is like.
name = "Poet"  # for the list
model = "verse-1"

[parameters]
# Not too dull.
temperature = 1.2

[history]  # all of it
max_messages = 20
"""


MATTERMOST = {"mattermost_url": "https://chat.example.com", "mattermost_bot_token": "secret"}
SEND = {"username": "alice", "message": "Hi"}


def unavailable(*_: object) -> None:
    raise DatabaseUnavailable


@pytest.fixture
async def admin(server: Server) -> AsyncIterator[Client]:
    async with Client(server, await server.new_key("chat", "config", "file", "im", "admin")) as client:
        yield client


def file_of(server: Server, id: str) -> Path:
    return server.settings.data_dir / "configs" / f"{id}.toml"


async def edit(client: Client, method: str, path: str, body: Any = None, etag: str | None = "*") -> httpx2.Response:
    headers = {} if etag is None else {"If-Match": etag}
    return await client.request(method, f"{PATH}/{path}", json=body, headers=headers)


def refusal(answer: httpx2.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["code"]


async def test_a_profile_is_created_used_changed_renamed_and_deleted(
    server: Server, admin: Client, model: ModelServer
) -> None:
    answer = await admin.post(PATH, POET)
    assert answer.status_code == 201, answer.text
    data = answer.json()["data"]
    assert (data["id"], data["name"], data["parameters"], data["history"]["max_messages"]) == (
        "poet",
        "Poet",
        {"temperature": 1.0},
        50,
    )
    await admin.chat("Hi", config_id="poet", session_id="s1")
    assert model.requests[-1].body["messages"][0] == {"role": "system", "content": "Answer in verse."}
    assert model.requests[-1].body["temperature"] == 1
    changed = await edit(admin, "PATCH", "poet", {"system_prompt": None, "model": "verse-2", "parameters": {"seed": 7}})
    assert changed.json()["data"]["parameters"] == {"temperature": 1.0, "seed": 7}
    assert changed.headers["etag"] != answer.headers["etag"]
    assert (await edit(admin, "POST", "poet/rename", {"id": "bard"})).json()["data"]["name"] == "Poet"
    assert refusal(await admin.get(f"{PATH}/poet")) == (404, "config_not_found")
    await admin.chat("Again", session_id="s1")  # the session has followed
    assert model.requests[-1].body["model"] == "verse-2"
    listed = (await admin.get(PATH)).json()["data"]["profiles"]
    assert [each["id"] for each in listed] == ["default", "bard"]
    assert (await edit(admin, "DELETE", "bard")).status_code == 200
    assert not file_of(server, "bard").exists()
    entries = (await admin.get("/api/v1/audit")).json()["data"]["entries"]
    assert [(each["action"], each["target"]) for each in entries[:4]] == [
        ("profile.deleted", "bard"),
        ("profile.renamed", "poet to bard"),
        ("profile.changed", "poet"),
        ("profile.created", "poet"),
    ]


async def test_what_names_a_profile_follows_its_new_id(server: Server, admin: Client, model: ModelServer) -> None:
    await admin.post(PATH, POET)
    await admin.post(PATH, {"id": "other"})
    made = (
        await admin.post("/api/v1/api-keys", {"name": "k", "scopes": ["chat"], "configs": ["other", "poet"]})
    ).json()
    bot = {"id": "b1", "adapter": "mattermost", "enabled": False, "config": {**MATTERMOST, "config_id": "poet"}}
    assert (await admin.post("/api/v1/bots", bot)).status_code == 201
    async with Client(server, made["data"]["key"]) as limited:
        assert (await limited.post("/api/v1/chat", {**SEND, "config_id": "poet"})).status_code == 200
        assert (await edit(admin, "POST", "poet/rename", {"id": "bard"})).status_code == 200
        answer = await limited.post("/api/v1/chat", {**SEND, "config_id": "bard"})
        assert answer.status_code == 200, answer.text
        assert (await limited.get("/api/v1/me")).json()["data"]["configs"] == ["other", "bard"]
    assert (await admin.get("/api/v1/bots/b1")).json()["data"]["config"]["config_id"] == "bard"


async def test_a_profile_keeps_its_id_when_nothing_can_follow(
    server: Server, admin: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    await admin.post(PATH, POET)
    with monkeypatch.context() as patch:
        patch.setattr("app.parts.rename_config_of_bots", unavailable)
        assert refusal(await edit(admin, "POST", "poet/rename", {"id": "bard"})) == (503, "database_unavailable")
    assert file_of(server, "poet").exists()
    assert not file_of(server, "bard").exists()
    assert (await edit(admin, "POST", "poet/rename", {"id": "bard"})).status_code == 200


async def test_comments_and_the_order_of_a_file_stay(server: Server, admin: Client) -> None:
    file_of(server, "poet").write_text(FILE)
    assert (await edit(admin, "PATCH", "poet", {"model": "verse-2", "max_retries": 1})).status_code == 200
    expected = FILE.replace("verse-1", "verse-2").replace('"verse-2"\n', '"verse-2"\nmax_retries = 1\n')
    assert file_of(server, "poet").read_text().replace("\n\n", "\n") == expected.replace("\n\n", "\n")
    data = (await admin.get(f"{PATH}/poet")).json()["data"]
    assert (await edit(admin, "PUT", "poet", data)).status_code == 200  # what was read can be sent back
    assert "# Not too dull." in file_of(server, "poet").read_text()
    assert (await admin.get(f"{PATH}/poet")).json()["data"] == data


async def test_an_edit_in_the_file_and_one_over_http_do_not_overwrite_each_other(server: Server, admin: Client) -> None:
    file_of(server, "poet").write_text(FILE)
    etag = (await admin.get(f"{PATH}/poet")).headers["etag"]
    file_of(server, "poet").write_text(FILE.replace("Poet", "Bard"))
    for method, path, body in (
        ("PUT", "poet", {"name": "Mine"}),
        ("PATCH", "poet", {"name": "Mine"}),
        ("POST", "poet/rename", {"id": "mine"}),
        ("DELETE", "poet", None),
    ):
        assert refusal(await edit(admin, method, path, body, etag)) == (412, "precondition_failed")
        assert refusal(await edit(admin, method, path, body, None)) == (428, "precondition_required")
    assert file_of(server, "poet").read_text() == FILE.replace("Poet", "Bard")
    etag = (await admin.get(f"{PATH}/poet")).headers["etag"]
    answers = await asyncio.gather(*(edit(admin, "PATCH", "poet", {"name": str(n)}, etag) for n in range(8)))
    assert sorted(answer.status_code for answer in answers) == [200] + [412] * 7


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ({"parameters": {"temperature": 9}}, "`$.parameters.temperature`"),
        ({"parametres": {}}, "`parametres`"),
        ({"name": ""}, "`$.name`"),
        ({"provider": "nowhere"}, "provider not found: nowhere"),
        ({"fallbacks": ["nowhere"]}, "provider not found: nowhere"),
        ({"tools": {"use": "now"}}, "`$.tools.use`"),
    ],
)
async def test_settings_that_make_no_profile_are_refused_and_change_nothing(
    server: Server, admin: Client, values: dict[str, Any], problem: str
) -> None:
    file_of(server, "poet").write_text(FILE)
    for answer in (
        await admin.post(PATH, {"id": "new", **values}),
        await edit(admin, "PUT", "poet", values),
        await edit(admin, "PATCH", "poet", values),
    ):
        assert refusal(answer) == (400, "invalid_profile")
        assert problem in answer.json()["message"]
    check = (await admin.post(f"{PATH}/poet/validate", values)).json()["data"]
    assert (check["valid"], len(check["problems"])) == (False, 1)
    assert (await admin.post(f"{PATH}/new/validate", {"name": "x"})).json()["data"] == {"valid": True, "problems": []}
    assert file_of(server, "poet").read_text() == FILE
    assert not file_of(server, "new").exists()


async def test_ids_that_are_none_and_those_that_there_are(server: Server, admin: Client) -> None:
    for id in ("../poet", "a/b", "", ".hidden", "x" * 101, "a b", "schema", 7, None):
        assert refusal(await admin.post(PATH, {**POET, "id": id})) == (400, "invalid_profile")
    assert (await admin.post(PATH, POET)).status_code == 201
    assert refusal(await admin.post(PATH, POET)) == (409, "config_exists")
    assert refusal(await edit(admin, "POST", "poet/rename", {"id": "default"})) == (409, "config_exists")
    assert refusal(await edit(admin, "POST", "poet/rename", {"id": "../x"})) == (400, "invalid_profile")
    assert refusal(await edit(admin, "PUT", "poet", {"id": "bard"})) == (400, "invalid_profile")
    for method, path, body in (("DELETE", "default", None), ("POST", "default/rename", {"id": "x"})):
        assert refusal(await edit(admin, method, path, body)) == (409, "config_is_default")
    assert (await edit(admin, "PATCH", "default", {"system_prompt": "Be brief."})).status_code == 200
    assert refusal(await edit(admin, "PUT", "unknown", {})) == (404, "config_not_found")
    folder = {path.name for path in (server.settings.data_dir / "configs").iterdir()}
    assert folder == {"default.toml", "poet.toml", ".editing.lock"}


async def test_a_broken_file_can_be_replaced_and_not_patched(server: Server, admin: Client) -> None:
    file_of(server, "poet").write_text(FILE)
    await admin.get(f"{PATH}/poet")
    file_of(server, "poet").write_text("name = ")
    data = (await admin.get(f"{PATH}/poet")).json()["data"]
    assert data["problem"].startswith("poet.toml: ")
    assert data["model"] == "verse-1"
    assert refusal(await edit(admin, "PATCH", "poet", {"model": "m"})) == (409, "config_broken")
    assert (await edit(admin, "PUT", "poet", {"name": "Poet"})).json()["data"]["problem"] is None


async def test_who_may_read_and_who_may_write(start_server: StartServer) -> None:
    writes = [("POST", PATH, POET), *((m, f"{PATH}/default", {"name": "x"}) for m in ("PUT", "PATCH", "DELETE"))]
    async with start_server() as server:
        async with Client(server, await server.new_key("config")) as reader:
            schema = (await reader.get(f"{PATH}/schema")).json()["data"]["schema"]
            assert "ProfileFile" in schema["$defs"]
            assert (await reader.get(f"{PATH}/default")).status_code == 200
            for method, path, body in writes:
                answer = await reader.request(method, path, json=body, headers={"If-Match": "*"})
                assert refusal(answer) == (403, "insufficient_scope")
        async with Client(server, await server.new_key("config", "admin", username="alice")) as alice:
            for method, path, body in [("GET", PATH, None), ("GET", f"{PATH}/default", None), *writes]:
                answer = await alice.request(method, path, json=body, headers={"If-Match": "*"})
                assert refusal(answer) == (403, "username_not_allowed")
        async with Client(server, await server.new_key("chat")) as other:
            assert refusal(await other.get(PATH)) == (403, "insufficient_scope")


def test_the_document_knows_every_setting_of_a_profile() -> None:
    assert set(ProfileFields.__struct_fields__) == set(ProfileFile.__struct_fields__)
