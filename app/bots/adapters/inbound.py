"""What comes from platforms: events, and the protocols of adapters that receive them.

An adapter only reports. Who may talk to the bot, whether a message is for it, and what follows, the inbox decides.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, Protocol, runtime_checkable

import msgspec

from app.bots.adapters.base import BotIdentity
from app.bots.umo import MessageType
from app.chat.parts import MediaKind


class InboundMedia(msgspec.Struct, frozen=True):
    """A file in a message; `reference` is the adapter's own word for it, with which `fetch` gets the bytes."""

    kind: MediaKind
    reference: Mapping[str, Any]
    filename: str = ""
    size: int | None = None


class Quoted(msgspec.Struct, frozen=True):
    """The message that is replied to."""

    platform_id: str
    text: str = ""


class OfferedContext(msgspec.Struct, frozen=True):
    """A right to reply that came with a message: good for `uses` calls until it expires."""

    token: str
    expires_at: datetime
    uses: int = 1


class InboundEvent(msgspec.Struct, frozen=True, kw_only=True):
    """Something that happened on the platform.

    `dedupe_key` is the same when the platform reports it again. `addressed` says that a message in a group is for the
    bot: it is mentioned, or replied to; in a private chat it is always true. `text` is without the mention.
    `platform_id` is the message's id; `album` is shared by messages that people see as one.
    """

    dedupe_key: str
    message_type: MessageType
    session_id: str
    sender_id: str
    happened_at: datetime
    kind: Literal["message", "stop", "joined", "left", "other"] = "message"
    sender_name: str = ""
    sender_is_bot: bool = False
    text: str = ""
    media: tuple[InboundMedia, ...] = ()
    quote: Quoted | None = None
    addressed: bool = True
    platform_id: str = ""
    album: str | None = None
    context: OfferedContext | None = None

    @property
    def target(self) -> str:
        """The umo without the bot."""
        return f"{self.message_type}:{self.session_id}"

    @property
    def is_group(self) -> bool:
        return self.message_type == "GroupMessage"


class Inbox(Protocol):
    """The place where a bot's events go."""

    async def accept(self, events: Sequence[InboundEvent], checkpoint: Mapping[str, Any] | None = None) -> None:
        """Store events, and how far the adapter has read. Acknowledge them to the platform when this returns.

        Events that were stored before are left out. Raises DatabaseUnavailable: the platform will report them again.
        """

    async def checkpoint(self) -> Mapping[str, Any]:
        """Return the last checkpoint, empty at first."""

    async def connected(self, identity: BotIdentity | None = None) -> None:
        """Say that the connection is up."""

    def alive(self) -> None:
        """Say that the connection works; one that is silent for `Listener.silence_seconds` is made anew."""


@runtime_checkable
class Listener(Protocol):
    """A platform whose events are fetched over a connection of ours: one for each bot, on whichever server."""

    @property
    def silence_seconds(self) -> float: ...

    async def listen(self, inbox: Inbox) -> None:
        """Receive events until cancelled, or the connection ends.

        Raises Unauthorized and Refused when another try is in vain, and anything else for one that is worth it.
        """


@dataclass(frozen=True, slots=True)
class DoorRequest:
    """A request of the platform at the bot's webhook."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    """The names are in lower case."""
    body: bytes


@dataclass(frozen=True, slots=True)
class DoorAnswer:
    """The answer to it, which is given when the events are stored.

    400, 401 and 403 refuse the request; `reason` says why, for people.
    """

    status: int = 200
    body: bytes = b""
    content_type: str = "application/json"
    events: Sequence[InboundEvent] = ()
    headers: Mapping[str, str] = field(default_factory=dict)
    reason: str = ""


@runtime_checkable
class Door(Protocol):
    """A platform that reports events to a webhook."""

    async def receive(self, request: DoorRequest) -> DoorAnswer:
        """Check the signature over the raw body, and read the events. Does nothing that takes long.

        A request whose signature is wrong is answered with 401, and has no events.
        """


class DoorSocket(Protocol):
    """A WebSocket that the platform has opened to us."""

    async def receive(self) -> str | bytes:
        """Raises ConnectionError when it is closed."""

    async def send(self, text: str) -> None:
        """Raises ConnectionError when it is closed."""


@runtime_checkable
class SocketDoor(Protocol):
    """A platform that opens a WebSocket to us; answers to calls come on it too."""

    def admits(self, request: DoorRequest) -> bool:
        """Check the token of the request."""

    async def serve(self, socket: DoorSocket, inbox: Inbox) -> None:
        """Serve the socket until it is closed."""


@runtime_checkable
class Fetcher(Protocol):
    """A platform whose messages have files."""

    def fetch(self, media: InboundMedia) -> AsyncIterator[bytes]:
        """Yield the bytes of a file. Raises the exceptions of `outcomes`."""
