"""The cookie of a browser session, and the checks by which no other page can use it."""

from collections.abc import Collection
from datetime import datetime
from typing import Final

from quart import Response, has_request_context, request, websocket
from werkzeug.datastructures import Headers

from app.errors import Forbidden

COOKIE: Final = "palaver_session"
HEADER: Final = "X-Palaver-Browser"
_SAFE_METHODS: Final = frozenset({"GET", "HEAD"})
_OWN_SITES: Final = (None, "same-origin", "none")


def session_text(headers: Headers, origins: Collection[str]) -> str | None:
    """Return the text in the request's cookie, None without one. Raises Forbidden for what another page may have sent.

    The cookie's `SameSite=Strict` keeps other sites out, but not other hosts of the same site. Those send their origin
    (of `origins` it may be one that the operator has named), and cannot send HEADER.
    """
    if COOKIE not in headers.get("Cookie", ""):
        return None
    source = request if has_request_context() else websocket
    text = source.cookies.get(COOKIE)
    if not text:
        return None
    origin = headers.get("Origin")
    is_own = origin is None or origin in origins or origin.partition("://")[2].lower() == source.host.lower()
    if not is_own or headers.get("Sec-Fetch-Site") not in _OWN_SITES:
        raise Forbidden("A browser session is for Palaver's own pages", code="origin_not_allowed")
    if source is websocket:  # where pages can set no header, but send their origin
        if origin is None:
            raise Forbidden("A WebSocket of a browser session needs an Origin", code="origin_not_allowed")
    elif request.method not in _SAFE_METHODS and headers.get(HEADER) != "1":
        raise Forbidden(
            f"With a browser session, what changes anything needs {HEADER}: 1", code="browser_header_missing"
        )
    return text


def set_cookie(response: Response, text: str, expires_at: datetime) -> None:
    """Give the browser its session, over https alone where it came by https."""
    response.set_cookie(
        COOKIE, text, expires=expires_at, path="/", secure=_came_by_https(), httponly=True, samesite="Strict"
    )


def clear_cookie(response: Response) -> None:
    response.delete_cookie(COOKIE, path="/", secure=_came_by_https(), httponly=True, samesite="Strict")


def _came_by_https() -> bool:
    """Check the page's own address too: a proxy that ends TLS speaks http to Palaver."""
    forwarded = request.headers.get("X-Forwarded-Proto", "")
    return request.scheme == "https" or forwarded == "https" or request.headers.get("Origin", "").startswith("https://")
