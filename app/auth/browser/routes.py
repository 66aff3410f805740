"""`/api/v1/browser-tokens` and `/api/v1/browser-sessions`: signing a web page in and out."""

from datetime import datetime
from typing import Annotated

import msgspec
from msgspec import Meta
from quart import Blueprint, Response, request

from app.auth.browser.cookies import clear_cookie, set_cookie
from app.auth.browser.service import BrowserSessions
from app.auth.checks import MAX_USERNAME_CHARS, TEXT_PATTERN
from app.auth.guards import caller
from app.auth.models import Principal
from app.auth.schemas import MAX_KEY_BODY_BYTES
from app.auth.scopes import Scope
from app.auth.service import KeyService
from app.clock import iso
from app.edge.bodies import body_errors, convert, json_object
from app.edge.operation import ANY_KEY, PUBLIC, Answer, Body, operation, refusal
from app.edge.responses import ok
from app.edge.schemas import DateTime, example, example_of
from app.edge.services import service
from app.errors import BadRequest, Forbidden, Unauthorized

blueprint = Blueprint("browser_sessions", __name__)

_BODY_ERRORS = body_errors(MAX_KEY_BODY_BYTES)
_NO_KEYS = {409: refusal("This server asks for no keys: there is nothing to sign in to", "no_keys")}

Scopes = Annotated[list[Scope], example(["chat", "file"])]
Username = Annotated[str | None, example("alice")]


class BrowserTokenRequest(msgspec.Struct, kw_only=True):
    """The user that the page acts for, and what it may do: no more than the key. Left out, all that but `admin`."""

    username: Annotated[str, Meta(max_length=MAX_USERNAME_CHARS, pattern=TEXT_PATTERN)]
    scopes: Annotated[list[Scope], Meta(min_length=1)] | None = None


class BrowserToken(msgspec.Struct):
    """A token for one session."""

    token: Annotated[str, Meta(description="The token's text, which is shown this once."), example("plv_token_<once>")]
    username: Annotated[str, example("alice")]
    scopes: Scopes
    expires_at: DateTime


class BrowserSessionRequest(msgspec.Struct, kw_only=True):
    """A browser token, or the text of a key, whose whole rights the session gets then.

    With `bearer` the answer holds the session's text, to be sent as a key is, and sets no cookie.
    """

    token: Annotated[str, Meta(max_length=255, description="A browser token.")] | None = None
    key: Annotated[str, Meta(max_length=1024, description="The text of a key.")] | None = None
    bearer: Annotated[bool, Meta(description="Answers with the session's text instead of a cookie.")] = False


class BrowserSession(msgspec.Struct):
    """A session; `session` is its text, null where a cookie holds it."""

    session: Annotated[str | None, Meta(description="The session's text, with `bearer`."), example(None)]
    username: Username
    scopes: Scopes
    expires_at: DateTime


class SignedOut(msgspec.Struct):
    signed_out: Annotated[bool, Meta(description="Always true."), example(True)]


@blueprint.post("/api/v1/browser-tokens")
@operation(
    "createBrowserToken",
    "Create a browser token",
    scope=ANY_KEY,
    tag="Management",
    description="A token for one user, good for five minutes and once: a program hands it to that user's page, which "
    "exchanges it for a session, so that no key lies in the page. It has no more scopes than the key; `admin` must be "
    "asked for by name. A browser session makes no tokens.",
    body=Body(BrowserTokenRequest, {"one user": {"username": "alice", "scopes": ["chat", "file"]}}),
    answers={201: Answer("The token", BrowserToken, envelope="ApiResponseBrowserToken")},
    errors={
        400: refusal("Missing key: username", "missing_key", "invalid_request", "username_reserved"),
        403: refusal(
            "The API key cannot grant scopes it lacks: im",
            "scope_not_held",
            "username_not_allowed",
            "browser_session_not_allowed",
        ),
        **_NO_KEYS,
        **_BODY_ERRORS,
    },
)
async def create_browser_token() -> Response:
    body = await json_object(MAX_KEY_BODY_BYTES)
    if "username" not in body:
        raise BadRequest("Missing key: username", code="missing_key")
    new = convert(body, BrowserTokenRequest)
    text, grant = await service(BrowserSessions).create_token(caller(), new.username, new.scopes, request.remote_addr)
    token = BrowserToken(text, new.username.strip(), _sorted(grant.scopes), iso(grant.expires_at))
    return _uncached(ok(token, 201))


