"""Making browser tokens, and signing browsers in and out."""

from collections.abc import Collection
from datetime import datetime, timedelta
from typing import Final

from msgspec import structs
from sqlalchemy import Connection

from app.auth.audit import Change, record_changes
from app.auth.browser import store
from app.auth.browser.models import Grant
from app.auth.browser.refusals import RefusedSignIns
from app.auth.checks import MAX_USERNAME_CHARS, check_text
from app.auth.keytext import SESSION_PREFIX, TOKEN_PREFIX, is_well_formed, new_key_text
from app.auth.models import Principal, check_not_reserved
from app.auth.scopes import Scope
from app.auth.service import KeyService
from app.auth.store import count_change
from app.crypto import SecretBox
from app.database.engine import Database
from app.errors import Conflict, Forbidden, Unauthorized

TOKEN_TIME: Final = timedelta(minutes=5)
OPERATOR_KEY_NAME: Final = "dashboard"
"""The key behind the tokens of the command line; nobody has its text."""


class BrowserSessions:
    """Tokens that a key makes for its users, and the sessions that they become; a session lasts for `lifetime`.

    With `open_to_all` the server asks for no keys, and there is nothing to sign in to.
    """

    def __init__(
        self, database: Database, secrets: SecretBox, keys: KeyService, lifetime: timedelta, *, open_to_all: bool
    ) -> None:
        self._database = database
        self._secrets = secrets
        self._keys = keys
        self._open_to_all = open_to_all
        self._refused = RefusedSignIns()
        self.lifetime = lifetime

    async def create_token(
        self, principal: Principal, username: str, scopes: Collection[Scope] | None, address: str | None
    ) -> tuple[str, Grant]:
        """Make a token for a user, with some of the key's scopes (None: all but `admin`), for a caller at an address.

        Raises BadRequest, Conflict, Forbidden for scopes and users that the caller lacks, and for a browser session.
        """
        self._check_keys_used()
        if principal.is_browser:
            raise Forbidden("A browser session makes no browser tokens", code="browser_session_not_allowed")
        username = check_text("username", username, MAX_USERNAME_CHARS)
        check_not_reserved(username)
        principal.check_user(username)
        granted = principal.scopes - {Scope.ADMIN} if scopes is None else frozenset(scopes)
        if missing := granted - principal.scopes:
            raise Forbidden(
                f"The API key cannot grant scopes it lacks: {', '.join(sorted(missing))}", code="scope_not_held"
            )
        if not granted:
            raise Forbidden("The API key has no scope but admin, which is granted by name", code="scope_not_held")
        grant = Grant(
            key_id=principal.key_id,
            key_digest=principal.digest,
            username=username,
            scopes=granted,
            expires_at=self._keys.now() + TOKEN_TIME,
        )
        return await self._add_token(grant, principal.key_id, username, address), grant

    async def create_operator_token(self) -> str:
        """Make a token with every right, for those who have the data folder. Raises Conflict."""
        self._check_keys_used()
        now = self._keys.now()
        key = await self._database.read(lambda connection: store.find_operator_key(connection, OPERATOR_KEY_NAME))
        if key is None:
            made, text = await self._keys.create(name=OPERATOR_KEY_NAME, scopes=list(Scope))
            key = made.id, self._secrets.digest(text.encode())
        key_id, digest = key
        grant = Grant(
            key_id=key_id, key_digest=digest, username=None, scopes=frozenset(Scope), expires_at=now + TOKEN_TIME
        )
        return await self._add_token(grant, None, OPERATOR_KEY_NAME, None)

    async def _add_token(self, grant: Grant, maker: str | None, target: str, address: str | None) -> str:
        text = new_key_text(TOKEN_PREFIX)
        digest = self._secrets.digest(text.encode())
        change = self._change("browser_token.created", maker, target, address)

        def add(connection: Connection) -> None:
            store.add_token(connection, digest, grant)
            record_changes(connection, [change])

        await self._database.write(add)
        return text

    async def sign_in(self, token: str, address: str | None) -> tuple[str, Principal, datetime]:
        """Use a token up, and begin a session; returns its text, its principal and its end.

        Raises Conflict, Unauthorized.
        """
        self._check_keys_used()
        now = self._keys.now()
        text = new_key_text(SESSION_PREFIX)
        token_digest, digest = (self._secrets.digest(each.encode()) for each in (token, text))

        def begin(connection: Connection) -> Grant | None:
            if (grant := store.take_token(connection, token_digest, now)) is None:
                return None
            session = structs.replace(grant, expires_at=now + self.lifetime)
            self._add_session(connection, digest, session, address)
            return session

        session = await self._database.write(begin) if is_well_formed(token, TOKEN_PREFIX) else None
        if session is None:
            raise Unauthorized("The browser token is wrong, expired or used", code="invalid_browser_token")
        # Its key may have ended since the token was made.
        return text, await self._keys.verify(text), session.expires_at

    async def sign_in_with_key(self, key: str, address: str | None) -> tuple[str, Principal, datetime]:
        """Begin a session with all that a key may do. Raises Conflict, Unauthorized, Forbidden for the address."""
        self._check_keys_used()
        principal = await self._keys.verify(key)
        if principal.is_browser:
            raise Unauthorized("Invalid API key", code="invalid_api_key")
        if principal.limits is not None:
            principal.limits.check_address(address)
        now = self._keys.now()
        grant = Grant(
            key_id=principal.key_id,
            key_digest=principal.digest,
            username=principal.username,
            scopes=principal.scopes,
            expires_at=now + self.lifetime,
        )
        text = new_key_text(SESSION_PREFIX)
        digest = self._secrets.digest(text.encode())
        await self._database.write(lambda connection: self._add_session(connection, digest, grant, address))
        return text, await self._keys.verify(text), grant.expires_at

    async def record_refusal(self, reason: str, address: str | None) -> None:
        """Write a refused sign-in down, with the code of its error; a few of each address, whoever guesses."""
        if self._refused.is_new(address):
            change = self._change("browser_session.refused", None, reason, address)
            await self._database.write(lambda connection: record_changes(connection, [change]))

    async def sign_out(self, principal: Principal, address: str | None) -> None:
        """End the caller's session. Raises Conflict for a caller that is none."""
        if not principal.is_browser:
            raise Conflict("The caller is a key, and no browser session", code="not_a_browser_session")
        now = self._keys.now()

        def delete(connection: Connection) -> None:
            store.delete_session(connection, principal.session)
            record_changes(
                connection,
                [self._change("browser_session.deleted", principal.key_id, principal.username or "", address)],
            )
            count_change(connection, now)

        await self._database.write(delete)
        self._keys.drop_caches()

    async def purge(self) -> None:
        """Delete what has expired."""
        now = self._keys.now()
        await self._database.write(lambda connection: store.purge(connection, now))

    def _add_session(self, connection: Connection, digest: bytes, grant: Grant, address: str | None) -> None:
        store.add_session(connection, digest, grant, self._keys.now())
        change = self._change("browser_session.created", grant.key_id, grant.username or "", address)
        record_changes(connection, [change])

    def _change(self, action: str, key_id: str | None, target: str, address: str | None) -> Change:
        return Change(at=self._keys.now(), key_id=key_id, action=action, target=target, address=address)

    def _check_keys_used(self) -> None:
        if self._open_to_all:
            raise Conflict("This server asks for no keys: there is nothing to sign in to", code="no_keys")
