"""The built-in adapter: Palaver's own chat sessions."""

from collections.abc import Sequence

from app.bots.adapters.base import Attached, Call, Capabilities, Fragment, OutgoingPart, Receipt, Repeat, Target
from app.bots.umo import invalid_umo
from app.chat.fields import MAX_NAME_CHARS
from app.chat.ownership import check_key
from app.chat.parts import from_stored, to_stored
from app.chat.service import ChatService
from app.chat.values import KEYS_PREFIX
from app.errors import Forbidden

PLATFORM_ID = "webchat"
LONG_FORM = "webchat!"


class WebchatAdapter:
    """Adds messages to chat sessions, named by their id or, in AstrBot's longer form, `webchat!<user>!<session_id>`."""

    def __init__(self, chat: ChatService) -> None:
        self._chat = chat

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(repeat=Repeat("keyed"))

    def plan(self, target: Target, parts: Sequence[OutgoingPart]) -> list[Fragment]:
        _split(target)
        stored = to_stored([part.media if isinstance(part, Attached) else part for part in parts])
        return [Fragment({"parts": stored})]

    async def deliver(self, call: Call) -> Receipt:
        target = call.target
        user, session_id = _split(target)
        if session_id.startswith(KEYS_PREFIX):
            check_key(target.key_id, session_id)
        if user is not None and target.username not in (None, user):
            raise Forbidden("The API key is bound to another username", code="username_not_allowed")
        owner = user or target.username
        saved = await self._chat.add_bot_message(
            session_id,
            from_stored(call.fragment.payload["parts"]),
            creator_if_new=owner or session_id,
            username=owner,
            dedupe_key=call.wire_key,
        )
        return Receipt(str(saved.id))

    async def user_of(self, target: Target) -> str:
        """Return the user whose session the target is, or would be. Raises BadRequest for a target that is none."""
        user, session_id = _split(target)
        return user or target.username or await self._chat.creator_of(session_id) or session_id

    async def close(self) -> None:
        pass


def _split(target: Target) -> tuple[str | None, str]:
    """Split the target into the user, if the long form names one, and the session id."""
    if not target.session_id.startswith(LONG_FORM):
        return None, _name(target.session_id)
    rest = target.session_id.removeprefix(LONG_FORM)
    # Both names may contain `!`: the first one ends the user, as in AstrBot, unless the user is known beforehand.
    if target.username is not None and rest.startswith(f"{target.username}!"):
        user, session_id = target.username, rest.removeprefix(f"{target.username}!")
    else:
        user, _, session_id = rest.partition("!")
    return _name(user), _name(session_id)


def _name(text: str) -> str:
    text = text.strip()
    if not text:
        raise invalid_umo("a webchat session is session_id or webchat!user!session_id")
    if len(text) > MAX_NAME_CHARS:
        raise invalid_umo(f"a webchat session or user has at most {MAX_NAME_CHARS} characters")
    return text
