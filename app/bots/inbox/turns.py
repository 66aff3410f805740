"""Making a turn of the chat of an event: its session, its parts, its files."""

from collections.abc import Sequence
from hashlib import sha256

from app.auth.models import Principal
from app.auth.scopes import Scope
from app.bots.adapters.base import Adapter
from app.bots.adapters.inbound import Fetcher, InboundEvent, InboundMedia
from app.bots.inbox import store
from app.bots.inbox.admission import Rules, chat_of, creator_of
from app.bots.inbox.models import StoredEvent
from app.bots.quotations import find_message_number
from app.chat.commands import SendMessage
from app.chat.fields import MAX_NAME_CHARS
from app.chat.parts import Media, Part, Reply, Text
from app.chat.service import ChatService
from app.chat.values import BOT_KEYS_PREFIX, IM_PREFIX
from app.database.engine import Database
from app.errors import AppError
from app.files.service import FileService
from app.idempotency import Claim

MESSAGE_ID = "im-"
"""The prefix of a run's own name for its reply, by which the event is found; the event's number follows."""
MAX_QUOTE_CHARS = 2000


def bot_principal(bot_id: str, writer: str = "") -> Principal:
    """The caller that a bot is, for the chat of `writer`."""
    key_id = f"{BOT_KEYS_PREFIX}{bot_id}"[:64]
    return Principal(key_id, key_id, frozenset({Scope.CHAT, Scope.FILE}), writer=writer)


def session_of(bot_id: str, chat: str, generation: int) -> str:
    """The id of a chat's session; a long one is shortened."""
    suffix = f"~{generation}" if generation else ""
    session_id = f"{IM_PREFIX}{bot_id}:{chat}{suffix}"
    if len(session_id) > MAX_NAME_CHARS:
        session_id = f"{IM_PREFIX}{bot_id}:{sha256(chat.encode()).hexdigest()}{suffix}"
    return session_id


class TurnMaker:
    """Turns events into messages of a chat."""

    def __init__(self, database: Database, files: FileService) -> None:
        self._database = database
        self._files = files

    async def session_id(self, bot_id: str, event: InboundEvent, rules: Rules) -> str:
        chat = chat_of(event, rules)
        generation = await self._database.read(lambda connection: store.find_generation(connection, bot_id, chat))
        return session_of(bot_id, chat, generation)

    async def begin_anew(self, bot_id: str, event: InboundEvent, rules: Rules) -> None:
        """Give the chat a new session."""
        chat = chat_of(event, rules)
        await self._database.write(lambda connection: store.next_generation(connection, bot_id, chat))

    async def command(
        self, adapter: Adapter, stored: Sequence[StoredEvent], events: Sequence[InboundEvent], rules: Rules
    ) -> SendMessage:
        """Make the message of one event, or of an album. Raises AppError for files that cannot be had."""
        first, event = stored[0], events[0]
        session_id = await self.session_id(first.bot_id, event, rules)
        principal = bot_principal(first.bot_id, creator_of(first.bot_id, event, rules))
        parts = await self._quotation(first, event, session_id)
        text = "\n".join(each.text.strip() for each in events if each.text.strip())
        if event.is_group and not rules.per_user_sessions and event.sender_name:
            text = f"{event.sender_name}: {text}"
        if text:
            parts.append(Text(text))
        for each in events:
            parts += [await self._media(adapter, media, principal) for media in each.media]
        return SendMessage(
            username=principal.creator,
            parts=tuple(parts),
            session_id=session_id,
            config_id=rules.config_id,
            platform_id=first.bot_id,
            message_id=f"{MESSAGE_ID}{first.id}",
        )

    async def _media(self, adapter: Adapter, media: InboundMedia, principal: Principal) -> Part:
        if not isinstance(adapter, Fetcher):
            return Text(f"[{media.filename or media.kind}]")
        attachment = await self._files.save(media.filename or media.kind, adapter.fetch(media), principal)
        return Media(attachment.type.value, attachment.id)

    async def _quotation(self, stored: StoredEvent, event: InboundEvent, session_id: str) -> list[Part]:
        """Quote what the message replies to: the message of this session, or else its text."""
        quote = event.quote
        if quote is None:
            return []
        lane = (stored.bot_id, stored.target)
        message_id = await self._database.read(
            lambda connection: find_message_number(connection, lane, quote.platform_id, session_id)
        )
        if message_id is not None:
            return [Reply(message_id, None)]
        text = quote.text.strip()[:MAX_QUOTE_CHARS]
        return [Text("\n".join(f"> {line}" for line in text.split("\n")))] if text else []


def claim_of_event(stored: StoredEvent) -> Claim:
    """The claim by which an event leads to one run."""
    key = sha256(f"{stored.bot_id}\0{stored.dedupe_key}".encode()).hexdigest()
    return Claim(bot_principal(stored.bot_id).key_id, "im_event", key, key)


async def stop_session(chat: ChatService, principal: Principal, session_id: str) -> bool:
    """Stop the replies of a session; whether there were any."""
    try:
        return bool(await chat.stop_session(principal, principal.creator, session_id))
    except AppError:  # there is no such session yet
        return False
