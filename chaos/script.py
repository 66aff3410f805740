"""The text of each message, and the reply that the scripted model owes it.

A message is words that no other message has: the reply echoes them, so that it shows its message and how far it has
come. Marks at the end of a message tell the model server how to fail.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from app.chat.prompt import CONTINUED
from tests.support.answers import Answer, reply, status, tool_calls

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
BREAK = "\n\n"
"""Between neighbouring messages of one role, which a model server is sent as one."""
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


def steps_of(text: str) -> int:
    """Read in how many steps the model calls a tool before it ends its reply."""
    return int(dict(_MARK.findall(text)).get("tools", 0))


def turns_of(messages: Sequence[Mapping[str, Any]]) -> list[tuple[str, str]]:
    """Read the conversation in a request as it was stored: (role, text) of each message, tool calls left out.

    The steps of a reply are one message again, and neighbouring messages that were joined are several.
    """
    turns: list[tuple[str, str]] = []
    begun = ""
    for message in messages:
        role, content = message["role"], message["content"] or ""
        if role == "assistant" and message.get("tool_calls"):
            begun += content
        elif role in ("user", "assistant"):
            pieces = content.split(BREAK)
            if role == "assistant" and pieces[0].startswith(" "):  # further words of the reply
                begun, pieces[0] = "", begun + pieces[0]
            if begun:
                turns.append(("assistant", begun))
            begun = ""
            turns += [(role, piece) for piece in pieces if piece != CONTINUED]
    return turns


def answer_to(text: str, earlier_calls: int, step: int, pages: str) -> Answer:
    """The model server's answer to a message that it was shown `earlier_calls` times before, in a step of its reply."""
    marks = dict(_MARK.findall(text))
    if steps := steps_of(text):
        return _answer_with_tools(text, step, steps, pages, float(marks.get("delay", 0)))
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


def _answer_with_tools(text: str, step: int, steps: int, pages: str, delay: float) -> Answer:
    """A part of the reply, and behind each but the last the call of a tool that counts its calls."""
    tokens = tokens_of(text)
    part = tokens[len(tokens) * step // (steps + 1) : len(tokens) * (step + 1) // (steps + 1)]
    if step >= steps:
        return reply(part, delay=delay)
    url = f"{pages}/{name_of(text)}/{step}"
    call = tool_calls((f"call_{step}", "fetch_page", f'{{"url": "{url}"}}'), text=part)
    return replace(call, delay=delay)


def says_something(answer: Answer) -> bool:
    """Check for any of the reply's text in an answer."""
    return answer.status == 200 and bool(answer.tokens) and (answer.after != 0 or answer.then == "extra")
