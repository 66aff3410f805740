"""Chunks that differ from the one before in their choices only, which is nearly all: passed on without being parsed.

Taking a chunk apart and putting it together again costs 2 us, a dozen times what its text costs to copy. A model server
writes what stands around the choices in the same bytes in every chunk of a reply, so the first chunk shows what is to
be put in its place.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

_BEGIN, _END = b"[{", b"}]"


@dataclass(frozen=True, slots=True)
class Splice:
    """What stands around a chunk's choices as the model server writes it, and as the client is shown it.

    `changed` are the names of members that are changed on their way, as JSON.
    """

    head: bytes
    tail: bytes
    shown_head: bytes
    shown_tail: bytes
    changed: Sequence[bytes]

    def choices_in(self, chunks: Sequence[bytes]) -> list[bytes]:
        """The choices of the chunks that have nothing else around them, up to the first that has."""
        head, tail = self.head, self.tail
        begin, end = len(head), -len(tail)
        found = []
        for chunk in chunks:
            if not (chunk.startswith(head) and chunk.endswith(tail)):
                break
            found.append(chunk[begin:end])
        return found

    def shown(self, choices: Sequence[bytes]) -> bytes | None:
        """The frames of these choices; None when members that are changed may be among them, in another place."""
        joined = b" ".join(choices)
        for name in self.changed:
            if name in joined:
                return None
        return self.shown_head + (self.shown_tail + self.shown_head).join(choices) + self.shown_tail


def learned(data: bytes, shown: bytes, choices: bytes, changed: Iterable[str]) -> Splice | None:
    """The splice that turns `data` into `shown`; `changed` are the members that may differ between the two.

    None where the choices cannot be told from the rest.
    """
    if not (choices.startswith(_BEGIN) and choices.endswith(_END)) or data.count(choices) != 1:
        return None
    head, _, tail = data.partition(choices)
    shown_head, _, shown_tail = shown.partition(choices)
    names = [b'"%b"' % name.encode() for name in changed]
    return Splice(head + _BEGIN, _END + tail, shown_head + _BEGIN, _END + shown_tail, names)
