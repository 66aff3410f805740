"""Turns of a session: editing and deleting them, answering them again, and choosing between what came of it."""

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any, TypeVar
from uuid import uuid4

from msgspec import structs
from sqlalchemy import Connection

from app.auth.models import Principal, is_reserved
from app.chat import message_store, session_store, tree_store
from app.chat.commands import OnBusy, SendMessage
from app.chat.ownership import check_key, check_session, session_prefix_of
from app.chat.parts import ClientPart
from app.chat.service import Accepted, ChatService
from app.chat.values import KEYS_PREFIX, Message, MessageRole, Session
from app.clock import utc_now
from app.database.engine import Database
from app.errors import Conflict
from app.idempotency import Claim, Idempotency, record

T = TypeVar("T")

_TRIES = 3
"""How often runs are stopped that others begin meanwhile."""


class TurnService:
    """Changes of a session's tree. While a reply is being made in it, they are refused or end that reply first.

    All raise NotFound, Forbidden, Conflict, and Unprocessable for a claim that was made with another body.
    """

    def __init__(self, database: Database, chat: ChatService, idempotency: Idempotency) -> None:
        self._database = database
        self._chat = chat
        self._idempotency = idempotency

    async def edit(
        self,
        principal: Principal,
        username: str,
        session_id: str,
        message_id: int,
        parts: Sequence[ClientPart],
        *,
        on_busy: OnBusy,
        claim: Claim | None = None,
    ) -> Message:
        """Add a message beside one of the user's, which the conversation ends with from now on. Raises BadRequest."""
        check_session(principal, username, session_id)
        await self._chat.check_attachments(principal, username, parts)

        def edit(connection: Connection) -> dict[str, Any]:
            now = utc_now()
            tree_store.lock_idle(connection, session_id, username)
            message = tree_store.get_message(connection, session_id, message_id)
            if message.role is not MessageRole.USER:
                raise Conflict("Only messages of the user can be edited", code="not_the_users")
            message_store.check_quotes(connection, session_id, parts)
            session_store.touch_session(connection, session_id, now)
            return {"message_id": tree_store.add_beside(connection, message, parts, now).id}

        result = await self._once(principal, username, session_id, claim, edit, on_busy)
        return await self._message(session_id, result["message_id"])

    async def regenerate(self, principal: Principal, command: SendMessage, claim: Claim | None = None) -> Accepted:
        """Answer the message `answers`, or the one that it answers, again. Raises what ChatService.send does."""
        assert command.session_id is not None
        unhurried = structs.replace(command, on_busy=OnBusy.REJECT)
        stop = partial(self._chat.stop_session, principal, command.username, command.session_id)
        return await _when_idle(lambda: self._chat.send(principal, unhurried, claim), command.on_busy, stop)

    async def select(
        self, principal: Principal, username: str, session_id: str, message_id: int, *, on_busy: OnBusy
    ) -> Message:
        """Show the path through a message, and from it on always to the newest."""
        check_session(principal, username, session_id)

        def select(connection: Connection) -> dict[str, Any]:
            tree_store.lock_idle(connection, session_id, username)
            message = tree_store.get_message(connection, session_id, message_id)
            if not message.on_path:
                tree = tree_store.load_tree(connection, session_id)
                tree_store.show_path(connection, tree, tree.path_through(message_id))
            return {}

        await self._once(principal, username, session_id, None, select, on_busy)
        return await self._message(session_id, message_id)

    async def delete(
        self,
        principal: Principal,
        username: str,
        session_id: str,
        message_id: int,
        *,
        on_busy: OnBusy,
        claim: Claim | None = None,
    ) -> list[int]:
        """Delete the turn of a message, with all replies to it; the ids that are gone."""
        check_session(principal, username, session_id)

        def delete(connection: Connection) -> dict[str, Any]:
            tree_store.lock_idle(connection, session_id, username)
            message = tree_store.get_message(connection, session_id, message_id)
            return {"ids": tree_store.delete_turn(connection, message)}

        ids: list[int] = (await self._once(principal, username, session_id, claim, delete, on_busy))["ids"]
        return ids

    async def fork(
        self,
        principal: Principal,
        username: str,
        session_id: str,
        message_id: int,
        *,
        new_id: str | None = None,
        claim: Claim | None = None,
    ) -> Session:
        """Make a session of the path to a message. Raises Conflict for an id that there is already."""
        check_session(principal, username, session_id)
        if new_id is None:
            prefix = session_prefix_of(principal.key_id)
            new_id = f"{prefix if session_id.startswith(prefix) else ''}{uuid4()}"
        elif new_id.startswith(KEYS_PREFIX) or is_reserved(username):
            check_key(principal.key_id, new_id)

        def copy(connection: Connection) -> dict[str, Any]:
            session = session_store.get_session(connection, session_id, username, lock=True)
            message = tree_store.get_message(connection, session_id, message_id)
            now = utc_now()
            fork = structs.replace(session, id=new_id, created_at=now, updated_at=now)
            if not session_store.store_session(connection, fork):
                raise Conflict("There is a session of that id", code="session_exists")
            tree_store.copy_path(connection, message, new_id)
            return {"session_id": new_id}

        result = await self._once(principal, username, session_id, claim, copy, OnBusy.REJECT)
        return await self._database.read(
            partial(session_store.get_session, session_id=result["session_id"], username=username)
        )

    async def _message(self, session_id: str, message_id: int) -> Message:
        def read(connection: Connection) -> Message:
            message = tree_store.get_message(connection, session_id, message_id)
            return tree_store.with_alternatives(connection, session_id, [message])[0]

        return await self._database.read(read)

    async def _once(
        self,
        principal: Principal,
        username: str,
        session_id: str,
        claim: Claim | None,
        act: Callable[[Connection], dict[str, Any]],
        on_busy: OnBusy,
    ) -> Any:
        """Change the session once for a claim; the first request's result."""

        def write(connection: Connection) -> dict[str, Any]:
            result = act(connection)
            record(connection, claim, result)
            return result

        stop = partial(self._chat.stop_session, principal, username, session_id)
        return await _when_idle(lambda: self._idempotency.once(claim, write), on_busy, stop)


async def _when_idle(act: Callable[[], Awaitable[T]], on_busy: OnBusy, stop: Callable[[], Awaitable[object]]) -> T:
    """Do what an idle session is needed for; with INTERRUPT, after its runs have been stopped.

    A repeat of what has been done finds that out first, and stops nothing.
    """
    for _ in range(_TRIES):
        try:
            return await act()
        except Conflict as error:
            if error.code != "session_busy" or on_busy is not OnBusy.INTERRUPT:
                raise
        await stop()
    return await act()
