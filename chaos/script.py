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
FAULTS = (*_FAULTS, "lie", "odd", "unended", "status", "flaky", "silent")
"""The faults of a model server. The first seven happen after as many words as the mark says: `lie` is an error in an
odd shape and then `[DONE]`, `odd` an event with members of odd types. `unended` breaks off or hangs behind the finish
reason. `status` is an HTTP status for ever, `flaky` a number of refusals before all is well, `silent` no answer."""
HARMLESS = ("odd", "unended")
"""The faults that do not cost the reply."""

_ERRORS = (
    b'data: {"object":"error","message":"no","code":500}\n\n',
    b'event: error\ndata: {"code":500,"message":"no"}\n\n',
    b'error: {"code":500}\n\n',
    b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"error"}]}\n\n',
    b'data: [{"error":{"message":"no"}}]\n\n',
    b'data: {"detail":[{"loc":["body"],"msg":"no"}]}\n\n',
    b'{"error":{"message":"no"}}\n\n',
)
_ODD_EVENTS = (
    b'data: {"choices":[{"index":null,"delta":{"content":""},"finish_reason":0,"logprobs":{"x":NaN}}]}\n\n',
    b'data: {"choices":[],"usage":[],"created":"x","object":""}\n\n',
    b'data: {"choices":[],"usage":{"prompt_tokens":1180591620717411303424,"completion_tokens":-1}}\n\n',
    b'data: {"choices":[{"delta":{"reasoning":{"effort":1},"tool_calls":7,"refusal":[]}}]}\n\n',
    b"event: ping\ndata: now\n\n",
    b'data: {"choices":\ndata: []}\n\n',
)
_LAST_FAULTS = ("cut", "close", "hang")


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
    if "lie" in marks:
        count = int(marks["lie"])
        return replace(whole, after=count, then="extra, then done", extra=_ERRORS[count % len(_ERRORS)])
    if "odd" in marks:
        count = int(marks["odd"])
        return replace(whole, after=count, then="extra", extra=_ODD_EVENTS[count % len(_ODD_EVENTS)])
    if "unended" in marks:
        return replace(whole, at_finish=_LAST_FAULTS[int(marks["unended"]) % len(_LAST_FAULTS)])
    for mark, fault in _FAULTS.items():
        if mark in marks:
            return replace(whole, after=int(marks[mark]), then=fault)
    return whole


def says_something(answer: Answer) -> bool:
    """Check for any of the reply's text in an answer."""
    return answer.status == 200 and bool(answer.tokens) and (answer.after != 0 or answer.then == "extra")
