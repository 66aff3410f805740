"""Stand-ins for the slices that messages lead to."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from aiohttp.abc import AbstractResolver, ResolveResult

from app.auth.models import Principal
from app.chat.parts import Part
from app.errors import Forbidden
from app.files.models import Attachment, Kind
from app.im.adapters.base import Capabilities, OutgoingPart, Sent, Target
from app.kit.clock import utc_now


@dataclass(frozen=True, slots=True)
class SavedMessage:
    id: int
    session_id: str
    parts: tuple[Part, ...]


@dataclass(slots=True)
class ChatSessions:
    """Chat sessions and their messages in memory."""

    creators: dict[str, str] = field(default_factory=dict)
    messages: list[SavedMessage] = field(default_factory=list)

    async def add_bot_message(
        self, session_id: str, parts: Sequence[Part], *, creator_if_new: str, username: str | None = None
    ) -> SavedMessage:
        creator = self.creators.setdefault(session_id, creator_if_new)
        if username is not None and creator != username:
            raise Forbidden("session_id belongs to another username", code="session_not_yours")
        self.messages.append(SavedMessage(len(self.messages) + 1, session_id, tuple(parts)))
        return self.messages[-1]


@dataclass(slots=True)
class Files:
    """Attachments in memory."""

    attachments: dict[str, Attachment] = field(default_factory=dict)

    def add(self, attachment_id: str, *, owner: str | None = None) -> Attachment:
        attachment = Attachment(
            id=attachment_id,
            filename="cat.png",
            type=Kind.IMAGE,
            media_type="image/png",
            charset=None,
            size=3,
            sha256="ab" * 32,
            storage_key="k",
            owner_username=owner,
            key_id="key",
            created_at=utc_now(),
        )
        self.attachments[attachment_id] = attachment
        return attachment

    async def find_many(self, ids: Collection[str], principal: Principal | None) -> dict[str, Attachment]:
        bound_to = None if principal is None else principal.username
        return {
            id: found
            for id in ids
            if (found := self.attachments.get(id)) is not None and bound_to in (None, found.owner_username)
        }


@dataclass(slots=True)
class RecordingAdapter:
    """A platform that takes everything within its capabilities, and remembers it."""

    capabilities: Capabilities = field(default_factory=Capabilities)
    sent: list[tuple[Target, tuple[OutgoingPart, ...]]] = field(default_factory=list)
    times_closed: int = 0

    async def send(self, target: Target, parts: Sequence[OutgoingPart]) -> Sent:
        self.sent.append((target, tuple(parts)))
        return Sent(None)

    async def close(self) -> None:
        self.times_closed += 1


class FixedResolver(AbstractResolver):
    """Names lead to the addresses that the test says."""

    def __init__(self, *addresses: str) -> None:
        self.addresses = addresses
        self.asked: list[str] = []

    async def resolve(self, host: str, port: int = 0, family: int = 0) -> list[ResolveResult]:
        self.asked.append(host)
        return [
            ResolveResult(hostname=host, host=address, port=port, family=_family(address), proto=0, flags=0)
            for address in self.addresses
        ]

    async def close(self) -> None:
        pass


def _family(address: str) -> int:
    return 10 if ":" in address else 2
