"""The WebSocket's word for each error that a frame can meet."""

import re
from pathlib import Path

import pytest

from app.chat.parts import PartLimits
from app.doors.open_api.requests import parse_send
from app.doors.open_api.websocket_errors import WORDS, word_of
from app.errors import AppError, BadRequest, NotFound, TooManyRequests

APP = Path(__file__).parents[3] / "app"
SOURCES = [
    *(path for package in ("chat", "database", "workers") for path in sorted((APP / package).rglob("*.py"))),
    *(
        APP / path
        for path in (
            "auth/guards.py",
            "auth/models.py",
            "doors/open_api/requests.py",
            "doors/open_api/websocket.py",
            "edge/bodies.py",
            "files/sinks.py",
            "idempotency.py",
            "knowledge/service.py",
            "profiles/service.py",
        )
    ),
]
"""The modules on a frame's way."""
HTTP_ONLY = {
    "no_scope",
    "unsupported_media_type",
    "approval_not_found",
    "approval_decided",
    "invalid_import",
    "message_not_found",
    "not_a_reply",
    "not_the_users",
    "session_exists",
}
UNAUTHORIZED = {"missing_api_key", "invalid_api_key"}
"""Closes the socket, under a word of its own."""
FIELDS = [
    "session_id",
    "conversation_id",
    "selected_provider",
    "selected_model",
    "config_id",
    "config_name",
    "message_id",
    "role",
    "tools_use",
]


def test_every_code_on_the_way_of_a_frame_has_a_word() -> None:
    text = "\n".join(path.read_text() for path in SOURCES)
    codes = set(re.findall(r'\bcode(?:=| = )"([a-z_]+)"', text)) - HTTP_ONLY - UNAUTHORIZED - {"missing_key"}
    assert len(codes) > 30
    assert codes - set(WORDS) == set()


def test_no_word_is_for_a_code_that_is_nowhere() -> None:
    text = "\n".join(path.read_text() for path in sorted(APP.rglob("*.py")) if path.name != "websocket_errors.py")
    composed = {code for code in WORDS if code.startswith(("document_", "invalid_"))}
    assert {code for code in set(WORDS) - composed if f'"{code}"' not in text} == set()


@pytest.mark.parametrize("field", FIELDS)
def test_every_field_of_a_frame_has_a_word(field: str) -> None:
    with pytest.raises(BadRequest) as raised:
        parse_send({"username": "alice", "message": "Hi", field: 5}, PartLimits())
    assert raised.value.code in WORDS


@pytest.mark.parametrize(
    ("error", "word"),
    [
        (BadRequest("", code="username_not_allowed"), "BAD_USER"),
        (TooManyRequests("", code="session_busy"), "SESSION_ERROR"),
        (BadRequest("", code="config_name_ambiguous"), "CONFIG_ERROR"),
        (BadRequest("", code="model_not_found"), "CONFIG_ERROR"),
        (BadRequest("", code="payload_too_large"), "INVALID_MESSAGE"),
        (NotFound("", code="role_not_found"), "PROCESSING_ERROR"),
        (TooManyRequests(""), "PROCESSING_ERROR"),
        (AppError("", code="not_in_the_table"), "PROCESSING_ERROR"),
    ],
)
def test_words(error: AppError, word: str) -> None:
    assert word_of(error) == word
