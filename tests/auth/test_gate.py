"""Scopes: each route has one, a key without it is refused, and a route that declares none is closed."""

import io

import pytest
from quart import Response

from app.auth.keytext import new_key_text
from app.auth.scopes import Scope
from app.auth.trail import AUDIT
from app.edge.operation import ANY_KEY, PUBLIC, operation_of
from tests.conftest import StartServer
from tests.support.client import Client
from tests.support.logs import logging_to
from tests.support.server import Server

ROUTES = {
    "chat": ("GET", "/api/v1/chat/sessions?username=alice", 200),
    "config": ("GET", "/api/v1/configs", 200),
    "file": ("GET", "/api/v1/file?attachment_id=unknown", 404),
    "im": ("GET", "/api/v1/im/bots", 200),
    "admin": ("GET", "/api/v1/api-keys", 200),
}
OPEN = {
    "/",
    # Platforms sign what they send.
    "/api/platform/webhook/<webhook_uuid>",
    "/api/v1/im/onebot/<bot_id>/ws",
    "/api/v1/im/webhooks/<bot_id>",
    "/api/v1/browser-sessions",
    "/health",
    "/ready",
    "/metrics",
    "/docs",
    "/dashboard",
    "/openapi.json",
    "/api/v1/openapi.json",
    "/openapi-3.0.json",
}


@pytest.mark.parametrize("own_scope", list(ROUTES))
async def test_a_key_opens_what_its_scope_says_and_nothing_else(server: Server, own_scope: str) -> None:
    async with Client(server, await server.new_key(own_scope)) as client:
        for scope, (method, path, status) in ROUTES.items():
            answer = await client.request(method, path)
            if scope == own_scope:
                assert answer.status_code == status
            else:
                assert (answer.status_code, answer.json()["message"]) == (403, "Insufficient API key scope")
                assert answer.json()["code"] == "insufficient_scope"


def test_every_route_declares_its_scope(server: Server) -> None:
    open_to_all = set()
    for rule in server.app.url_map.iter_rules():
        operation = operation_of(server.app.view_functions[rule.endpoint])
        assert operation is not None, rule
        if operation.scope == PUBLIC:
            open_to_all.add(rule.rule)
        else:
            assert operation.scope in {ANY_KEY, *Scope}, rule
    assert {rule for rule in open_to_all if not rule.startswith(("/docs/assets/", "/dashboard/assets/"))} == OPEN


def test_every_change_with_admin_rights_is_written_down(server: Server) -> None:
    unwritten = set()
    for rule in server.app.url_map.iter_rules():
        view = server.app.view_functions[rule.endpoint]
        operation = operation_of(view)
        changes = (rule.methods or set()) & {"POST", "PUT", "PATCH", "DELETE"}
        if operation is not None and operation.scope == Scope.ADMIN and changes and AUDIT not in view.__dict__:
            unwritten.add(rule.rule)
    # Keys are written down in their own transactions, and a test changes nothing.
    of_keys = {each for each in unwritten if each.startswith("/api/v1/api-keys")}
    assert {each for each in unwritten - of_keys if not each.endswith("/test")} == set()


async def test_defect_22_a_route_without_a_declared_scope_is_closed(server: Server, admin: Client) -> None:
    ran = False

    async def forgotten() -> Response:
        nonlocal ran
        ran = True
        return Response("secret")

    server.app.add_url_rule("/api/v1/forgotten", view_func=forgotten, methods=["GET", "POST"])
    for method in ("GET", "HEAD", "POST"):
        answer = await admin.http.request(method, "/api/v1/forgotten")
        assert answer.status_code == 403
        assert "secret" not in answer.text
    assert not ran


async def test_defect_22_keys_are_not_logged(start_server: StartServer) -> None:
    lines = io.StringIO()
    async with start_server(allow_query_keys=True, api_keys="agent=lang-agent-key-of-old-times") as server:
        key, wrong = await server.new_key("admin"), new_key_text()
        with logging_to(lines, "debug"):
            async with Client(server, None) as client:
                for text in (key, wrong, "lang-agent-key-of-old-times", "no key at all"):
                    for headers in ({"X-API-Key": text}, {"Authorization": f"Bearer {text}"}):
                        await client.request("GET", "/api/v1/api-keys", headers=headers)
                    await client.get("/api/v1/api-keys", api_key=text)
                response = await client.post(f"/api/v1/api-keys?key={key}", {"name": "made", "scopes": ["admin"]})
    logged = lines.getvalue()
    assert logged.count('"event":"request"') + logged.count('"event": "request"') == 13
    for text in (key, wrong, "lang-agent-key-of-old-times", "no key at all", response.json()["data"]["key"]):
        assert text not in logged
        assert text[-8:] not in logged


async def test_what_does_not_exist_needs_no_key(stranger: Client) -> None:
    assert (await stranger.request("GET", "/api/v1/nothing")).status_code == 404
    assert (await stranger.request("PUT", "/api/v1/api-keys")).status_code == 405


async def test_a_refused_key_is_refused_before_the_body_is_looked_at(stranger: Client) -> None:
    answer = await stranger.request("POST", "/api/v1/api-keys", content=b"{not json")
    assert answer.status_code == 401
