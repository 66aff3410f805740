"""`/api/v1/api-keys`: making, listing, rotating and ending keys."""

from datetime import timedelta
from functools import partial

from quart import Blueprint, Response, request

from app.auth.guards import caller
from app.auth.schemas import (
    MAX_KEY_BODY_BYTES,
    ApiKeyItem,
    ApiKeyList,
    ChangeApiKeyRequest,
    CreateApiKeyRequest,
    DeletedApiKey,
    NewApiKey,
    RotateApiKeyRequest,
)
from app.auth.scopes import Scope
from app.auth.service import KeyService
from app.edge.bodies import body_errors, convert, json_object, optional_json_object
from app.edge.operation import Answer, Body, Param, operation, refusal
from app.edge.responses import ok
from app.edge.schemas import example_of
from app.edge.services import service
from app.errors import BadRequest

blueprint = Blueprint("api_keys", __name__)
key_operation = partial(operation, scope=Scope.ADMIN, tag="Management")

KEY_ID = Param("key_id", "The key's id.", {"type": "string"}, where="path")
_NOT_FOUND = {404: refusal("API key not found", "api_key_not_found")}
_OLD_TEXT = {403: refusal("The API key was rotated: its old text cannot manage keys", "old_key_text")}
_SCOPE_MISSING = {
    403: refusal(
        "The API key cannot grant scopes it lacks: im", "scope_not_held", "username_not_allowed", "old_key_text"
    )
}
NOT_STORED = (
    "The key is revoked on this server. The database cannot store that at the moment: it is tried again, "
    "until it can or the server stops."
)
_BODY_ERRORS = body_errors(MAX_KEY_BODY_BYTES)


def _with_text(description: str) -> Answer:
    return Answer(description, NewApiKey, example_of(NewApiKey, last_used_at=None), envelope="ApiResponseNewApiKey")


@blueprint.get("/api/v1/api-keys")
@key_operation(
    "listApiKeys",
    "List API keys",
    description="Every key that the caller may manage, the newest first, without their texts. "
    "A caller bound to a username sees the keys bound to it. Keys given in the settings are not listed.",
    answers={200: Answer("The keys", ApiKeyList, envelope="ApiResponseApiKeyList")},
)
async def list_api_keys() -> Response:
    keys = service(KeyService)
    items = [ApiKeyItem.of(key, keys.now()) for key in await keys.list_keys(principal=caller())]
    return _uncached(ok(ApiKeyList(items)))


@blueprint.post("/api/v1/api-keys")
@key_operation(
    "createApiKey",
    "Create an API key",
    description="A new key. Its text is in this answer and nowhere else: Palaver keeps only a hash of it. "
    "A caller cannot grant scopes that it lacks, and one bound to a username can only make keys bound to it. The key "
    "ends with the caller's own, or before.",
    body=Body(
        CreateApiKeyRequest,
        {
            "shop": {"name": "shop", "scopes": ["chat", "file"]},
            "with limits": {
                "name": "trial",
                "scopes": ["chat"],
                "rpm_limit": 60,
                "budget": {"tokens": 1_000_000, "per": "month"},
            },
            "one user, for a month": {"name": "alice", "scopes": ["chat"], "username": "alice", "expires_in_days": 30},
        },
    ),
    answers={201: _with_text("The key, with its text")},
    errors={
        400: refusal("Missing key: name", "missing_key", "invalid_request", "username_reserved"),
        **_SCOPE_MISSING,
        **_BODY_ERRORS,
    },
)
async def create_api_key() -> Response:
    body = await json_object(MAX_KEY_BODY_BYTES)
    for field in ("name", "scopes"):
        if field not in body:
            raise BadRequest(f"Missing key: {field}", code="missing_key")
    new = convert(body, CreateApiKeyRequest)
    keys = service(KeyService)
    key, text = await keys.create(
        name=new.name,
        scopes=new.scopes,
        username=new.username,
        expires_in_days=new.expires_in_days,
        limits=new.limits,
        principal=caller(),
        address=request.remote_addr,
    )
    return _uncached(ok(NewApiKey.of(key, keys.now(), key=text), 201))


