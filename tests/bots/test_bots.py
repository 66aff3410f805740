"""`/api/v1/bots`: managing bots, and keeping their secrets."""

from typing import Any

import pytest

from app.bots.adapters.signing import new_secret
from tests.bots.conftest import Im
from tests.support.webhook_receiver import WebhookReceiver

HOOK = {"id": "support-hook", "adapter": "webhook", "config": {"url": "https://hooks.example.com/palaver"}}


async def test_a_bot_is_created_shown_listed_changed_and_deleted(im: Im) -> None:
    status, answer = await im.call("POST", "/api/v1/bots", {**HOOK, "name": "Support"})
    assert status == 201
    bot = answer["data"]
    assert {key: bot[key] for key in ("id", "adapter", "name", "enabled", "config")} == {
        **HOOK,
        "name": "Support",
        "enabled": True,
    }
    assert bot["created_at"] == bot["updated_at"]
    del bot["generated_secrets"]
    assert (await im.call("GET", "/api/v1/bots/support-hook"))[1]["data"] == {**bot, "connection": None}
    assert (await im.call("GET", "/api/v1/bots"))[1]["data"] == {"bots": [bot]}

    status, answer = await im.call("PATCH", "/api/v1/bots/support-hook", {"name": " Help ", "enabled": False})
    assert (status, answer["data"]["name"], answer["data"]["enabled"]) == (200, "Help", False)
    assert answer["data"]["config"] == HOOK["config"]
    assert answer["data"]["updated_at"] > bot["updated_at"]

    status, answer = await im.call("DELETE", "/api/v1/bots/support-hook")
    assert (status, answer["data"]) == (200, {})
    for method in ("GET", "DELETE"):
        status, answer = await im.call(method, "/api/v1/bots/support-hook")
        assert (status, answer["message"]) == (404, "Bot not found")
    assert (await im.call("PATCH", "/api/v1/bots/support-hook", {}))[0] == 404


async def test_a_bot_is_named_like_its_id_unless_it_has_a_name(im: Im) -> None:
    assert (await im.call("POST", "/api/v1/bots", HOOK))[1]["data"]["name"] == "support-hook"


@pytest.mark.databases("sqlite")  # refused before the database is asked
@pytest.mark.parametrize(
    ("change", "status", "message"),
    [
        ({"id": "webchat"}, 400, "id is reserved: webchat"),
        ({"id": "a:b"}, 400, None),
        ({"id": ""}, 400, None),
        ({"id": "a\n"}, 400, None),
        ({"id": ".."}, 400, None),
        ({"id": "x" * 65}, 400, None),
        ({"id": 5}, 400, None),
        ({"adapter": "smoke"}, 400, "Unknown adapter: smoke (known: recording, webhook)"),
        ({"name": " "}, 400, None),
        ({"name": "x" * 101}, 400, None),
        ({"config": None}, 400, None),
        ({"config": {}}, 400, "config: Object missing required field `url`"),
        ({"config": {"url": 5}}, 400, None),
        ({"config": {"url": "https://a.example", "colour": "red"}}, 400, None),
        (
            {"config": {"url": "ftp://a.example"}},
            400,
            "config: url must start with http:// or https:// and name a host",
        ),
        ({"config": {"url": "file:///etc/passwd"}}, 400, None),
        ({"config": {"url": "https://"}}, 400, None),
        ({"config": {"url": "https://[::1"}}, 400, None),
        ({"config": {"url": "https://a.example:99999"}}, 400, None),
        ({"config": {"url": "https://me:pass@a.example"}}, 400, "config: url must not hold a username or password"),
        ({"config": {"url": "https://a.example/" + "x" * 3000}}, 400, None),
        ({"enabled": "yes"}, 400, None),
    ],
)
async def test_what_makes_no_bot_is_refused(im: Im, change: dict[str, Any], status: int, message: str | None) -> None:
    actual, answer = await im.call("POST", "/api/v1/bots", {**HOOK, **change})
    assert actual == status, answer
    assert message in (None, answer["message"])
    assert (await im.call("GET", "/api/v1/bots"))[1]["data"] == {"bots": []}


async def test_two_bots_do_not_share_an_id(im: Im) -> None:
    await im.call("POST", "/api/v1/bots", HOOK)
    status, answer = await im.call("POST", "/api/v1/bots", HOOK)
    assert (status, answer["message"]) == (409, "Bot already exists: support-hook")


async def test_only_admins_manage_bots(im: Im) -> None:
    key = await im.server.new_key("im", "chat", "file", "config")
    calls = [
        ("GET", "/api/v1/bots", None),
        ("POST", "/api/v1/bots", HOOK),
        ("GET", "/api/v1/bots/x", None),
        ("PATCH", "/api/v1/bots/x", {}),
        ("DELETE", "/api/v1/bots/x", None),
        ("POST", "/api/v1/bots/x/test", None),
        ("GET", "/api/v1/bots/x/pairings", None),
        ("POST", "/api/v1/bots/x/pairings/y", {"approve": True}),
        ("GET", "/api/v1/im/adapters", None),
    ]
    for method, path, body in calls:
        assert (await im.call(method, path, body, key=key))[0] == 403


@pytest.mark.parametrize("bot_id", ["unknown", "a%00b", "x" * 300])
async def test_a_bot_that_does_not_exist(im: Im, bot_id: str) -> None:
    for method, body in (("GET", None), ("PATCH", {}), ("DELETE", None)):
        status, answer = await im.call(method, f"/api/v1/bots/{bot_id}", body)
        assert (status, answer["code"]) == (404, "bot_not_found")


