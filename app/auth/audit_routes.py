"""`/api/v1/audit`: who changed what."""

import re
from typing import Annotated

import msgspec
from quart import Blueprint, Response, request

from app.auth.guards import caller
from app.auth.scopes import Scope
from app.auth.service import KeyService
from app.edge.operation import Answer, Param, operation, refusal
from app.edge.responses import ok
from app.edge.schemas import DateTime, example, shape_of
from app.edge.services import service
from app.errors import BadRequest

blueprint = Blueprint("audit", __name__)

MAX_LIMIT = 100


class AuditItem(msgspec.Struct):
    """One change. `key_id` is the key that made it, null for the command line."""

    at: DateTime
    key_id: Annotated[str | None, example("5f0c7c6e-6b0a-4f0e-9a55-2f6f6f2f9d11")]
    action: Annotated[str, example("api_key.created")]
    target: Annotated[str, example("0b9f3c51-7f6e-4f21-9b7e-4c3f4a3e0d58")]
    address: Annotated[str | None, example("203.0.113.7")]


class AuditPage(msgspec.Struct):
    """`next_cursor` is null at the end."""

    entries: list[AuditItem]
    next_cursor: str | None


@blueprint.get("/api/v1/audit")
@operation(
    "listAudit",
    "List changes",
    scope=Scope.ADMIN,
    tag="Management",
    description="Who changed what with admin rights, the newest first: keys, bots, MCP servers, profiles, "
    "providers; and who signed in. For a key that is not bound to a username.",
    params=[
        Param("cursor", "The `next_cursor` of the page before.", {"type": "string", "pattern": "^[0-9]{1,18}$"}),
        Param("limit", "Held to 1..100.", {"type": "integer", "default": 50}),
    ],
    answers={200: Answer("One page", AuditPage, envelope="ApiResponseAudit")},
    errors={
        400: refusal("cursor is not one of a page", "invalid_cursor", "invalid_limit"),
        403: refusal("The API key is bound to a username", "username_not_allowed"),
    },
)
async def list_audit() -> Response:
    caller().check_unbound()
    cursor, limit = request.args.get("cursor"), _limit(request.args.get("limit"))
    if cursor is not None and not re.fullmatch("[0-9]{1,18}", cursor):
        raise BadRequest("cursor is not one of a page", code="invalid_cursor")
    entries = await service(KeyService).audit(before=None if cursor is None else int(cursor), limit=limit + 1)
    next_cursor = str(entries[limit - 1].id) if len(entries) > limit else None
    return ok(AuditPage([shape_of(AuditItem, entry) for entry in entries[:limit]], next_cursor))


def _limit(text: str | None) -> int:
    if text is None:
        return 50
    if not re.fullmatch(r"\s*[+-]?[0-9]{1,18}\s*", text, re.ASCII):
        raise BadRequest("limit must be an integer", code="invalid_limit")
    return min(max(int(text), 1), MAX_LIMIT)
