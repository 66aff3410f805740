"""CORS: the pages of other origins that may call the API from a browser."""

from collections.abc import Collection
from typing import Final

from quart import Quart, Response, request, websocket

METHODS: Final = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"
# The star allows headers that client libraries add (`X-Stainless-*`), but never stands for Authorization.
HEADERS: Final = (
    "Authorization, X-API-Key, Content-Type, Idempotency-Key, If-None-Match, Last-Event-ID, Range, X-Request-ID, "
    "X-Session-Key, *"
)
EXPOSED: Final = (
    "X-Request-ID, Retry-After, ETag, WWW-Authenticate, Content-Disposition, Content-Range, Accept-Ranges, Location"
)
MAX_AGE_SECONDS: Final = 600
POLICY_VIOLATION: Final = 1008


def install_cors(app: Quart, origins: Collection[str]) -> None:
    """Let the pages of `origins` (`https://chat.example.com`; `*` is all) call the API; with none, only our own.

    Keys travel in headers, never in cookies, so credentials are not allowed. Browsers send no preflight before a
    WebSocket, so one from a page of another origin is closed (1008) before anything is read from it. Programs send no
    Origin and pass.
    """
    allowed = frozenset(origin.rstrip("/").lower() for origin in origins)
    allows_all = "*" in allowed

    @app.before_websocket
    async def check_origin() -> Response | None:
        origin = websocket.headers.get("Origin")
        if origin is None or allows_all or origin.lower() in allowed:
            return None
        if origin.lower().partition("://")[2] == websocket.host.lower():
            return None
        # Hypercorn 0.18 fails on what the client sends after a refused handshake.
        await websocket.accept()
        await websocket.close(POLICY_VIOLATION, "Pages of this origin may not open a WebSocket here")
        return Response("")

    if not allowed:
        return

    @app.after_request
    async def allow_origin(response: Response) -> Response:
        headers = response.headers
        if not allows_all:
            response.vary.add("Origin")
        origin = request.headers.get("Origin")
        if origin is None or not (allows_all or origin.lower() in allowed):
            return response
        headers["Access-Control-Allow-Origin"] = "*" if allows_all else origin
        headers["Access-Control-Expose-Headers"] = EXPOSED
        if request.method == "OPTIONS" and "Access-Control-Request-Method" in request.headers:
            headers["Access-Control-Allow-Methods"] = METHODS
            headers["Access-Control-Allow-Headers"] = HEADERS
            headers["Access-Control-Max-Age"] = str(MAX_AGE_SECONDS)
        return response
