"""Pages of other origins: which of them may call the API from a browser.

Written here because quart-cors (0.8, of 2024) refuses every WebSocket that comes without an Origin, which is every one
that is not a browser's, and builds its header sets anew for each answer.
"""

from collections.abc import Collection
from typing import Final

from quart import Quart, Response, request, websocket

METHODS: Final = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"
# The star admits what client libraries add of their own (`X-Stainless-*`), but never stands for Authorization.
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

    Keys travel in headers, never in cookies, so that credentials are not admitted. A browser asks nobody before it
    opens a WebSocket, so that one from a page of another origin is closed here (1008) before anything is read from it;
    programs send no Origin and pass.
    """
    admitted = frozenset(origin.rstrip("/").lower() for origin in origins)
    all_admitted = "*" in admitted

    @app.before_websocket
    async def check_origin() -> Response | None:
        origin = websocket.headers.get("Origin")
        if origin is None or all_admitted or origin.lower() in admitted:
            return None
        if origin.lower().partition("://")[2] == websocket.host.lower():
            return None
        # Refusing the handshake itself makes Hypercorn 0.18 stumble over what the client sends next.
        await websocket.accept()
        await websocket.close(POLICY_VIOLATION, "Pages of this origin may not open a WebSocket here")
        return Response("")

    if not admitted:
        return

    @app.after_request
    async def admit_origin(response: Response) -> Response:
        headers = response.headers
        if not all_admitted:
            response.vary.add("Origin")
        origin = request.headers.get("Origin")
        if origin is None or not (all_admitted or origin.lower() in admitted):
            return response
        headers["Access-Control-Allow-Origin"] = "*" if all_admitted else origin
        headers["Access-Control-Expose-Headers"] = EXPOSED
        if request.method == "OPTIONS" and "Access-Control-Request-Method" in request.headers:
            headers["Access-Control-Allow-Methods"] = METHODS
            headers["Access-Control-Allow-Headers"] = HEADERS
            headers["Access-Control-Max-Age"] = str(MAX_AGE_SECONDS)
        return response