@blueprint.post("/api/v1/browser-sessions")
@operation(
    "createBrowserSession",
    "Sign in",
    scope=PUBLIC,
    tag="Management",
    description="Exchanges a browser token, or a key, for a session. It comes as the cookie `palaver_session` "
    "(`HttpOnly`, `SameSite=Strict`), with which every route can be called; requests other than GET and HEAD need the "
    "header `X-Palaver-Browser: 1` then. The session ends after `PALAVER_BROWSER_SESSION_HOURS`, and with its key.",
    body=Body(
        BrowserSessionRequest,
        {"a token": {"token": "plv_token_<once>"}, "a key": {"key": "plv_<of the caller>", "bearer": True}},
    ),
    answers={
        201: Answer(
            "The session",
            BrowserSession,
            example_of(BrowserSession),
            envelope="ApiResponseBrowserSession",
            headers={"Set-Cookie": "The session, unless the request says `bearer`."},
        )
    },
    errors={
        400: refusal("Send token or key", "invalid_request"),
        401: refusal(
            "The browser token is wrong, expired or used",
            "invalid_browser_token",
            "invalid_api_key",
            "browser_session_ended",
        ),
        403: refusal("The API key is blocked", "key_blocked", "address_not_allowed"),
        **_NO_KEYS,
        **_BODY_ERRORS,
    },
)
async def create_browser_session() -> Response:
    sign_in = convert(await json_object(MAX_KEY_BODY_BYTES), BrowserSessionRequest)
    if (sign_in.token is None) == (sign_in.key is None):
        raise BadRequest("Send token or key", code="invalid_request")
    text, principal, expires_at = await _signed_in(sign_in)
    session = BrowserSession(
        text if sign_in.bearer else None, principal.username, _sorted(principal.scopes), iso(expires_at)
    )
    response = _uncached(ok(session, 201))
    if not sign_in.bearer:
        set_cookie(response, text, expires_at)
    return response


@blueprint.delete("/api/v1/browser-sessions")
@operation(
    "deleteBrowserSession",
    "Sign out",
    scope=ANY_KEY,
    tag="Management",
    description="Ends the caller's session at once, with its streams, and takes the cookie back.",
    answers={200: Answer("The session is over", SignedOut, envelope="ApiResponseSignedOut")},
    errors={409: refusal("The caller is a key, and no browser session", "not_a_browser_session")},
)
async def delete_browser_session() -> Response:
    await service(BrowserSessions).sign_out(caller(), request.remote_addr)
    response = _uncached(ok(SignedOut(True)))
    clear_cookie(response)
    return response


async def _signed_in(sign_in: BrowserSessionRequest) -> tuple[str, Principal, datetime]:
    """Begin a session. Raises Unauthorized, late for those who guess, Forbidden."""
    sessions, address = service(BrowserSessions), request.remote_addr
    try:
        if sign_in.token is not None:
            return await sessions.sign_in(sign_in.token, address)
        return await sessions.sign_in_with_key(sign_in.key or "", address)
    except (Unauthorized, Forbidden) as error:
        await sessions.record_refusal(error.code, address)
        if isinstance(error, Unauthorized):
            await service(KeyService).guesses.slow_down(address)
        raise


def _sorted(scopes: frozenset[Scope]) -> list[Scope]:
    return [scope for scope in Scope if scope in scopes]


def _uncached(response: Response) -> Response:
    response.headers["Cache-Control"] = "no-store"
    return response
