"""Titles of sessions that the model writes, after its first reply, where the profile says so."""

import asyncio
from collections.abc import Sequence
from contextlib import aclosing

import structlog
from sqlalchemy import Connection

from app.chat import session_store
from app.chat.plan import Target
from app.chat.runs.events import Event
from app.chat.runs.reply import content_of
from app.database.engine import Database
from app.errors import AppError
from app.providers.models import ModelRequest, UpstreamError
from app.text import CONTROL_CHARACTER

TIMEOUT_SECONDS = 60.0
MAX_SHOWN_CHARS = 2_000
MAX_TITLE_CHARS = 100
INSTRUCTION = (
    "Write a title of at most six words for the conversation below, in its language. "
    "Answer with the title alone, without quotation marks."
)

log = structlog.get_logger(__name__)


class TitleMaker:
    """Asks for titles beside the replies, which wait for none; each is asked for once, whatever comes of it."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self, session_id: str, target: Target, first_title: str, question: str, events: Sequence[Event]) -> None:
        """Replace a session's first title, unless somebody has by then."""
        reply = content_of(events).text
        task = asyncio.create_task(self._replace(session_id, target, first_title, question, reply))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _replace(self, session_id: str, target: Target, first_title: str, question: str, reply: str) -> None:
        try:
            async with asyncio.timeout(TIMEOUT_SECONDS):
                title = _cleaned(await _ask(target, question, reply))
            if not title:
                return

            def replace(connection: Connection) -> None:
                session_store.replace_title(connection, session_id, first_title, title)

            await self._database.write(replace)
        except (UpstreamError, AppError, TimeoutError) as error:
            log.warning("title_not_made", session_id=session_id, cause=str(error))
        except Exception as error:
            log.error("title_crashed", session_id=session_id, exc_info=error)


async def _ask(target: Target, question: str, reply: str) -> str:
    conversation = f"User: {question[:MAX_SHOWN_CHARS]}\n\nAssistant: {reply[:MAX_SHOWN_CHARS]}"
    messages = [{"role": "system", "content": INSTRUCTION}, {"role": "user", "content": conversation}]
    request = ModelRequest(target.model, messages, timeout_seconds=TIMEOUT_SECONDS, max_retries=0)
    texts: list[str] = []
    async with aclosing(target.provider.stream(request)) as batches:
        async for deltas in batches:
            texts += [delta.text for delta in deltas]
            if sum(map(len, texts)) > MAX_SHOWN_CHARS:  # it writes something else
                return ""
    return "".join(texts)


def _cleaned(text: str) -> str:
    lines = text.strip().splitlines()
    title = CONTROL_CHARACTER.sub(" ", lines[0]) if lines else ""
    title = title.strip().removeprefix("Title:").strip(" #*\"'“”«»「」")
    return title if len(title) <= MAX_TITLE_CHARS else title[: MAX_TITLE_CHARS - 1] + "…"
