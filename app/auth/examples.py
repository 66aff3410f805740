"""Answers, errors and examples of keys, for the published document."""

from app.auth.schemas import (
    MAX_KEY_BODY_BYTES,
    ApiKeyItem,
    ApiKeyList,
    CreateApiKeyRequest,
    DeletedApiKey,
    NewApiKey,
    RotateApiKeyRequest,
)
from app.edge.operation import Answer, Body, Param

_ITEM = {
    "key_id": "5f0c7c6e-6b0a-4f0e-9a55-2f6f6f2f9d11",
    "name": "shop",
    "prefix": "plv_8fKq2L",
    "scopes": ["chat", "file"],
    "username": None,
    "status": "live",
    "created_at": "2026-11-21T01:20:58.571438+00:00",
    "expires_at": None,
    "revoked_at": None,
    "last_used_at": "2026-11-21T01:25:00.102003+00:00",
    "previous_expires_at": None,
}
# No key that works, and none that a scanner takes for one: the text of an example is copied by someone, some day.
_NEW = {**_ITEM, "last_used_at": None, "key": "plv_<shown once>"}
_REVOKED = {**_ITEM, "status": "revoked", "revoked_at": "2026-11-21T02:00:00.000000+00:00"}
_SCOPE_NOT_HELD = "The API key cannot grant scopes it lacks: im"
_BODY_ERRORS = {
    413: f"The request body is larger than {MAX_KEY_BODY_BYTES} bytes",
    415: "Content-Type must be application/json",
}

KEY_ID = Param("key_id", "The key's id.", {"type": "string"}, where="path", required=True)
NOT_FOUND = {404: "API key not found"}

CREATE = Body(
    CreateApiKeyRequest,
    examples={
        "shop": {"name": "shop", "scopes": ["chat", "file"]},
        "one user, for a month": {"name": "alice", "scopes": ["chat"], "username": "alice", "expires_in_days": 30},
    },
)
CREATE_ERRORS = {400: "Missing key: name", 403: _SCOPE_NOT_HELD, **_BODY_ERRORS}
ROTATE = Body(
    RotateApiKeyRequest,
    examples={"at once": {}, "with an hour to change over": {"overlap_seconds": 3600}},
    required=False,
)
ROTATE_ERRORS = {
    400: "A revoked or expired key cannot be rotated",
    403: _SCOPE_NOT_HELD,
    **NOT_FOUND,
    **_BODY_ERRORS,
}

LISTED = {200: Answer("The keys", ApiKeyList, envelope="ApiResponseApiKeyList", example={"api_keys": [_ITEM]})}
CREATED = {201: Answer("The key, with its text", NewApiKey, envelope="ApiResponseNewApiKey", example=_NEW)}
ROTATED = {200: Answer("The key, with its new text", NewApiKey, envelope="ApiResponseNewApiKey", example=_NEW)}
REVOKED = {200: Answer("The key, revoked", ApiKeyItem, envelope="ApiResponseApiKey", example=_REVOKED)}
DELETED = {
    200: Answer("It is gone", DeletedApiKey, envelope="ApiResponseDeletedApiKey", example={"key_id": _ITEM["key_id"]})
}
