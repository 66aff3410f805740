"""`/api/v1/api-keys`: making, listing, rotating and ending keys."""

from datetime import timedelta
from typing import Annotated, Any

import msgspec
from msgspec import Meta
from quart import Blueprint, Response

from app.auth.guards import caller
from app.auth.models import ApiKey, KeyStatus
from app.auth.scopes import Scope
from app.auth.service import MAX_EXPIRY_DAYS, MAX_NAME_CHARS, MAX_OVERLAP, MAX_USERNAME_CHARS, TEXT_PATTERN, KeyService
from app.clock import iso, iso_or_none, utc_now
from app.edge.bodies import convert, json_object, optional_json_object
from app.edge.operation import Answer, Body, Param, operation
from app.edge.responses import ok
from app.edge.services import service
from app.errors import BadRequest

MAX_KEY_BODY_BYTES = 16 * 1024

blueprint = Blueprint("api_keys", __name__)


class ApiKeyItem(msgspec.Struct, kw_only=True):
    """A key without its text: `prefix` is how the text begins.

    `status` is `live`, `expired` or `revoked`. `previous_expires_at` is set by a rotation with an overlap: until then
    the text before it is good too.
    """

    key_id: str
    name: str
    prefix: str
    scopes: list[Scope]
    username: str | None
    status: KeyStatus
    created_at: str
    expires_at: str | None
    revoked_at: str | None
    last_used_at: str | None
    previous_expires_at: str | None


class NewApiKey(ApiKeyItem, kw_only=True):
    """A key with its text, `key`, which is shown this once."""

    key: str


class ApiKeyList(msgspec.Struct):
    api_keys: list[ApiKeyItem]


class CreateApiKeyRequest(msgspec.Struct, kw_only=True):
    """`username` binds the key to one user; without `expires_in_days` it does not expire."""

    name: Annotated[str, Meta(max_length=MAX_NAME_CHARS, pattern=TEXT_PATTERN)]
    scopes: Annotated[list[Scope], Meta(min_length=1)]
    username: Annotated[str, Meta(max_length=MAX_USERNAME_CHARS, pattern=TEXT_PATTERN)] | None = None
    expires_in_days: Annotated[float, Meta(gt=0, le=MAX_EXPIRY_DAYS)] | None = None


class RotateApiKeyRequest(msgspec.Struct, kw_only=True):
    """For how many seconds, seven days at most, the old text stays good beside the new one; 0 ends it at once."""

    overlap_seconds: Annotated[float, Meta(ge=0, le=MAX_OVERLAP.total_seconds())] = 0.0


class DeletedApiKey(msgspec.Struct):
    key_id: str


