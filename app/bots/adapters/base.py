"""The interface of platform adapters, and how they are described and made.

An adapter speaks for one bot on one platform, as long as the bot's settings stay the same. It must implement `Adapter`;
what else the platform offers is in small protocols of their own, which the outbox and the inbox look for with
`isinstance`. `AdapterFactory` describes a kind of adapter; `app/bots/platforms.py` lists the kinds.

A message is delivered in two steps. `plan` turns it into fragments, without I/O: they are stored. `deliver` makes one
visible call for one fragment, and says how that ended: by a receipt, or by an exception of `outcomes`. Retries, order,
pauses and what a crash leaves behind are the outbox's.
"""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Generic, Literal, Protocol, TypeVar, runtime_checkable

import msgspec

from app.bots.formatting.splitting import TextLimit
from app.bots.umo import MessageType
from app.chat.parts import Media, Reply, Text
from app.files.models import Attachment

PartKind = Literal["plain", "image", "record", "file", "video"]
ALL_PARTS: frozenset[PartKind] = frozenset({"plain", "image", "record", "file", "video"})
Action = Literal["send", "edit", "delete"]

Config = TypeVar("Config", bound=msgspec.Struct)


@dataclass(frozen=True, slots=True)
class Repeat:
    """The effect of a call that is made again with the same wire key.

    `keyed`: the platform shows the message once, within `window` of the first try (None: without limit).
    `harmless`: it replaces what is there. `none`: it may show the message twice.
    """

    kind: Literal["keyed", "harmless", "none"] = "none"
    window: timedelta | None = None


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a platform takes.

    `text` is the longest text of one fragment (None: any); longer ones are split. `replies` are quotations of messages.
    `edits` says that a sent text can be replaced, and `live_seconds` how often at most while a reply is made;
    `typing_seconds` is how long a typing sign lasts (None: there is none).
    `proactive` says whether the bot may begin a conversation: `if_known` needs an earlier message from there,
    `reply_only` a reply context that has not expired. With `uses_contexts`, a call is given a reply context if there
    is one. `max_upload_bytes` is the size of the largest file (None: any).
    """

    parts: frozenset[PartKind] = ALL_PARTS
    text: TextLimit | None = None
    replies: bool = True
    repeat: Repeat = Repeat()
    edits: bool = False
    live_seconds: float = 1.5
    typing_seconds: float | None = None
    proactive: Literal["yes", "if_known", "reply_only"] = "yes"
    uses_contexts: bool = False
    max_upload_bytes: int | None = None
    call_seconds: float = 20.0


@dataclass(frozen=True, slots=True)
class Target:
    """A message's destination on the platform. `username` is the one user the sender may act as (None: any).

    `key_id` is the sender's key.
    """

    message_type: MessageType
    session_id: str
    username: str | None = None
    key_id: str = field(default="", compare=False)

    @property
    def is_group(self) -> bool:
        return self.message_type == "GroupMessage"


@dataclass(frozen=True, slots=True)
class Attached:
    """A media part with its file."""

    media: Media
    attachment: Attachment

    @property
    def filename(self) -> str:
        return self.media.filename or self.attachment.filename


OutgoingPart = Text | Reply | Attached


@dataclass(frozen=True, slots=True)
class Fragment:
    """What one visible call delivers; it is stored as JSON before the call is made.

    `payload` is the adapter's own. `plain` is the payload to send instead when the platform refuses the formatting.
    `attachment_id` names the file whose bytes the call needs. An edit or a deletion names the message in `platform_id`;
    an edit's payload is that of the fragment which would send the same text.
    """

    payload: Mapping[str, Any]
    plain: Mapping[str, Any] | None = None
    attachment_id: str | None = None
    action: Action = "send"
    platform_id: str | None = None


class OutgoingFile(Protocol):
    """The file of a fragment."""

    @property
    def attachment(self) -> Attachment: ...

    async def read(self) -> bytes:
        """Raises Unavailable when the storage is away."""

    def stream(self) -> AsyncIterator[bytes]: ...


@dataclass(frozen=True, slots=True)
class ReplyContext:
    """A right to reply that expires: `token` is the platform's, and `number` counts the uses of it from 1."""

    token: str
    number: int
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class Call:
    """One visible call. `wire_key` (32 hexadecimal digits) is the same each time the fragment is tried.

    `handle` is what `prepare` returned; `context` a reply context for the target, the same each time the fragment is
    tried; `tries` counts earlier calls for the fragment. `is_live` says that the text is the beginning of a reply that
    is still being made: it will be edited, and last of all without `is_live`.
    """

    target: Target
    fragment: Fragment
    wire_key: str
    file: OutgoingFile | None = None
    handle: str | None = None
    context: ReplyContext | None = None
    tries: int = 0
    is_live: bool = False


@dataclass(frozen=True, slots=True)
class Receipt:
    """The platform's word that it has taken a fragment; `platform_id` is its own id for it, if it gives one."""

    platform_id: str | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)


class Adapter(Protocol):
    """A bot's way to a platform."""

    @property
    def capabilities(self) -> Capabilities: ...

    def plan(self, target: Target, parts: Sequence[OutgoingPart]) -> Sequence[Fragment]:
        """Divide a message into fragments, in the order in which they are to be seen. Does no I/O.

        Raises BadRequest for a target that the platform cannot have.
        """

    async def deliver(self, call: Call) -> Receipt:
        """Make exactly one visible call; returns when the platform has taken the fragment.

        Does not try again by itself, except with a fresh token. Raises the exceptions of `outcomes`.
        """

    async def close(self) -> None:
        """Close the connections. Nothing is sent afterwards."""


@runtime_checkable
class Preparer(Protocol):
    """A platform where files are uploaded before the message that shows them."""

    async def prepare(self, call: Call) -> str:
        """Upload the call's file, and return a handle for `deliver`. May be repeated. Raises as `deliver` does."""


@runtime_checkable
class HasUsers(Protocol):
    """A platform whose targets belong to users of Palaver: keys that are bound to one may write there too."""

    async def user_of(self, target: Target) -> str:
        """Return the user whose files may be sent to a target. Raises BadRequest for one that cannot be."""


@runtime_checkable
class Typist(Protocol):
    """A platform that can show that the bot is typing."""

    async def typing(self, target: Target) -> None:
        """Show it for `capabilities.typing_seconds`. Raises as `deliver` does; nobody waits for it."""


@runtime_checkable
class Looker(Protocol):
    """A platform where a fragment can be found by its wire key."""

    async def find(self, call: Call, since: datetime) -> Receipt | None:
        """Find the message that an earlier call may have left. Raises as `deliver` does."""


@dataclass(frozen=True, slots=True)
class BotIdentity:
    """The bot as the platform knows it; `mentions` are the names that address it in a group."""

    id: str
    name: str
    mentions: tuple[str, ...] = ()


@runtime_checkable
class Probe(Protocol):
    """A platform that tells who the bot is."""

    async def check(self) -> BotIdentity:
        """Raises Unauthorized, NotSent, Unknown."""


@dataclass(frozen=True, slots=True)
class AdapterFactory(Generic[Config]):
    """A kind of adapter.

    `config_type` is all its settings, secret ones included; `secret_fields` names those that are encrypted at rest
    and never shown. `build` makes the adapter of the bot with that platform id; it does no I/O, so that it also
    serves to check settings, and raises BadRequest. `generate` makes secrets for settings that were not given.
    """

    name: str
    config_type: type[Config]
    build: Callable[[str, Config], Adapter]
    secret_fields: frozenset[str] = frozenset()
    generate: Callable[[], Mapping[str, str]] = dict
