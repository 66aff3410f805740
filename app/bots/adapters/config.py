"""The settings that bots of all chat platforms share."""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta
from yarl import URL

from app.egress import parse_url
from app.errors import BadRequest

MAX_SENDERS = 1000
Url = Annotated[str, Meta(max_length=2048)]


class PlatformConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Settings of every bot on a chat platform; a kind adds its own, under AstrBot's names where AstrBot has them.

    `api_base_url` is another server that speaks the platform's API (None: the platform itself). `allow` are the senders
    who may talk to the bot, `["*"]` all of them; with `pairing`, others get a code that the operator can approve.
    `groups` says which messages in groups are for the bot.
    """

    api_base_url: Url | None = None
    allow: Annotated[list[Annotated[str, Meta(max_length=255)]], Meta(max_length=MAX_SENDERS)] = []
    pairing: bool = True
    groups: Literal["mention", "all", "none"] = "mention"
    per_user_sessions: bool = False
    config_id: str | None = None
    live_replies: bool = True
    at_least_once: bool = False


def checked_url(text: str, field: str, *, allow_private: bool) -> URL:
    """Parse the URL of a setting. Raises BadRequest."""
    try:
        return parse_url(text, allow_private=allow_private)
    except ValueError as error:
        raise invalid_config(f"{field} {error}") from None


def checked_secret(text: str, field: str) -> str:
    """Check a token or password: one printable word. Raises BadRequest, without the secret in it."""
    if not text or not text.isascii() or not text.isprintable() or " " in text or len(text) > 4096:
        raise invalid_config(f"{field} must be 1 to 4096 printable ASCII characters without spaces")
    return text


def invalid_config(problem: str) -> BadRequest:
    return BadRequest(f"config: {problem}", code="invalid_config")