KEY_ID = Param("key_id", "The key's id.", {"type": "string"}, where="path", required=True)
ITEM_EXAMPLE = {
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
NEW_EXAMPLE = {**ITEM_EXAMPLE, "last_used_at": None, "key": "plv_<shown once>"}
NOT_FOUND = "API key not found"


@blueprint.get("/api/v1/api-keys")
@operation(
    "listApiKeys",
    "List API keys",
    scope=Scope.ADMIN,
    description="Every key that the caller may manage, the newest first, without their texts. "
    "A caller bound to a username sees the keys bound to it. Keys given in the settings are not listed.",
    answers={
        200: Answer("The keys", ApiKeyList, envelope="ApiResponseApiKeyList", example={"api_keys": [ITEM_EXAMPLE]})
    },
    tag="Management",
)
async def list_api_keys() -> Response:
    keys = await service(KeyService).list_keys(by=caller())
    return ok(ApiKeyList([_item(key) for key in keys]))


@blueprint.post("/api/v1/api-keys")
@operation(
    "createApiKey",
    "Create an API key",
    scope=Scope.ADMIN,
    description="A new key. Its text is in this answer and nowhere else: Palaver keeps only a hash of it. "
    "A caller cannot grant scopes that it lacks, and one bound to a username can only make keys bound to it.",
    body=Body(
        CreateApiKeyRequest,
        examples={
            "shop": {"name": "shop", "scopes": ["chat", "file"]},
            "one user, for a month": {"name": "alice", "scopes": ["chat"], "username": "alice", "expires_in_days": 30},
        },
    ),
    answers={201: Answer("The key, with its text", NewApiKey, envelope="ApiResponseNewApiKey", example=NEW_EXAMPLE)},
    errors={
        400: "Missing key: name",
        403: "The API key cannot grant scopes it lacks: im",
        413: f"The request body is larger than {MAX_KEY_BODY_BYTES} bytes",
        415: "Content-Type must be application/json",
    },
    tag="Management",
)
async def create_api_key() -> Response:
    body = await json_object(MAX_KEY_BODY_BYTES)
    for field in ("name", "scopes"):
        if field not in body:
            raise BadRequest(f"Missing key: {field}", code="missing_key")
    wanted = convert(body, CreateApiKeyRequest)
    key, text = await service(KeyService).create(
        name=wanted.name,
        scopes=wanted.scopes,
        username=wanted.username,
        expires_in_days=wanted.expires_in_days,
        by=caller(),
    )
    return ok(_new(key, text), 201)


@blueprint.delete("/api/v1/api-keys/<key_id>")
@operation(
    "deleteApiKey",
    "Delete an API key",
    scope=Scope.ADMIN,
    description="Ends a key at once and forgets it; a key may delete itself. "
    "To keep it in the listing, revoke it instead.",
    params=[KEY_ID],
    answers={
        200: Answer(
            "It is gone",
            DeletedApiKey,
            envelope="ApiResponseDeletedApiKey",
            example={"key_id": ITEM_EXAMPLE["key_id"]},
        )
    },
    errors={404: NOT_FOUND},
    tag="Management",
)
async def delete_api_key(key_id: str) -> Response:
    await service(KeyService).delete(key_id, by=caller())
    return ok(DeletedApiKey(key_id))


@blueprint.post("/api/v1/api-keys/<key_id>/revoke")
@operation(
    "revokeApiKey",
    "Revoke an API key",
    scope=Scope.ADMIN,
    description="Ends a key for good, at once, and keeps it in the listing; a key may revoke itself. "
    "Revoking it again changes nothing.",
    params=[KEY_ID],
    answers={
        200: Answer(
            "The key, revoked",
            ApiKeyItem,
            envelope="ApiResponseApiKey",
            example={**ITEM_EXAMPLE, "status": "revoked", "revoked_at": "2026-11-21T02:00:00.000000+00:00"},
        )
    },
    errors={404: NOT_FOUND},
    tag="Management",
)
async def revoke_api_key(key_id: str) -> Response:
    return ok(_item(await service(KeyService).revoke(key_id, by=caller())))


@blueprint.post("/api/v1/api-keys/<key_id>/rotate")
@operation(
    "rotateApiKey",
    "Rotate an API key",
    scope=Scope.ADMIN,
    description="Gives a live key a new text, which is in this answer and nowhere else; its id, and so its sessions "
    "and files, stay. The old text ends at once, or after `overlap_seconds`, so that clients can be moved one by one. "
    "Rotating again during an overlap ends the oldest text.",
    params=[KEY_ID],
    body=Body(
        RotateApiKeyRequest,
        examples={"at once": {}, "with an hour to change over": {"overlap_seconds": 3600}},
        required=False,
    ),
    answers={
        200: Answer("The key, with its new text", NewApiKey, envelope="ApiResponseNewApiKey", example=NEW_EXAMPLE)
    },
    errors={
        400: "A revoked or expired key cannot be rotated",
        403: "The API key cannot grant scopes it lacks: im",
        404: NOT_FOUND,
        413: f"The request body is larger than {MAX_KEY_BODY_BYTES} bytes",
        415: "Content-Type must be application/json",
    },
    tag="Management",
)
async def rotate_api_key(key_id: str) -> Response:
    wanted = convert(await optional_json_object(MAX_KEY_BODY_BYTES), RotateApiKeyRequest)
    key, text = await service(KeyService).rotate(key_id, overlap=timedelta(seconds=wanted.overlap_seconds), by=caller())
    return ok(_new(key, text))


def _item(key: ApiKey) -> ApiKeyItem:
    return ApiKeyItem(**_fields(key))


def _new(key: ApiKey, text: str) -> NewApiKey:
    return NewApiKey(**_fields(key), key=text)


def _fields(key: ApiKey) -> dict[str, Any]:
    return {
        "key_id": key.id,
        "name": key.name,
        "prefix": key.prefix,
        "scopes": key.sorted_scopes,
        "username": key.username,
        "status": key.status(utc_now()),
        "created_at": iso(key.created_at),
        "expires_at": iso_or_none(key.expires_at),
        "revoked_at": iso_or_none(key.revoked_at),
        "last_used_at": iso_or_none(key.last_used_at),
        "previous_expires_at": iso_or_none(key.previous_expires_at),
    }
