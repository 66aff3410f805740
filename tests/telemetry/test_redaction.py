"""What log lines never hold."""

import io
import logging
import re
from typing import Any

import pytest
import structlog

from app.telemetry.logs import KEY_FORMS, Redaction, configure_logging
from tests.support.logs import parsed

KEY = "plv_0123456789abcdefghijABCDEFGHIJ01abcdef"


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
