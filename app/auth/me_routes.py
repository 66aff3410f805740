"""`GET /api/v1/me`: what the caller's own key is and may do."""

from typing import Annotated

import msgspec
from msgspec import Meta
from quart import Blueprint, Response

from app.auth.guards import caller
from app.auth.schemas import BudgetItem, KeyId, RatesItem, limits_of
from app.auth.scopes import Scope
from app.auth.service import KeyService
from app.clock import iso
from app.edge.operation import ANY_KEY, Answer, operation
from app.edge.responses import ok
from app.edge.schemas import DateTime, example, shape_of
from app.edge.services import service

blueprint = Blueprint("me", __name__)


class Me(msgspec.Struct, kw_only=True):
    """The caller. `username` is the one user that it may act for, null for any."""

    key_id: KeyId
    name: Annotated[str, example("shop")]
    scopes: Annotated[list[Scope], example(["chat", "file"])]
    username: Annotated[str | None, example("alice")]
    is_browser_session: Annotated[
        bool, Meta(description="Whether the caller is a browser session of the key, and not the key."), example(False)
    ]
    expires_at: Annotated[DateTime | None, example(None)]
    models: Annotated[list[str] | None, example(None)]
    configs: Annotated[list[str] | None, example(None)]
    ip_ranges: Annotated[list[str] | None, example(None)]
    rpm_limit: Annotated[int | None, example(60)]
    tpm_limit: Annotated[int | None, example(None)]
    max_parallel_requests: Annotated[int | None, example(None)]
    budget: Annotated[BudgetItem | None, example(None)]
    per_user: Annotated[RatesItem | None, example(None)]


@blueprint.get("/api/v1/me")
@operation(
    "getMe",
    "Get the caller",
    scope=ANY_KEY,
    tag="Management",
    description="The caller's own key: its scopes, its user, and when it ends. Without keys (`--no-auth`) it is the "
    "key `anonymous`.",
    answers={200: Answer("The caller", Me, envelope="ApiResponseMe")},
)
async def get_me() -> Response:
    principal = caller()
    expires_at = await service(KeyService).ends_at(principal)
    me = shape_of(
        Me,
        principal,
        scopes=[scope for scope in Scope if scope in principal.scopes],
        is_browser_session=principal.is_browser,
        expires_at=None if expires_at is None else iso(expires_at),
        **limits_of(principal.limits),
    )
    response = ok(me)
    response.headers["Cache-Control"] = "no-store"
    return response
