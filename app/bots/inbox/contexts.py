"""Rights to reply that expire: the newest is used first, and the same for each try of a fragment."""

from datetime import datetime

from sqlalchemy import Connection

from app.bots.adapters.base import ReplyContext
from app.bots.inbox.store import use_context
from app.bots.outbox.models import StoredFragment
from app.bots.outbox.store import Lane, end_fragment
from app.clock import iso, utc_now
from app.crypto import SecretBox
from app.database.engine import Database


class ReplyContexts:
    """The contexts of all chats; their tokens are encrypted at rest."""

    def __init__(self, database: Database, secrets: SecretBox) -> None:
        self._database = database
        self._secrets = secrets

    async def of_fragment(self, lane: Lane, fragment: StoredFragment) -> ReplyContext | None:
        """Use a context for a fragment; None if there is none. The next try of the fragment gets the same one."""
        stored = (fragment.extra or {}).get("context")
        if stored is not None:
            token = self._secrets.decrypt(stored["token"].encode()).decode()
            return ReplyContext(token, stored["number"], datetime.fromisoformat(stored["expires_at"]))

        def use(connection: Connection) -> tuple[bytes, int, datetime] | None:
            found = use_context(connection, lane, utc_now())
            if found is not None:
                token, number, expires_at = found
                context = {"token": token.decode(), "number": number, "expires_at": iso(expires_at)}
                end_fragment(connection, fragment, extra={**(fragment.extra or {}), "context": context})
            return found

        return self._opened(await self._database.write(use))

    async def of_live(self, lane: Lane) -> ReplyContext | None:
        """Use a context for a message that shows a reply while it is made."""
        return self._opened(await self._database.write(lambda connection: use_context(connection, lane, utc_now())))

    def _opened(self, found: tuple[bytes, int, datetime] | None) -> ReplyContext | None:
        if found is None:
            return None
        token, number, expires_at = found
        return ReplyContext(self._secrets.decrypt(token).decode(), number, expires_at)
