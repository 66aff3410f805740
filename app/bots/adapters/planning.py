"""The order of a message's fragments: every text and every file, and a quotation on the first of them."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from app.bots.adapters.base import Attached, Fragment, OutgoingPart
from app.chat.parts import Reply, Text


def plan_parts(
    parts: Sequence[OutgoingPart],
    write: Callable[[str], Sequence[Fragment]],
    attach: Callable[[Attached], Fragment],
) -> list[Fragment]:
    """Plan the fragments of a message: `write` divides a text, `attach` makes the fragment of a file.

    The id of a quoted message is `reply_to` in the payload of the first fragment after it.
    """
    fragments: list[Fragment] = []
    quoted: Mapping[str, Any] = {}
    for part in parts:
        if isinstance(part, Reply):
            quoted = {"reply_to": str(part.message_id)}
            continue
        new = list(write(part.text)) if isinstance(part, Text) else [attach(part)]
        if quoted and new:
            new[0] = _with(new[0], quoted)
            quoted = {}
        fragments += new
    return fragments


def _with(fragment: Fragment, fields: Mapping[str, Any]) -> Fragment:
    plain = None if fragment.plain is None else {**fragment.plain, **fields}
    return Fragment({**fragment.payload, **fields}, plain, fragment.attachment_id)
