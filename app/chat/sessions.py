"""Sessions and their messages, as their users see them."""

from collections.abc import Sequence
from functools import partial
from typing import Any
from uuid import uuid4

import msgspec
from sqlalchemy import Connection, update

from app.auth.models import Principal, check_not_reserved, is_reserved
from app.chat import message_store, session_store, tree_store
from app.chat.models import SessionRow
from app.chat.ownership import check_session, session_prefix_of
from app.chat.values import WEBCHAT, Message, Session, SessionFilter
from app.clock import utc_now
from app.database.engine import Database
from app.errors import Conflict
from app.idempotency import Claim, Idempotency, record
from app.profiles.service import DEFAULT_ID, ProfileService
from app.roles.models import RoleRow


class SessionService:
    """Listing, reading, changing and deleting sessions. Raises Forbidden for a key that is bound to another user."""

    def __init__(self, database: Database, profiles: ProfileService, idempotency: Idempotency) -> None:
        self._database = database
        self._profiles = profiles
        self._idempotency = idempotency

    async def list_sessions(
        self, principal: Principal, username: str, chosen: SessionFilter, *, page: int, page_size: int
    ) -> tuple[list[Session], int]:
        """Return one page of a user's sessions, the newest first, and how many there are in all."""
        principal.check_user(username)
        if is_reserved(username):  # several keys may have one name
            chosen = msgspec.structs.replace(chosen, id_prefix=session_prefix_of(principal.key_id))
        offset = (page - 1) * page_size
        list_page = partial(
            session_store.list_sessions, creator=username, chosen=chosen, offset=offset, limit=page_size
        )
        return await self._database.read(list_page)

    async def create(
        self,
        principal: Principal,
        username: str,
        session_id: str | None,
        *,
        display_name: str | None = None,
        config_id: str | None = None,
        labels: Sequence[str] = (),
        claim: Claim | None = None,
    ) -> Session:
        """Make an empty session. Raises BadRequest, Conflict for an id that there is already."""
        principal.check_user(username)
        check_not_reserved(username)
        if config_id is not None:
            self._profiles.get(config_id)
        now = utc_now()
        session = Session(
            session_id or str(uuid4()),
            WEBCHAT,
            username,
            display_name,
            0,
            None if config_id == DEFAULT_ID else config_id,
            now,
            now,
            tuple(labels),
        )

        def create(connection: Connection) -> dict[str, str]:
            if not session_store.store_session(connection, session):
                raise Conflict("There is a session of that id", code="session_exists")
            result = {"session_id": session.id}
            record(connection, claim, result)
            return result

        result = await self._idempotency.once(claim, create)
        return await self.get(principal, username, result["session_id"])

    async def get(self, principal: Principal, username: str, session_id: str) -> Session:
        """Raises NotFound `Session not found`, Forbidden."""
        check_session(principal, username, session_id)
        return await self._database.read(lambda connection: session_store.get_session(connection, session_id, username))

    async def change(self, principal: Principal, username: str, session_id: str, *, changes: dict[str, Any]) -> Session:
        """Set `display_name`, `config_id` (None or `default`: the default profile), `labels` or `pinned`.

        Raises BadRequest for an unknown profile, NotFound, Forbidden.
        """
        check_session(principal, username, session_id)
        config_id = changes.get("config_id")
        if config_id is not None:
            self._profiles.get(config_id)
            changes["config_id"] = None if config_id == DEFAULT_ID else config_id

        def change(connection: Connection) -> Session:
            session = session_store.get_session(connection, session_id, username)
            if not changes:
                return session
            # A pin or a label says nothing of when the conversation went on.
            is_moved = not changes.keys() <= {"labels", "pinned"}
            values = {**changes, **({"updated_at": utc_now()} if is_moved else {})}
            session_store.change_session(connection, session_id, values)
            return msgspec.structs.replace(session, **values)

        return await self._database.write(change)

    async def delete(self, principal: Principal, username: str, session_id: str) -> None:
        """Delete a session with its messages and runs; stop its runs first. Raises NotFound, Forbidden."""
        check_session(principal, username, session_id)

        def delete(connection: Connection) -> None:
            session_store.get_session(connection, session_id, username)
            session_store.delete_session(connection, session_id)

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
            session_store.get_session(connection, session_id, username)
            messages = message_store.list_messages(
                connection, session_id, before=before, limit=limit + 1, everything=everything
            )
            page = tree_store.with_alternatives(connection, session_id, messages[:limit], everything=everything)
            return page, len(messages) > limit

        return await self._database.read(read)


def rename_config(connection: Connection, config_id: str, new_id: str) -> None:
    """Have the sessions and roles of a profile follow it to its new id."""
    for table in (SessionRow, RoleRow):
        connection.execute(update(table).where(table.config_id == config_id).values(config_id=new_id))
