"""Chunks that differ from the one before in their choices only, which is nearly all: passed on without being parsed.

Taking a chunk apart and putting it together again costs 2 us, a dozen times what its text costs to copy. A model server
writes what stands around the choices in the same bytes in every chunk of a reply, so the first chunk shows what is to
be put in its place.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass

_BEGIN, _END = b"[{", b"}]"


@dataclass(frozen=True, slots=True)
class Splice:
    """What stands around a chunk's choices as the model server writes it, and as the client is shown it.

    `changed` finds the names of members that are changed on their way.
    """

    head: bytes
    tail: bytes
    shown_head: bytes
    shown_tail: bytes
    changed: re.Pattern[bytes]

    def of(self, data: bytes) -> bytes | None:
        """The chunk as it is shown; None for one that must be taken apart, having such members in another place."""
        if not (data.startswith(self.head) and data.endswith(self.tail)):
            return None
        choices = data[len(self.head) : -len(self.tail)]
        if self.changed.search(choices):
            return None
        return self.shown_head + choices + self.shown_tail


def learned(data: bytes, shown: bytes, choices: bytes, changed: Iterable[str]) -> Splice | None:
    """The splice that turns `data` into `shown`; `changed` are the members that may differ between the two.

    None where the choices cannot be told from the rest.
    """
    if not (choices.startswith(_BEGIN) and choices.endswith(_END)) or data.count(choices) != 1:
        return None
    head, _, tail = data.partition(choices)
    shown_head, _, shown_tail = shown.partition(choices)
    names = re.compile(b'"(?:%b)"' % b"|".join(re.escape(name.encode()) for name in changed))
    return Splice(head + _BEGIN, _END + tail, shown_head + _BEGIN, _END + shown_tail, names)
