"""Request ids, log lines and numbers."""

import io
import json
import logging
import re
import sys
from collections.abc import AsyncIterator, Iterator
from typing import Any, Literal
from urllib.parse import quote

import pytest
import structlog
from quart import Quart, websocket
from quart.testing import QuartClient

from app.edge.errors import install_errors
from app.edge.request_log import install_observability
from app.edge.responses import ok
from app.edge.services import provide
from app.edge.sse import frame, stream_response
from app.errors import Conflict
from app.telemetry.context import add_line_fields, begin_line_fields
from app.telemetry.lines import KEY_FORMS, PlainConsole, Redaction
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
    provide(app, metrics)
    install_observability(app)
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
    "name",
    [
        "a",
        "100%25",
        "%25(path)s",
        "a b",
        "it's",
        'say "so"',
        "back\\slash",
        "a=b",
        "ä",
        "a\nb\x1b[2J",
        KEY,
        "SK-or sk-abcdef",
    ],
)
@pytest.mark.parametrize("request_id", ["mine-1.2_3", "sk-abcdef"])
async def test_the_line_of_a_request_looks_as_any_other(
    app: Quart, lines: io.StringIO, style: Literal["json", "console"], name: str, request_id: str
) -> None:
    configure_logging("info", style, lines)
    await app.test_client().get(f"/fine/{quote(name, safe='%')}", headers={"X-Request-ID": request_id})
    line = lines.getvalue().splitlines()[-1]
    begin_line_fields(request_id=request_id)
    structlog.get_logger("app.telemetry.observability").info(
        "request",
        method="GET",
        path=f"/fine/{name.replace('%25', '%')}",
        route="/fine/<name>",
        status=200,
        duration_ms=float(re.search(r"duration_ms\W+([\d.]+)", line)[1]),  # type: ignore[index]
    )

    moment = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")
    assert moment.search(line)
    assert moment.sub("", line) == moment.sub("", lines.getvalue().splitlines()[-1])
    assert KEY not in line
    assert "sk-abcdef" not in line


async def test_the_line_of_a_request_has_what_was_bound_in_it(app: Quart, lines: io.StringIO) -> None:
    @app.before_request
    async def bind() -> None:
        add_line_fields(key_id="op_1")

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


@pytest.mark.parametrize(
    "value",
    [
        KEY,
        f"Authorization: Bearer {KEY[4:]}",
        "apikey abcdef0123456789",
        "sk-proj-abcdef0123456789",
        "whsec_abcdef0123456789==",
        "/file?api_key=abcdef0123456789&x=1",
        "INSERT [parameters: ('abcdef0123456789',)]",
        {"nested": ["sk-abcdef0123456789"]},
        ValueError("sk-abcdef0123456789"),
    ],
)
def test_what_looks_like_a_key_is_blotted_out(lines: io.StringIO, value: Any) -> None:
    structlog.get_logger("x").info("event", value=value)
    logging.getLogger("hypercorn.error").warning("they say %s", value)

    for secret in (KEY[4:], "abcdef0123456789"):
        assert secret not in lines.getvalue()
    assert lines.getvalue().count("[redacted]") == 2


def test_a_secret_of_no_known_form_is_blotted_out_when_it_was_named(lines: io.StringIO) -> None:
    configure_logging("info", "json", lines, secrets=["gq7.odd+secret", "gq7.odd+secret-2", "me"])
    structlog.get_logger("x").info("some event", detail="wrong key gq7.odd+secret-2 and gq7.odd+secret")

    (line,) = parsed(lines)
    assert line["event"] == "some event"
    assert line["detail"] == "wrong key [redacted] and [redacted]"


@pytest.mark.parametrize("name", ["text", "message", "message_text", "api_key", "prompt", "messages", "args"])
def test_fields_that_hold_what_people_wrote_are_dropped(lines: io.StringIO, name: str) -> None:
    structlog.get_logger("x").info("event", **{name: "dear diary", "deep": {name: "dear diary", "kept": 1}})

    assert parsed(lines)[0]["deep"] == {"kept": 1}
    assert "diary" not in lines.getvalue()


def test_a_very_long_field_is_cut(lines: io.StringIO) -> None:
    structlog.get_logger("x").info("event", detail="y" * 100_000)

    assert len(lines.getvalue()) < 5000


def test_other_libraries_speak_in_the_same_form_and_the_model_client_keeps_quiet(lines: io.StringIO) -> None:
    logging.getLogger("hypercorn.error").info("Running on %s", "http://127.0.0.1")
    logging.getLogger("openai._base_client").debug("Request options: %s", {"json_data": "dear diary"})
    logging.getLogger("httpx2").info("HTTP Request: POST https://model.example/v1")
    logging.getLogger("openai._base_client").warning("out of order")

    assert [(line["logger"], line["event"]) for line in parsed(lines)] == [
        ("hypercorn.error", "Running on http://127.0.0.1"),
        ("openai._base_client", "out of order"),
    ]


