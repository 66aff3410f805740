"""Request ids, log lines and numbers."""

import io
import re
from collections.abc import AsyncIterator, Iterator
from typing import Any, Literal

import pytest
import structlog
from quart import Quart, websocket
from quart.testing import QuartClient
from structlog.contextvars import bind_contextvars

from app.edge.errors import install_errors
from app.edge.request_log import install_request_log
from app.edge.responses import ok
from app.edge.sse import frame, stream_response
from app.errors import Conflict
from app.telemetry.logs import configure_logging
from app.telemetry.metrics import Metrics
from tests.support.logs import logging_to, parsed

KEY = "plv_0123456789abcdefghijABCDEFGHIJ01abcdef"


@pytest.fixture
def lines() -> Iterator[io.StringIO]:
    """JSON log lines, as they are written."""
    stream = io.StringIO()
    with logging_to(stream):
        yield stream


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


@pytest.fixture
def app(metrics: Metrics) -> Quart:
    app = Quart("tests", static_folder=None)

    install_request_log(app, metrics)
    install_errors(app, [])

    @app.get("/fine/<name>")
    async def fine(name: str) -> Any:
        structlog.get_logger("view").info("seen", name=name)
        return ok({})

    @app.get("/conflict")
    async def conflict() -> Any:
        raise Conflict("Not now")

    @app.get("/crash")
    async def crash() -> Any:
        raise RuntimeError(f"the key {KEY} was wrong")

    @app.get("/stream")
    async def stream() -> Any:
        async def frames() -> AsyncIterator[bytes]:
            structlog.get_logger("view").info("in_stream")
            yield frame(b"{}")

        return stream_response(frames())

    @app.get("/health")
    async def health() -> Any:
        return ok({})

    @app.websocket("/ws")
    async def ws() -> None:
        await websocket.accept()
        await websocket.send("hello")
        await websocket.close(1000)

    return app


async def test_each_request_has_one_line_with_its_id_and_without_its_query(app: Quart, lines: io.StringIO) -> None:
    response = await app.test_client().get("/fine/a?api_key=hidden", headers={"X-Request-ID": "mine-1.2_3"})

    assert response.headers["X-Request-ID"] == "mine-1.2_3"
    seen, access = parsed(lines)
    assert seen["event"] == "seen"
    assert seen["request_id"] == access["request_id"] == "mine-1.2_3"
    assert {name: access[name] for name in ("event", "method", "path", "route", "status", "level")} == {
        "event": "request",
        "method": "GET",
        "path": "/fine/a",
        "route": "/fine/<name>",
        "status": 200,
        "level": "info",
    }
    assert 0 < access["duration_ms"] < 1000
    assert "hidden" not in lines.getvalue()


@pytest.mark.parametrize("given", ["", "a b", "x" * 129, "ä", "a\tb", "<script>"])
async def test_a_request_id_of_another_form_is_replaced(app: Quart, lines: io.StringIO, given: str) -> None:
    response = await app.test_client().get("/fine/a", headers={"X-Request-ID": given})

    assert len(response.headers["X-Request-ID"]) == 36
    assert parsed(lines)[-1]["request_id"] == response.headers["X-Request-ID"]


@pytest.mark.parametrize(("path", "status"), [("/conflict", 409), ("/crash", 500), ("/nowhere", 404)])
async def test_errors_carry_the_request_id(app: Quart, lines: io.StringIO, path: str, status: int) -> None:
    response = await app.test_client().get(path)

    assert response.status_code == status
    assert (await response.get_json())["request_id"] == response.headers["X-Request-ID"]
    assert parsed(lines)[-1]["status"] == status


async def test_a_stream_carries_the_request_id_and_so_do_lines_written_in_it(app: Quart, lines: io.StringIO) -> None:
    response = await app.test_client().get("/stream")
    await response.get_data()

    access, in_stream = parsed(lines)
    assert in_stream["event"] == "in_stream"
    assert access["request_id"] == in_stream["request_id"] == response.headers["X-Request-ID"]


async def test_a_crash_is_logged_with_its_traceback_and_without_the_key_in_it(app: Quart, lines: io.StringIO) -> None:
    await app.test_client().get("/crash")

    crash = parsed(lines)[0]
    assert crash["event"] == "request_crashed"
    assert "RuntimeError: the key [redacted] was wrong" in crash["exception"]
    assert KEY not in lines.getvalue()


@pytest.mark.parametrize("style", ["json", "console"])
@pytest.mark.parametrize(
    ("path", "request_id"),
    [(f"/fine/{KEY}", "mine"), ("/fine/SK-or%20sk-abcdef", "mine"), ("/fine/a%0Ab", "sk-abcdef")],
)
async def test_the_line_of_a_request_holds_no_key(
    app: Quart, lines: io.StringIO, style: Literal["json", "console"], path: str, request_id: str
) -> None:
    configure_logging("info", style, lines)
    await app.test_client().get(path, headers={"X-Request-ID": request_id})

    line = lines.getvalue().splitlines()[-1]
    assert re.search(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", line)
    assert "[redacted]" in line
    assert KEY not in line
    assert "sk-abcdef" not in line


async def test_the_line_of_a_request_has_what_was_bound_in_it(app: Quart, lines: io.StringIO) -> None:
    @app.before_request
    async def bind() -> None:
        bind_contextvars(key_id="op_1")

    await app.test_client().get("/fine/a")
    await app.test_client().get("/fine/a b")

    assert [line["key_id"] for line in parsed(lines) if line["event"] == "request"] == ["op_1", "op_1"]


async def test_probes_are_not_logged_at_info(app: Quart, lines: io.StringIO) -> None:
    response = await app.test_client().get("/health")

    assert response.headers["X-Request-ID"]
    assert lines.getvalue() == ""


async def test_a_websocket_has_a_request_id_from_its_opening_to_its_end(app: Quart, lines: io.StringIO) -> None:
    async with app.test_client().websocket("/ws", headers={"X-Request-ID": "socket"}) as socket:
        assert await socket.receive() == "hello"

    opened, closed = parsed(lines)
    assert (opened["event"], opened["request_id"]) == ("websocket_opened", "socket")
    assert (closed["event"], closed["request_id"]) == ("websocket_closed", "socket")


async def test_requests_are_counted_by_rule_and_known_method_only(
    app: Quart, lines: io.StringIO, metrics: Metrics
) -> None:
    client = QuartClient(app)
    for path in ("/fine/a", "/fine/b", "/nowhere/a", "/nowhere/b"):
        await client.get(path)
    await client.open("/fine/a", method="BREW")

    sample = metrics.registry.get_sample_value
    name = "palaver_requests_total"
    assert sample(name, {"method": "GET", "route": "/fine/<name>", "status": "200"}) == 2
    assert sample(name, {"method": "GET", "route": "unmatched", "status": "404"}) == 2
    assert sample(name, {"method": "other", "route": "unmatched", "status": "405"}) == 1
    assert sample("palaver_request_seconds_count", {"route": "/fine/<name>"}) == 2
    assert len(parsed(lines)) == 7
