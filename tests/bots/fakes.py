"""Stand-ins for what messages lead to: a platform, and the names of the internet."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from aiohttp.abc import AbstractResolver, ResolveResult

from app.bots.adapters.base import Attached, Call, Capabilities, Fragment, OutgoingPart, Receipt, Target
from app.bots.formatting.splitting import split
from app.chat.parts import Text


@dataclass(slots=True)
class RecordingAdapter:
    """A platform that takes everything within its capabilities, and remembers it."""

    capabilities: Capabilities = field(default_factory=Capabilities)
    sent: list[tuple[Target, str]] = field(default_factory=list)
    times_closed: int = 0

    def plan(self, target: Target, parts: Sequence[OutgoingPart]) -> list[Fragment]:
        fragments: list[Fragment] = []
        for part in parts:
            if isinstance(part, Text):
                fragments += [Fragment({"text": piece}) for piece in split(part.text, self.capabilities.text)]
            elif isinstance(part, Attached):
                fragments.append(Fragment({"text": part.filename}, attachment_id=part.attachment.id))
        return fragments

    async def deliver(self, call: Call) -> Receipt:
        self.sent.append((call.target, call.fragment.payload["text"]))
        return Receipt()

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
