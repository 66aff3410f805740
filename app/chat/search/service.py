"""Searching a user's messages. The index is brought up to date before a search, and made at a user's first one."""

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from functools import partial

from sqlalchemy import Connection

from app.auth.models import Principal, is_reserved
from app.chat.ownership import session_prefix_of
from app.chat.parts import from_stored
from app.chat.search import store
from app.chat.search.models import Found, FoundMessage, Owner
from app.chat.values import Message
from app.clock import utc_now
from app.database.engine import Database
from app.database.tables import MAX_INTEGER
from app.knowledge.tokens import terms_of

WAIT_SECONDS = 1.0
"""How long a search waits for the index; what is not indexed by then, it does not find."""
SLACK = timedelta(seconds=60)
"""How much later than its time a change of a session may be committed."""
SESSIONS_AT_ONCE = 50
MESSAGES_AT_ONCE = 200
TITLES = 20
SNIPPET_CHARS = 160
_TF_HALF = 1.2


class SearchService:
    """Word search over one user's messages and titles; users who never search cost nothing."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._indexing: dict[str, asyncio.Task[None]] = {}

    async def search(self, principal: Principal, username: str, words: str, *, before: int | None, limit: int) -> Found:
        """Find the newest messages below the id `before` that have all the words, and titles that contain them.

        Raises Forbidden, BadRequest.
        """
        principal.check_user(username)
        prefix = session_prefix_of(principal.key_id) if is_reserved(username) else None
        owner = Owner(username, prefix)
        terms = store.query_terms(words)
        is_complete = await self._bring_up_to_date(owner)
        top = MAX_INTEGER if before is None else before

        def read(connection: Connection) -> Found:
            titles = [] if before is not None else store.find_titles(connection, owner, words.strip(), TITLES)
            number = store.find_number(connection, owner)
            if number is None or not terms:
                return Found([], titles, has_more=False, is_complete=is_complete)
            ids = store.find_ids(connection, number, terms, top, limit + 1)
            messages = [_found(message, title, terms) for message, title in store.load(connection, owner, ids[:limit])]
            return Found(messages, titles, has_more=len(ids) > limit, is_complete=is_complete)

        return await self._database.read(read)

    async def close(self) -> None:
        tasks = list(self._indexing.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _bring_up_to_date(self, owner: Owner) -> bool:
        """Index what is new; False when that takes longer than a search waits for."""
        if (task := self._indexing.get(owner.name)) is None:
            task = self._indexing[owner.name] = asyncio.create_task(self._index(owner))
            task.add_done_callback(lambda _: self._indexing.pop(owner.name, None))
        done, _ = await asyncio.wait([task], timeout=WAIT_SECONDS)
        if done:
            task.result()
        return bool(done)

    async def _index(self, owner: Owner) -> None:
        began = utc_now() - SLACK
        number, changed = await self._database.read(partial(store.changed_sessions, owner=owner))
        if number is None:
            number = await self._database.write(lambda connection: store.add_owner(connection, owner))
        elif not changed:
            return
        for start in range(0, len(changed), SESSIONS_AT_ONCE):
            await self._index_sessions(number, changed[start : start + SESSIONS_AT_ONCE])
        await self._database.write(lambda connection: store.set_indexed(connection, number, began))

    async def _index_sessions(self, number: int, session_ids: Sequence[str]) -> None:
        read = partial(store.unindexed, number=number, session_ids=session_ids, limit=MESSAGES_AT_ONCE)
        while (messages := await self._database.read(read)).terms:
            await self._database.write(partial(store.add_terms, messages=messages))
        if messages.has_more and len(session_ids) > 1:  # behind what is being made in one session are other sessions
            for session_id in session_ids:
                await self._index_sessions(number, [session_id])


def _found(message: Message, title: str | None, terms: Sequence[str]) -> FoundMessage:
    text = store.text_of(from_stored(message.parts))
    return FoundMessage(message, title, snippet_of(text, terms), _score(text, terms))


def _score(text: str, terms: Sequence[str]) -> float:
    """Return how much of a text the terms make up, from 0 to 1: the mean of their saturated frequencies."""
    all_terms = terms_of(text[: store.MAX_INDEXED_CHARS])
    length = 0.25 + 0.75 * len(all_terms) / 100
    counts = [all_terms.count(term) or 1 for term in terms]
    return round(sum(count / (count + _TF_HALF * length) for count in counts) / len(counts), 4)


def snippet_of(text: str, terms: Sequence[str]) -> str:
    """Return the part of a text where the first of the terms stands, in one line."""
    text = " ".join(text.split())
    folded = text.casefold()
    places = [place for term in terms if (place := folded.find(term)) >= 0]
    start = max(min(places, default=0) - SNIPPET_CHARS // 3, 0)
    if start:  # at a word, where there are words
        space = text.find(" ", start, start + 20)
        start = space + 1 if space >= 0 else start
    end = start + SNIPPET_CHARS
    return f"{'…' if start else ''}{text[start:end]}{'…' if end < len(text) else ''}"
