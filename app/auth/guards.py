"""The guard of every HTTP request: a route that declares no scope is closed."""

import time
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from dataclasses import dataclass
from functools import cache
from ipaddress import ip_address
from urllib.parse import urlsplit

from quart import Quart, g, has_request_context, request, websocket
from structlog.contextvars import bind_contextvars
from werkzeug.datastructures import Headers

from app.auth.browser.cookies import session_text
from app.auth.models import Principal
from app.auth.scopes import Scope
from app.auth.service import ANONYMOUS, KeyService
from app.edge.operation import ANY_KEY, PUBLIC, operation_of
from app.edge.services import service
from app.errors import Forbidden, Unauthorized
from app.limits import Slot

RECHECK_SECONDS = 0.5
SHARED_BYTES = 16 * 1024
"""A larger piece is one that many readers may share, and is not copied."""


@dataclass(frozen=True, slots=True)
class AuthPolicy:
    """Who may call: everyone (`--no-auth`), a key in the URL too, and pages of `origins`."""

    open_to_all: bool = False
    allow_query_keys: bool = False
    origins: frozenset[str] = frozenset()


def install_guard(app: Quart, policy: AuthPolicy, keys: KeyService) -> None:
    """Check every request before its view runs; WebSockets check themselves, with `authorize`."""

    @cache
    def scope_of(endpoint: str) -> str | None:
        operation = operation_of(app.view_functions.get(endpoint))
        return None if operation is None else operation.scope

    @app.before_request
    async def guard() -> None:
        rule = request.url_rule
        if rule is None or request.method == "OPTIONS":
            return  # an unknown path, a wrong method, or a question about one: no view runs
        scope = scope_of(rule.endpoint)
        if scope is None:
            raise Forbidden("This route declares no scope", code="no_scope")
        if scope != PUBLIC:
            # The query is parsed only where a key may be in it.
            args = request.args if policy.allow_query_keys else {}
            g.principal = await _admit(policy, keys, request.headers, args, scope)
            g.caller = g.principal.key_id


async def authorize(headers: Headers, args: Mapping[str, str], scope: Scope) -> Principal:
    """Return the caller, who has the scope. Raises Unauthorized, Forbidden."""
    return await _admit(service(AuthPolicy), service(KeyService), headers, args, scope)


async def _admit(
    policy: AuthPolicy, keys: KeyService, headers: Headers, args: Mapping[str, str], scope: str
) -> Principal:
    if policy.open_to_all:
        _check_from_here(headers, policy)
        principal = ANONYMOUS
    elif text := _key_text(headers, args, policy) or session_text(headers, policy.origins):
        try:
            principal = await keys.verify(text)
        except Unauthorized:
            await keys.guesses.slow_down((request if has_request_context() else websocket).remote_addr)
            raise
    else:
        raise Unauthorized("Missing API key", code="missing_api_key")
    bind_contextvars(key_id=principal.key_id)
    if principal.limits is not None and not principal.is_browser:
        principal.limits.check_address((request if has_request_context() else websocket).remote_addr)
    if scope not in principal.scopes and scope != ANY_KEY:
        raise Forbidden("Insufficient API key scope", code="insufficient_scope")
    return principal


async def guarded_stream(
    pieces: AsyncIterator[bytes], keys: KeyService, principal: Principal, slot: Slot, *, prefix: bytes = b""
) -> AsyncGenerator[bytes]:
    """Yield pieces while the caller's key is live, and release the stream's slot at the end.

    The key is revalidated once in RECHECK_SECONDS. The first piece carries the `prefix`: sent by itself it would cost
    the server as much as any piece.
    """
    checked = time.monotonic()
    try:
        async for piece in pieces:
            now = time.monotonic()
            if now - checked > RECHECK_SECONDS:
                checked = now
                if not await keys.is_live(principal):
                    return
            if prefix and len(piece) > SHARED_BYTES:
                yield prefix
                yield piece
            else:
                yield prefix + piece
            prefix = b""
    finally:
        slot.release()


def caller() -> Principal:
    """The principal of the present request."""
    principal: Principal = g.principal
    return principal


def _check_from_here(headers: Headers, policy: AuthPolicy) -> None:
    """Refuse requests that pages of other sites send through a browser on this machine. Raises Forbidden.

    The browser sends the page's origin, with a WebSocket's handshake too. If the site's name resolves to this machine
    (DNS rebinding), there is no such origin, but the name is in `Host`.
    """
    if "*" in policy.origins:
        return
    # A page of another site that only wants the answer to be loaded (an image, a script) sends no origin, but this.
    if headers.get("Sec-Fetch-Site") == "cross-site" and headers.get("Origin") not in policy.origins:
        raise _not_from_here()
    host = headers.get("Host")
    for origin in (headers.get("Origin"), f"http://{host}" if host else None):
        if origin is not None and origin not in policy.origins and not _is_loopback(origin):
            raise _not_from_here()


def _not_from_here() -> Forbidden:
    return Forbidden(
        "Without API keys only this machine is served; PALAVER_CORS_ORIGINS admits others", code="origin_not_allowed"
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
