"""What browsers are told of pages of other origins."""

from typing import Any

import pytest
from quart import Quart, websocket
from quart.testing.connections import WebsocketDisconnectError

from app.edge.cors import install_cors
from app.edge.errors import install_errors
from app.edge.request_log import install_request_log
from app.edge.responses import ok
from app.telemetry.metrics import Metrics

FRIEND = "https://chat.example.com"


def make_app(*origins: str) -> Quart:
    app = Quart("tests", static_folder=None)

    install_request_log(app, Metrics())
    install_cors(app, origins)
    install_errors(app, [])

    @app.post("/thing")
    async def thing() -> Any:
        return ok({})

    @app.websocket("/ws")
    async def ws() -> None:
        await websocket.accept()
        await websocket.send("hello")

    return app


def values(header: str) -> set[str]:
    return {value.strip().lower() for value in header.split(",")}


async def test_a_preflight_from_an_admitted_origin_is_told_what_it_may_send() -> None:
    response = (
        await make_app(FRIEND)
        .test_client()
        .options("/thing", headers={"Origin": FRIEND, "Access-Control-Request-Method": "POST"})
    )

    assert response.status_code == 200
    assert response.headers["Access-Control-Allow-Origin"] == FRIEND
    assert "POST" in response.headers["Access-Control-Allow-Methods"]
    assert {
        "authorization",
        "x-api-key",
        "content-type",
        "idempotency-key",
        "last-event-id",
        "x-request-id",
    } <= values(response.headers["Access-Control-Allow-Headers"])
    assert "Access-Control-Allow-Credentials" not in response.headers


@pytest.mark.parametrize(("path", "status"), [("/thing", 200), ("/nowhere", 404)])
async def test_an_answer_and_an_error_alike_may_be_read(path: str, status: int) -> None:
    response = await make_app(FRIEND).test_client().post(path, headers={"Origin": FRIEND})

    assert response.status_code == status
    assert response.headers["Access-Control-Allow-Origin"] == FRIEND
    assert {"x-request-id", "retry-after", "etag"} <= values(response.headers["Access-Control-Expose-Headers"])
    assert "origin" in values(response.headers["Vary"])


@pytest.mark.parametrize("origin", ["https://evil.example.com", "https://chat.example.com.evil.com", "null"])
async def test_another_origin_is_told_nothing(origin: str) -> None:
    response = (
        await make_app(FRIEND)
        .test_client()
        .options("/thing", headers={"Origin": origin, "Access-Control-Request-Method": "POST"})
    )

    assert not [name for name, _ in response.headers if name.lower().startswith("access-control")]
    assert "origin" in values(response.headers["Vary"])


async def test_the_star_admits_all() -> None:
    response = await make_app("*").test_client().post("/thing", headers={"Origin": "https://any.example"})

    assert response.headers["Access-Control-Allow-Origin"] == "*"
    assert "Vary" not in response.headers


async def test_without_origins_nothing_is_said() -> None:
    response = await make_app().test_client().post("/thing", headers={"Origin": FRIEND})

    assert response.status_code == 200
    assert "Access-Control-Allow-Origin" not in response.headers


@pytest.mark.parametrize("headers", [{}, {"Origin": FRIEND}, {"Origin": "http://localhost"}])
async def test_a_websocket_opens_for_programs_for_admitted_pages_and_for_our_own(headers: dict[str, str]) -> None:
    async with make_app(FRIEND).test_client().websocket("/ws", headers=headers) as socket:
        assert await socket.receive() == "hello"


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "", "http://[", "localhost"])
async def test_a_websocket_of_another_page_is_closed_before_anything_is_read(origin: str) -> None:
    with pytest.raises(WebsocketDisconnectError) as refused:
        async with make_app().test_client().websocket("/ws", headers={"Origin": origin}) as socket:
            await socket.receive()

    assert refused.value.args == (1008,)
