"""The one gate: every HTTP request passes it, and a route that declares no scope is closed."""

from collections.abc import Mapping
from dataclasses import dataclass

from quart import Quart, current_app, g, request
from structlog.contextvars import bind_contextvars
from werkzeug.datastructures import Headers

from app.auth.models import Principal
from app.auth.scopes import Scope
from app.auth.service import ANONYMOUS, KeyService
from app.errors import Forbidden, Unauthorized
from app.kit.http import service
from app.kit.operation import PUBLIC, operation_of


@dataclass(frozen=True, slots=True)
class AuthPolicy:
    """`open_to_all` is `--no-auth`; `allow_query_keys` admits keys in the URL."""

    open_to_all: bool = False
    allow_query_keys: bool = False


def install_guard(app: Quart) -> None:
    """Check every request before its view runs; WebSockets check themselves, with `authorize`."""

    @app.before_request
    async def guard() -> None:
        if request.url_rule is None or request.method == "OPTIONS":
            return  # unknown path, wrong method, or a question about one: nothing runs
        view = current_app.view_functions.get(request.endpoint or "")
        declared = operation_of(view)
        if declared is None:
            raise Forbidden("This route declares no scope", code="no_scope")
        if declared.scope != PUBLIC:
            g.principal = await authorize(request.headers, request.args, Scope(declared.scope))


async def authorize(headers: Headers, args: Mapping[str, str], scope: Scope) -> Principal:
    """The caller, who has the scope. Raises Unauthorized, Forbidden."""
    policy = service(AuthPolicy)
    text = _key_text(headers, args, policy)
    if text is None or policy.open_to_all:
        if not policy.open_to_all:
            raise Unauthorized("Missing API key", code="missing_api_key")
        principal = ANONYMOUS
    else:
        principal = await service(KeyService).verify(text)
    bind_contextvars(key_id=principal.key_id)
    if scope not in principal.scopes:
        raise Forbidden("Insufficient API key scope", code="insufficient_scope")
    return principal


def caller() -> Principal:
    """Who makes the present request."""
    principal: Principal = g.principal
    return principal


def _key_text(headers: Headers, args: Mapping[str, str], policy: AuthPolicy) -> str | None:
    if key := headers.get("X-API-Key", "").strip():
        return key
    scheme, _, key = headers.get("Authorization", "").strip().partition(" ")
    if scheme.lower() in ("bearer", "apikey") and key.strip():
        return key.strip()
    if policy.allow_query_keys:
        return args.get("api_key") or args.get("key") or None
    return None
