"""The sessions of an API key: those of `/v1`, whose ids begin with the key's own."""

from hashlib import sha256

from app.auth.models import Principal, check_not_reserved, is_reserved
from app.chat.values import IM_PREFIX, KEYS_PREFIX
from app.errors import Forbidden

USER_CHARS = 12


def session_id_of(principal: Principal, name: str) -> str:
    """The id of a key's session; each key has names of its own, and so has each user of its browser sessions."""
    if principal.session and principal.username is not None:
        user = sha256(principal.username.encode()).hexdigest()[:USER_CHARS]
        name = f"~{user}:{name}"
    return f"{session_prefix_of(principal.key_id)}{name}"


def session_prefix_of(key_id: str) -> str:
    return f"{KEYS_PREFIX}{key_id}:"


def check_session(principal: Principal, username: str, session_id: str | None) -> None:
    """Check the user, and for a key's own name the session (None: a new one). Raises Forbidden, BadRequest.

    Several keys may have one name: the id tells whose the session is.
    """
    principal.check_user(username)
    if session_id is None:
        check_not_reserved(username)
    elif principal.writer:
        check_bot(session_id)
    elif is_reserved(username):
        check_key(principal.key_id, session_id)


def check_bot(session_id: str) -> None:
    """Raises Forbidden for a session id that is not one of a bot's chats."""
    if not session_id.startswith(IM_PREFIX):
        raise Forbidden("session_id belongs to no bot", code="session_not_yours")


def check_key(key_id: str, session_id: str) -> None:
    """Raises Forbidden for a session id that does not begin with the key's own."""
    if not session_id.startswith(session_prefix_of(key_id)):
        raise Forbidden("session_id belongs to another API key", code="session_not_yours")
