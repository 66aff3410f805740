"""How log lines look, and where they go."""

import io
import json
import logging
import re
import sys
from typing import Any

import pytest
import structlog
from structlog.contextvars import bind_contextvars

from app.telemetry.logs import configure_logging
from app.telemetry.rendering import renderers
from tests.support.logs import parsed


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


def test_a_line_on_the_console_has_its_time_level_event_logger_and_fields(lines: io.StringIO) -> None:
    configure_logging("info", "console", lines)
    bind_contextvars(request_id="r1")
    structlog.get_logger("app.x").warning("request", path="/a b", route="/<name>", status=200, says="it's", none=None)

    time, line = lines.getvalue().rstrip().split(" ", 1)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", time)
    assert line == (
        "[warning  ] request                        [app.x] "
        """path='/a b' route=/<name> status=200 says="it's" none=None request_id=r1"""
    )


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
def test_a_line_without_colors_looks_as_structlogs_own(fields: dict[str, Any]) -> None:
    own = structlog.dev.ConsoleRenderer(colors=False, sort_keys=False)
    event = {"level": "warning", "logger": "app.x", "timestamp": "2026-11-21T00:00:00Z", **fields}
    assert renderers("console", io.StringIO())[-1](None, "info", {**event}) == own(None, "info", {**event})
