"""Error words of the WebSocket, each for several codes of HTTP answers."""

from collections.abc import Mapping, Sequence

from app.doors.open_api.requests import MissingKey
from app.errors import AppError
from app.files.extraction.models import Reason

_CODES: Mapping[str, Sequence[str]] = {
    "BAD_USER": ("invalid_username", "username_empty", "username_not_allowed", "username_reserved"),
    "SESSION_ERROR": (
        "invalid_conversation_id",
        "invalid_session_id",
        "session_busy",
        "session_not_found",
        "session_not_yours",
    ),
    "CONFIG_ERROR": (
        "config_name_ambiguous",
        "config_not_allowed",
        "config_not_found",
        "invalid_config_id",
        "invalid_config_name",
        "invalid_selected_model",
        "invalid_selected_provider",
        "model_not_allowed",
        "model_not_found",
        "provider_not_found",
    ),
    "INVALID_MESSAGE": (
        "attachment_not_found",
        "empty_message",
        "invalid_frame",
        "invalid_idempotency_key",
        "invalid_json",
        "invalid_knowledge",
        "invalid_message",
        "invalid_message_id",
        "invalid_message_part",
        "invalid_on_busy",
        "invalid_request",
        "invalid_role",
        "invalid_tools_use",
        "message_too_long",
        "missing_attachment_id",
        "missing_message_id",
        "payload_too_large",
        "reply_not_found",
        "unsupported_message_part",
    ),
    "PROCESSING_ERROR": (
        "address_not_allowed",
        "budget_exceeded",
        "collection_ambiguous",
        "collection_not_found",
        "database_unavailable",
        "document_workers_unavailable",
        "idempotency_key_reused",
        "insufficient_scope",
        "key_blocked",
        "origin_not_allowed",
        "rate_limited",
        "role_not_found",
        "run_not_found",
        "server_busy",
        "shutting_down",
        "storage_unavailable",
        "token_rate_limited",
        "too_many_documents",
        "too_many_parallel",
        "too_many_requests",
        "too_many_runs",
        "too_many_streams",
        "too_many_websockets",
        *(f"document_{reason.value}" for reason in Reason),
    ),
}
WORDS: Mapping[str, str] = {code: word for word, codes in _CODES.items() for code in codes}
_MISSING_KEYS: Mapping[str, str] = {"message": "INVALID_MESSAGE", "username": "BAD_USER"}


def word_of(error: AppError) -> str:
    """The word for an error; PROCESSING_ERROR for one without an entry."""
    if isinstance(error, MissingKey):
        return _MISSING_KEYS[error.key]
    return WORDS.get(error.code, "PROCESSING_ERROR")
