"""The interface of platform adapters, and how they are described and made.

An adapter turns the parts of a message into the form of its platform. One object serves one bot for as long as the
bot's settings stay the same. `AdapterFactory` describes a kind of adapter; the composition root lists the kinds that
exist.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Generic, Literal, Protocol, TypeVar

import msgspec

from app.bots.umo import MessageType
from app.chat.parts import Media, Reply, Text
from app.errors import AppError
from app.files.models import Attachment

PartKind = Literal["plain", "image", "record", "file", "video"]
ALL_PARTS: frozenset[PartKind] = frozenset({"plain", "image", "record", "file", "video"})

Config = TypeVar("Config", bound=msgspec.Struct)


@dataclass(frozen=True, slots=True)
class Capabilities:
    """The limits of a platform: kinds of parts, the longest text in characters (None: any), quotations of messages."""

    parts: frozenset[PartKind] = ALL_PARTS
    max_text_chars: int | None = None
    replies: bool = True


@dataclass(frozen=True, slots=True)
class Target:
    """A message's destination on the platform. `username` is the one user the sender may act as (None: any).

    `key_id` is the sender's key.
    """

    message_type: MessageType
    session_id: str
    username: str | None = None
    key_id: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class Attached:
    """A media part with its file."""

    media: Media
    attachment: Attachment


OutgoingPart = Text | Reply | Attached


@dataclass(frozen=True, slots=True)
class Sent:
    """The receipt of a message that the platform has taken; `message_id` is the platform's own id, if it gives one."""

    message_id: str | None


class DeliveryError(AppError):
    """The platform did not take the message; `message` is safe for the caller.

    `retryable` says that another try may succeed, `retry_after` (seconds) when the platform asked for it.
    """

    status = 502
    code = "delivery_failed"

    def __init__(self, message: str, *, retryable: bool = False, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retryable = retryable
        self.retry_after = retry_after


class DeliveryTimeoutError(DeliveryError):
    """The platform did not answer in time; it may have taken the message."""

    status = 504
    code = "delivery_timeout"


class Adapter(Protocol):
    """A connection to one platform on behalf of one bot."""

    @property
    def capabilities(self) -> Capabilities: ...

    async def send(self, target: Target, parts: Sequence[OutgoingPart], message_key: str) -> Sent:
        """Hand over one message, which fits the capabilities; returns when the platform has taken it.

        `message_key` identifies the message. After a crash it may be sent again with the same key: the adapter makes
        the platform show it once, if the platform can.

        Raises BadRequest for a target that the platform cannot have, DeliveryError for a failure there.
        """

    async def close(self) -> None:
        """Close the connections. Nothing is sent afterwards."""


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