@blueprint.patch("/api/v1/api-keys/<key_id>")
@key_operation(
    "changeApiKey",
    "Change an API key",
    description="Sets the key's name, its scopes and its limits, or blocks it: a blocked key is refused (403 "
    "`key_blocked`) until it is unblocked. What is not given stays, a limit of null is taken away. It takes effect "
    "at once, on other servers within 30 seconds.",
    params=[KEY_ID],
    body=Body(
        ChangeApiKeyRequest,
        {
            "limits": {"rpm_limit": 60, "models": ["gpt-4.1*"], "budget": {"cost": 20, "per": "month"}},
            "block": {"blocked": True},
        },
    ),
    answers={200: Answer("The key", ApiKeyItem, envelope="ApiResponseApiKey")},
    errors={
        400: refusal("A revoked or expired key cannot be changed", "key_not_live", "invalid_request"),
        **_SCOPE_MISSING,
        **_NOT_FOUND,
        **_BODY_ERRORS,
    },
)
async def change_api_key(key_id: str) -> Response:
    change = convert(await json_object(MAX_KEY_BODY_BYTES), ChangeApiKeyRequest)
    keys = service(KeyService)
    key = await keys.change(
        key_id,
        name=change.name,
        scopes=change.scopes,
        blocked=change.blocked,
        limits=change.limits,
        principal=caller(),
        address=request.remote_addr,
    )
    return _uncached(ok(ApiKeyItem.of(key, keys.now())))


@blueprint.delete("/api/v1/api-keys/<key_id>")
@key_operation(
    "deleteApiKey",
    "Delete an API key",
    description="Ends a key and those that it created at once and forgets it; a key may delete itself. "
    "To keep it in the listing, revoke it instead.",
    params=[KEY_ID],
    answers={200: Answer("It is gone", DeletedApiKey, envelope="ApiResponseDeletedApiKey")},
    errors={**_OLD_TEXT, **_NOT_FOUND},
)
async def delete_api_key(key_id: str) -> Response:
    await service(KeyService).delete(key_id, principal=caller(), address=request.remote_addr)
    return ok(DeletedApiKey(key_id))


@blueprint.post("/api/v1/api-keys/<key_id>/revoke")
@key_operation(
    "revokeApiKey",
    "Revoke an API key",
    description="Ends a key and those that it created for good, at once, and keeps them in the listing; a key may "
    "revoke itself. Revoking it again changes nothing.",
    params=[KEY_ID],
    answers={
        200: Answer(
            "The key, revoked",
            ApiKeyItem,
            example_of(ApiKeyItem, status="revoked", revoked_at="2026-11-21T02:00:00.000000+00:00"),
            envelope="ApiResponseApiKey",
        ),
        202: Answer(
            "The key, revoked on this server; the database could not store it yet",
            ApiKeyItem,
            example_of(ApiKeyItem, status="revoked", revoked_at="2026-11-21T02:00:00.000000+00:00"),
            envelope="ApiResponseApiKey",
        ),
    },
    errors={**_OLD_TEXT, **_NOT_FOUND},
)
async def revoke_api_key(key_id: str) -> Response:
    keys = service(KeyService)
    key = await keys.revoke(key_id, principal=caller(), address=request.remote_addr)
    item = ApiKeyItem.of(key, keys.now())
    return _uncached(ok(item) if keys.is_stored(key.id) else ok(item, 202, message=NOT_STORED))


@blueprint.post("/api/v1/api-keys/<key_id>/rotate")
@key_operation(
    "rotateApiKey",
    "Rotate an API key",
    description="Gives a live key a new text, which is in this answer and nowhere else; its id, and so its sessions "
    "and files, stay. The old text ends at once, or after `overlap_seconds`, so that clients can be moved one by one. "
    "Rotating again during an overlap ends the oldest text.",
    params=[KEY_ID],
    body=Body(
        RotateApiKeyRequest,
        {"at once": {}, "with an hour to change over": {"overlap_seconds": 3600}},
        required=False,
    ),
    answers={200: _with_text("The key, with its new text")},
    errors={
        400: refusal("A revoked or expired key cannot be rotated", "key_not_live"),
        **_SCOPE_MISSING,
        **_NOT_FOUND,
        **_BODY_ERRORS,
    },
)
async def rotate_api_key(key_id: str) -> Response:
    rotation = convert(await optional_json_object(MAX_KEY_BODY_BYTES), RotateApiKeyRequest)
    overlap = timedelta(seconds=rotation.overlap_seconds)
    keys = service(KeyService)
    key, text = await keys.rotate(key_id, overlap=overlap, principal=caller(), address=request.remote_addr)
    return _uncached(ok(NewApiKey.of(key, keys.now(), key=text)))


def _uncached(response: Response) -> Response:
    """Keep an answer about keys out of caches."""
    response.headers["Cache-Control"] = "no-store"
    return response
