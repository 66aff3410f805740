"""Sessions and their messages, as their users see them."""

from functools import partial
from typing import Any

import msgspec
from sqlalchemy import Connection

from app.auth.models import Principal, is_reserved
from app.chat import store, tree_store
from app.chat.ownership import check_session, session_prefix_of
from app.chat.values import Message, Session
from app.clock import utc_now
from app.database.engine import Database
from app.profiles.service import DEFAULT_ID, ProfileService


class SessionService:
    """Listing, reading, changing and deleting sessions. Raises Forbidden for a key that is bound to another user."""

    def __init__(self, database: Database, profiles: ProfileService) -> None:
        self._database = database
        self._profiles = profiles

    async def list_sessions(
        self, principal: Principal, username: str, *, page: int, page_size: int, platform_id: str | None = None
    ) -> tuple[list[Session], int]:
        """Return one page of a user's sessions, the newest first, and how many there are in all."""
        principal.check_user(username)
        list_page = partial(
            store.list_sessions,
            creator=username,
            platform_id=platform_id,
            offset=(page - 1) * page_size,
            limit=page_size,
            # Several keys may have one name.
            id_prefix=session_prefix_of(principal.key_id) if is_reserved(username) else None,
        )
        return await self._database.read(list_page)

    async def get(self, principal: Principal, username: str, session_id: str) -> Session:
        """Raises NotFound `Session not found`, Forbidden."""
        check_session(principal, username, session_id)
        return await self._database.read(lambda connection: store.get_session(connection, session_id, username))

    async def change(self, principal: Principal, username: str, session_id: str, *, changes: dict[str, Any]) -> Session:
        """Set `display_name` or `config_id` (None or `default`: the default profile).

        Raises BadRequest for an unknown profile, NotFound, Forbidden.
        """
        check_session(principal, username, session_id)
        config_id = changes.get("config_id")
        if config_id is not None:
            self._profiles.get(config_id)
            changes["config_id"] = None if config_id == DEFAULT_ID else config_id

        def change(connection: Connection) -> Session:
            session = store.get_session(connection, session_id, username)
            if not changes:
                return session
            values = {**changes, "updated_at": utc_now()}
            store.change_session(connection, session_id, values)
            return msgspec.structs.replace(session, **values)

        return await self._database.write(change)

    async def delete(self, principal: Principal, username: str, session_id: str) -> None:
        """Delete a session with its messages and runs; stop its runs first. Raises NotFound, Forbidden."""
        check_session(principal, username, session_id)

        def delete(connection: Connection) -> None:
            store.get_session(connection, session_id, username)
            store.delete_session(connection, session_id)

        await self._database.write(delete)

    async def messages(
        self,
        principal: Principal,
        username: str,
        session_id: str,
        *,
        before: int | None,
        limit: int,
        everything: bool = False,
    ) -> tuple[list[Message], bool]:
        """Return the newest messages below the id `before`, the newest first, and whether there are older ones.

        They are those of the path, or with `everything` the branches' too. Raises NotFound, Forbidden.
        """
        check_session(principal, username, session_id)

        def read(connection: Connection) -> tuple[list[Message], bool]:
            store.get_session(connection, session_id, username)
            messages = store.list_messages(
                connection, session_id, before=before, limit=limit + 1, everything=everything
            )
            page = tree_store.with_alternatives(connection, session_id, messages[:limit], everything=everything)
            return page, len(messages) > limit

        return await self._database.read(read)
