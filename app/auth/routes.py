"""`/api/v1/api-keys`: making, listing, rotating and ending keys."""

from datetime import timedelta

from quart import Blueprint, Response

from app.auth import examples
from app.auth.guards import caller
from app.auth.schemas import (
    MAX_KEY_BODY_BYTES,
    ApiKeyItem,
    ApiKeyList,
    CreateApiKeyRequest,
    DeletedApiKey,
    NewApiKey,
    RotateApiKeyRequest,
)
from app.auth.scopes import Scope
from app.auth.service import KeyService
from app.edge.bodies import convert, json_object, optional_json_object
from app.edge.operation import operation
from app.edge.responses import ok
from app.edge.services import service
from app.errors import BadRequest

TAG = "Management"

blueprint = Blueprint("api_keys", __name__)


@blueprint.get("/api/v1/api-keys")
@operation(
    "listApiKeys",
    "List API keys",
    scope=Scope.ADMIN,
    description="Every key that the caller may manage, the newest first, without their texts. "
    "A caller bound to a username sees the keys bound to it. Keys given in the settings are not listed.",
    answers=examples.LISTED,
    tag=TAG,
)
async def list_api_keys() -> Response:
    keys = await service(KeyService).list_keys(principal=caller())
    return ok(ApiKeyList([ApiKeyItem.of(key) for key in keys]))


@blueprint.post("/api/v1/api-keys")
@operation(
    "createApiKey",
    "Create an API key",
    scope=Scope.ADMIN,
    description="A new key. Its text is in this answer and nowhere else: Palaver keeps only a hash of it. "
    "A caller cannot grant scopes that it lacks, and one bound to a username can only make keys bound to it.",
    body=examples.CREATE,
    answers=examples.CREATED,
    errors=examples.CREATE_ERRORS,
    tag=TAG,
)
async def create_api_key() -> Response:
    body = await json_object(MAX_KEY_BODY_BYTES)
    for field in ("name", "scopes"):
        if field not in body:
            raise BadRequest(f"Missing key: {field}", code="missing_key")
    new = convert(body, CreateApiKeyRequest)
    key, text = await service(KeyService).create(
        name=new.name,
        scopes=new.scopes,
        username=new.username,
        expires_in_days=new.expires_in_days,
        principal=caller(),
    )
    return ok(NewApiKey.with_text(key, text), 201)


@blueprint.delete("/api/v1/api-keys/<key_id>")
@operation(
    "deleteApiKey",
    "Delete an API key",
    scope=Scope.ADMIN,
    description="Ends a key at once and forgets it; a key may delete itself. "
    "To keep it in the listing, revoke it instead.",
    params=[examples.KEY_ID],
    answers=examples.DELETED,
    errors=examples.NOT_FOUND,
    tag=TAG,
)
async def delete_api_key(key_id: str) -> Response:
    await service(KeyService).delete(key_id, principal=caller())
    return ok(DeletedApiKey(key_id))


@blueprint.post("/api/v1/api-keys/<key_id>/revoke")
@operation(
    "revokeApiKey",
    "Revoke an API key",
    scope=Scope.ADMIN,
    description="Ends a key for good, at once, and keeps it in the listing; a key may revoke itself. "
    "Revoking it again changes nothing.",
    params=[examples.KEY_ID],
    answers=examples.REVOKED,
    errors=examples.NOT_FOUND,
    tag=TAG,
)
async def revoke_api_key(key_id: str) -> Response:
    return ok(ApiKeyItem.of(await service(KeyService).revoke(key_id, principal=caller())))


@blueprint.post("/api/v1/api-keys/<key_id>/rotate")
@operation(
    "rotateApiKey",
    "Rotate an API key",
    scope=Scope.ADMIN,
    description="Gives a live key a new text, which is in this answer and nowhere else; its id, and so its sessions "
    "and files, stay. The old text ends at once, or after `overlap_seconds`, so that clients can be moved one by one. "
    "Rotating again during an overlap ends the oldest text.",
    params=[examples.KEY_ID],
    body=examples.ROTATE,
    answers=examples.ROTATED,
    errors=examples.ROTATE_ERRORS,
    tag=TAG,
)
async def rotate_api_key(key_id: str) -> Response:
    rotation = convert(await optional_json_object(MAX_KEY_BODY_BYTES), RotateApiKeyRequest)
    overlap = timedelta(seconds=rotation.overlap_seconds)
    key, text = await service(KeyService).rotate(key_id, overlap=overlap, principal=caller())
    return ok(NewApiKey.with_text(key, text))
