"""The one gate: every HTTP request passes it, and a route that declares no scope is closed."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from urllib.parse import urlsplit

from quart import Quart, current_app, g
from quart.globals import request_ctx
from structlog.contextvars import bind_contextvars
from werkzeug.datastructures import Headers

from app.auth.models import Principal
from app.auth.scopes import Scope
from app.auth.service import ANONYMOUS, KeyService
from app.edge.operation import PUBLIC, operation_of
from app.edge.services import service, service_of
from app.errors import Forbidden, Unauthorized

LOOK_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class AuthPolicy:
    """`open_to_all` is `--no-auth`; `allow_query_keys` admits keys in the URL; `origins` may call from a browser."""

    open_to_all: bool = False
    allow_query_keys: bool = False
    origins: frozenset[str] = frozenset()


def install_guard(app: Quart) -> None:
    """Check every request before its view runs; WebSockets check themselves, with `authorize`."""

    @app.before_request
    async def guard() -> None:
        request = request_ctx.request
        if request.url_rule is None or request.method == "OPTIONS":
            return  # unknown path, wrong method, or a question about one: nothing runs
        declared = operation_of(app.view_functions.get(request.url_rule.endpoint))
        if declared is None:
            raise Forbidden("This route declares no scope", code="no_scope")
        if declared.scope != PUBLIC:
            policy = service_of(app, AuthPolicy)
            # The query is taken apart only where a key may stand in it.
            args = request.args if policy.allow_query_keys else {}
            g.principal = await _admit(app, policy, request.headers, args, declared.scope)


async def authorize(headers: Headers, args: Mapping[str, str], scope: Scope) -> Principal:
    """The caller, who has the scope. Raises Unauthorized, Forbidden."""
    return await _admit(current_app, service(AuthPolicy), headers, args, scope)


async def _admit(app: Quart, policy: AuthPolicy, headers: Headers, args: Mapping[str, str], scope: str) -> Principal:
    if policy.open_to_all:
        _check_from_here(headers, policy)
        principal = ANONYMOUS
    elif text := _key_text(headers, args, policy):
        principal = await service_of(app, KeyService).verify(text)
    else:
        raise Unauthorized("Missing API key", code="missing_api_key")
    bind_contextvars(key_id=principal.key_id)
    if scope not in principal.scopes:
        raise Forbidden("Insufficient API key scope", code="insufficient_scope")
    return principal


class KeyWatch:
    """That a stream's caller may still be told what comes; `admission()` is the present request's."""

    __slots__ = ("_keys", "_looked", "_principal")

    def __init__(self, keys: KeyService, principal: Principal) -> None:
        self._keys = keys
        self._principal = principal
        self._looked = time.monotonic()

    async def holds(self) -> bool:
        """Whether the caller's key is still live, by what was so LOOK_SECONDS ago at most."""
        now = time.monotonic()
        if now - self._looked <= LOOK_SECONDS:
            return True
        self._looked = now
        return await self._keys.is_live(self._principal)


def key_watch() -> KeyWatch:
    return KeyWatch(service(KeyService), caller())


def caller() -> Principal:
    """Who makes the present request."""
    principal: Principal = g.principal
    return principal


def _check_from_here(headers: Headers, policy: AuthPolicy) -> None:
    """Raises Forbidden for what a page of another site asks of a server without keys, through its visitor's browser.

    Such a page says its origin, in a WebSocket's handshake too; or its site's name leads here (DNS rebinding), and
    then stands in `Host`.
    """
    if "*" in policy.origins:
        return
    host = headers.get("Host")
    for origin in (headers.get("Origin"), f"http://{host}" if host else None):
        if origin is not None and origin not in policy.origins and not _is_loopback(origin):
            raise Forbidden(
                "Without API keys only this machine is served; PALAVER_CORS_ORIGINS admits others",
                code="origin_not_allowed",
            )


def _is_loopback(origin: str) -> bool:
    try:
        name = urlsplit(origin).hostname or ""
        return name == "localhost" or name.endswith(".localhost") or ip_address(name).is_loopback
    except ValueError:
        return False


def _key_text(headers: Headers, args: Mapping[str, str], policy: AuthPolicy) -> str | None:
    if key := headers.get("X-API-Key", "").strip():
        return key
    scheme, _, key = headers.get("Authorization", "").strip().partition(" ")
    if scheme.lower() in ("bearer", "apikey") and key.strip():
        return key.strip()
    if policy.allow_query_keys:
        return args.get("api_key") or args.get("key") or None
    return None