def test_configuring_twice_does_not_write_twice(lines: io.StringIO) -> None:
    configure_logging("warning", "json", lines)
    logging.getLogger("x").warning("once")
    structlog.get_logger("x").info("not at all")

    assert [line["event"] for line in parsed(lines)] == ["once"]


def test_on_the_console_a_caller_cannot_forge_a_line(lines: io.StringIO) -> None:
    configure_logging("info", "console", lines)
    structlog.get_logger("x").info("request", path="/a\n2026 forged\x1b[2J")
    try:
        raise ValueError("broken")
    except ValueError:
        structlog.get_logger("x").exception("failed")

    first, *rest = lines.getvalue().splitlines()
    assert "forged" in first
    assert "\x1b" not in lines.getvalue()
    assert rest[-1].endswith("ValueError: broken")


def test_lines_go_to_standard_error_so_that_output_stays_clean(
    lines: io.StringIO, capsys: pytest.CaptureFixture[str]
) -> None:
    configure_logging("info", "json")
    structlog.get_logger("x").info("ours")
    logging.getLogger("x").warning("theirs")
    sys.stdout.write("the answer")

    captured = capsys.readouterr()
    assert captured.out == "the answer"
    assert [json.loads(line)["event"] for line in captured.err.splitlines()] == ["ours", "theirs"]
    assert lines.getvalue() == ""


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


def test_runs_are_counted_by_how_they_end() -> None:
    metrics = Metrics()
    metrics.run_started()
    metrics.run_started()
    metrics.first_token(0.2)
    metrics.run_finished("completed", prompt_tokens=10, completion_tokens=3)
    metrics.stream_opened()
    metrics.stream_opened()
    metrics.stream_closed()
    metrics.queue_length(4)
    metrics.webhook_delivery("failed")

    text = metrics.render().decode()
    for line in (
        "palaver_runs_active 1.0",
        'palaver_runs_total{state="completed"} 1.0',
        'palaver_tokens_total{kind="prompt"} 10.0',
        'palaver_tokens_total{kind="completion"} 3.0',
        "palaver_time_to_first_token_seconds_count 1.0",
        "palaver_open_streams 1.0",
        "palaver_run_queue_length 4.0",
        'palaver_webhook_deliveries_total{outcome="failed"} 1.0',
    ):
        assert line in text


@pytest.mark.parametrize("form", [form for form, _ in KEY_FORMS])
def test_each_form_of_a_key_has_its_mark(form: str) -> None:
    """The quick look goes by the marks: a form that could match without one would reach the log."""
    keys = {
        "plv_0123456789abcdef", "sk-abcdef", "whsec_abcdef", "BEARER abcdef", "ApiKey abcdef", "api_key=abcdef",
        "APIKEY=abcdef", "Key=abcdef", "token=abcdef", "SECRET=abcdef", "password=abcdef", "[parameters: ('abcdef',)]",
        "toKen=abcdef", "\u017fecret=abcdef",
    }  # fmt: skip
    found = [key for key in keys if re.search(form, key)]
    assert found
    for key in found:
        assert Redaction()(None, "info", {"path": f"/a/{key}"}) != {"path": f"/a/{key}"}


def test_a_secret_in_capitals_is_known_by_the_quick_look() -> None:
    assert Redaction(["Gq7ODD"])(None, "info", {"detail": "it is Gq7ODD"}) == {"detail": "it is [redacted]"}


@pytest.mark.parametrize(
    "fields",
    [
        {"event": "request", "method": "GET", "path": "/a b", "status": 200, "duration_ms": 0.5},
        {"event": "an event that is longer than thirty characters", "detail": 'it\'s "so"', "nothing": None},
        {"event": "x", "equals": "a=b", "empty": "", "list": ["a"], "end": " "},
        {"event": "failed", "exception": "Traceback\nValueError: broken"},
        {"path": "/without an event"},
    ],
)
def test_a_plain_line_looks_as_structlogs_own(fields: dict[str, Any]) -> None:
    theirs = structlog.dev.ConsoleRenderer(colors=False, sort_keys=False)
    common = {"level": "warning", "logger": "app.x", "timestamp": "2026-11-21T00:00:00Z"}
    assert PlainConsole(theirs)(None, "info", {**common, **fields}) == theirs(None, "info", {**common, **fields})
