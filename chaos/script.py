"""The text of each message, and the reply that the scripted model owes it.

A message is words that no other message has: the reply echoes them, so that it shows its message and how far it has
come. Marks at the end of a message tell the model server how to fail.
"""

import re
from collections.abc import Mapping
from dataclasses import replace

from tests.support.answers import Answer, reply, status

_MARK = re.compile(r"\s*\[\[(\w+):([^\]]*)\]\]")
_WORD = re.compile(r"\s*\S+")
_FAULTS = {"cut": "cut", "ended": "end", "stall": "hang", "error": "error event", "broken": "broken json"}
FAULTS = (*_FAULTS, "status", "flaky", "silent")
"""The faults of a model server. The first five happen after as many words as the mark says; `status` is an HTTP status
for ever, `flaky` a number of refusals before all is well, `silent` no answer at all."""


def message(name: str, words: int, marks: Mapping[str, object]) -> str:
    text = " ".join(f"{name}.{index}" for index in range(words))
    return text + "".join(f" [[{mark}:{value}]]" for mark, value in marks.items())


def name_of(text: str) -> str:
    """Read the name of the message that begins with this text; empty for a text that is no message of a trial."""
    name, dot, _ = text.partition(".0")
    return name if dot else ""


def tokens_of(text: str) -> tuple[str, ...]:
    return tuple(_WORD.findall(f"You said: {_MARK.sub('', text)}"))


def reply_to(text: str) -> str:
    """The whole reply to a message."""
    return "".join(tokens_of(text))


def fault_of(text: str) -> str | None:
    """Find the fault that a message asks of the model server."""
    return next((mark for mark, _ in _MARK.findall(text) if mark in FAULTS), None)


def answer_to(text: str, earlier_calls: int) -> Answer:
    """The model server's answer to a message that it was shown `earlier_calls` times before."""
    marks = dict(_MARK.findall(text))
    whole = reply(tokens_of(text), delay=float(marks.get("delay", 0)))
    if "status" in marks:
        return status(int(marks["status"]))
    if earlier_calls < int(marks.get("flaky", 0)):
        return status(503 if earlier_calls % 2 else 429, headers={"retry-after": "0"})
    if "silent" in marks:
        return Answer(then="hang before the status", after=0)
    for mark, fault in _FAULTS.items():
        if mark in marks:
            return replace(whole, after=int(marks[mark]), then=fault)
    return whole


def says_something(answer: Answer) -> bool:
    """Check for any of the reply's text in an answer."""
    return answer.status == 200 and bool(answer.tokens) and answer.after != 0