async def test_the_kinds_of_bots_are_listed_with_the_schemas_of_their_settings(im: Im) -> None:
    _, answer = await im.call("GET", "/api/v1/im/adapters")
    kinds = {kind["name"]: kind for kind in answer["data"]["adapters"]}
    assert set(kinds) == {"recording", "webhook"}
    assert set(kinds["webhook"]["schema"]["properties"]) == {"url", "secret"}
    assert kinds["webhook"]["secret_fields"] == ["secret"]
    assert kinds["webhook"]["schema"]["required"] == ["url"]  # a secret is made unless one is given


@pytest.mark.parametrize("path", ["/test", "/pairings", "/pairings/x"])
async def test_what_belongs_to_a_bot_that_does_not_exist(im: Im, path: str) -> None:
    method = "GET" if path == "/pairings" else "POST"
    body = {"approve": True} if path == "/pairings/x" else None
    status, _ = await im.call(method, f"/api/v1/bots/nobody{path}", body)
    assert status == 404


async def test_a_bot_that_cannot_tell_who_it_is_is_not_tested(im: Im) -> None:
    await im.call("POST", "/api/v1/bots", HOOK)
    status, answer = await im.call("POST", "/api/v1/bots/support-hook/test")
    assert (status, answer["code"]) == (400, "not_testable")


# Secrets


async def test_a_generated_secret_is_shown_once(im: Im) -> None:
    _, answer = await im.call("POST", "/api/v1/bots", HOOK)
    secret = answer["data"]["generated_secrets"]["secret"]
    assert secret.startswith("whsec_")
    for path in ("/api/v1/bots", "/api/v1/bots/support-hook"):
        assert secret not in str(await im.call("GET", path))
    _, answer = await im.call("PATCH", "/api/v1/bots/support-hook", {"name": "x"})
    assert answer["data"]["generated_secrets"] == {}
    assert secret not in str(answer)


async def test_a_given_secret_is_never_shown(im: Im) -> None:
    secret = new_secret()
    config = {**HOOK["config"], "secret": secret}  # type: ignore[dict-item]
    _, created = await im.call("POST", "/api/v1/bots", {**HOOK, "config": config})
    _, updated = await im.call("PATCH", "/api/v1/bots/support-hook", {"config": {"secret": secret}})
    pages = [await im.call("GET", path) for path in ("/api/v1/bots", "/api/v1/bots/support-hook")]
    assert created["data"]["generated_secrets"] == {}
    assert secret not in str([created, updated, *pages])
    assert secret not in str(await im.service.list_bots())


@pytest.mark.parametrize(
    "secret", ["hunter2hunter2", "whsec_", "whsec_c2hvcnQ=", "whsec_!!!notbase64!!!", "whsec_é", 7]
)
async def test_a_secret_of_the_wrong_form_is_refused_and_not_repeated(im: Im, secret: Any) -> None:
    status, answer = await im.call("POST", "/api/v1/bots", {**HOOK, "config": {**HOOK["config"], "secret": secret}})  # type: ignore[dict-item]
    assert status == 400
    assert str(secret).removeprefix("whsec_") in ("", "7") or str(secret) not in answer["message"]


@pytest.mark.databases("sqlite")  # the files are read
async def test_secrets_are_encrypted_at_rest(im: Im) -> None:
    _, answer = await im.call("POST", "/api/v1/bots", HOOK)
    secret = answer["data"]["generated_secrets"]["secret"].removeprefix("whsec_").encode()
    content = b"".join(file.read_bytes() for file in im.server.settings.data_dir.glob("palaver.db*"))
    assert b"hooks.example.com" in content
    assert secret not in content
    assert b"whsec_" not in content


async def test_a_new_secret_can_be_asked_for(im: Im, receiver: WebhookReceiver) -> None:
    await im.new_hook(receiver)
    _, answer = await im.call("PATCH", "/api/v1/bots/support-hook", {"config": {"secret": None}})
    old, receiver.secret = receiver.secret, answer["data"]["generated_secrets"]["secret"]
    assert receiver.secret != old
    await im.send("support-hook:FriendMessage:1")
    assert [request.verified for request in receiver.received] == [True]


async def test_the_secret_stays_when_the_url_changes(im: Im, receiver: WebhookReceiver) -> None:
    await im.new_hook(receiver)
    _, answer = await im.call("PATCH", "/api/v1/bots/support-hook", {"config": {"url": receiver.url + "/2"}})
    assert answer["data"]["generated_secrets"] == {}
    await im.send("support-hook:FriendMessage:1")
    assert [(request.path, request.verified) for request in receiver.received] == [("/hook/2", True)]


async def test_a_change_that_makes_no_bot_changes_nothing(im: Im) -> None:
    await im.call("POST", "/api/v1/bots", HOOK)
    status, _ = await im.call("PATCH", "/api/v1/bots/support-hook", {"name": "New", "config": {"url": "gopher://x"}})
    assert status == 400
    _, answer = await im.call("GET", "/api/v1/bots/support-hook")
    assert (answer["data"]["name"], answer["data"]["config"]) == ("support-hook", HOOK["config"])


# Adapters come and go with their bots


async def test_an_adapter_is_closed_when_its_bot_changes_or_goes(im: Im) -> None:
    await im.call("POST", "/api/v1/bots", {"id": "rec", "adapter": "recording", "config": {}})
    await im.send("rec:FriendMessage:1")
    assert im.platform.times_closed == 0
    await im.call("PATCH", "/api/v1/bots/rec", {"name": "x"})
    assert im.platform.times_closed == 1
    await im.send("rec:FriendMessage:1")
    await im.call("DELETE", "/api/v1/bots/rec")
    assert im.platform.times_closed == 2
    assert (await im.send("rec:FriendMessage:1"))[0] == 404
