"""What the scripted model server can be told to answer: whole replies, and every way to fail."""

import asyncio
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

SECRET = "sk-secret-of-the-model-server"


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What one request gets. Build it with the functions below; `after` counts tokens that are sent before `then`."""

    tokens: tuple[str, ...] = ()
    reasoning: tuple[str, ...] = ()
    tool_calls: tuple[Mapping[str, Any], ...] = ()
    finish_reason: str = "stop"
    usage: tuple[int, int, int] | None = None
    delay: float = 0.0
    one_write: bool = False
    gate: asyncio.Event | None = None
    after: int | None = None
    then: str = "go on"
    at_finish: str = "go on"
    extra: bytes = b""
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    content_type: str = "text/event-stream"
    raw: bytes | None = None


def reply(
    tokens: Sequence[str] = ("Hello", " ", "world"),
    *,
    delay: float = 0.0,
    one_write: bool = False,
    gate: asyncio.Event | None = None,
    hold_after: int = 0,
    usage: tuple[int, int, int] | None = None,
    reasoning: Sequence[str] = (),
    finish_reason: str = "stop",
) -> Answer:
    """A whole reply. `delay` is in seconds, before each token; `gate` is awaited once `hold_after` tokens are sent;
    `usage` is (prompt, cached, completion) tokens; `one_write` sends everything in one piece."""
    return Answer(
        tokens=tuple(tokens),
        reasoning=tuple(reasoning),
        finish_reason=finish_reason,
        usage=usage,
        delay=delay,
        one_write=one_write,
        gate=gate,
        after=hold_after if gate else None,
        then="wait" if gate else "go on",
    )


def tool_calls(*calls: tuple[str, str, str], text: Sequence[str] = ()) -> Answer:
    """Calls as (id, name, JSON of the arguments), the arguments in two pieces."""
    described = tuple({"id": id, "name": name, "arguments": arguments} for id, name, arguments in calls)
    return Answer(tokens=tuple(text), tool_calls=described, finish_reason="tool_calls")


def with_usage(answer: Answer, usage: tuple[int, int, int]) -> Answer:
    """The same with (prompt, cached, completion) tokens."""
    return replace(answer, usage=usage)


def status(code: int, *, headers: Mapping[str, str] | None = None, message: str = "it failed") -> Answer:
    """An HTTP error whose body holds SECRET, as real ones hold keys, hosts and prompts."""
    error = {"error": {"message": f"{message} ({SECRET} at http://10.0.0.7:8000)", "type": "server_error"}}
    return Answer(status=code, headers=headers or {}, content_type="application/json", raw=json.dumps(error).encode())


def hang() -> Answer:
    """Takes the request and answers nothing, not even a status, until the client leaves."""
    return Answer(then="hang before the status", after=0)


def hang_after(count: int) -> Answer:
    return replace(reply(numbered(count + 1)), after=count, then="hang")


def cut_after(count: int) -> Answer:
    """The connection is reset after that many tokens; 0 cuts after the status."""
    return replace(reply(numbered(count + 1)), after=count, then="cut")


def clean_end_after(count: int) -> Answer:
    """The body ends as it should, but neither a finish_reason nor [DONE] was sent."""
    return replace(reply(numbered(count + 1)), after=count, then="end")


def held_open(tokens: Sequence[str] = ("Hello",)) -> Answer:
    """All of a reply, [DONE] included, but the body does not end."""
    return replace(reply(tokens), then="hold open")


def after_finish(fault: str, tokens: Sequence[str] = ("Hello",)) -> Answer:
    """A fault behind the finish reason: `cut`, `close` (without the body's end), `hang`, or a `pause`."""
    return replace(reply(tokens), at_finish=fault)


def closed() -> Answer:
    """Takes the request and closes the connection without an answer."""
    return Answer(then="close before the status")


def error_event(count: int = 1, *, one_write: bool = False) -> Answer:
    return replace(reply(numbered(count + 1), one_write=one_write), after=count, then="error event")


def broken_json(count: int = 1) -> Answer:
    return replace(reply(numbered(count + 1)), after=count, then="broken json")


def garbage() -> Answer:
    """A stream of bytes that are no events."""
    return Answer(raw=bytes(range(256)) * 8)


def empty() -> Answer:
    """200, and a stream without a single event."""
    return Answer(raw=b"")


def nothing_but_done() -> Answer:
    return Answer(raw=b"data: [DONE]\n\n")


def html() -> Answer:
    return Answer(content_type="text/html", raw=f"<html><body>Log in, {SECRET}</body></html>".encode())


def not_sse(tokens: Sequence[str] = ("Hello", " ", "world")) -> Answer:
    """A server that ignores `stream` and sends the whole completion as JSON."""
    return Answer(tokens=tuple(tokens), content_type="application/json")


def raw(body: bytes, content_type: str = "text/event-stream") -> Answer:
    return Answer(raw=body, content_type=content_type)


def numbered(count: int) -> tuple[str, ...]:
    """`t0 `, `t1 `, ..."""
    return tuple(f"t{index} " for index in range(count))


def last_user_text(body: Mapping[str, Any]) -> str:
    """The last user message's text; an image among its parts reads `[image]`."""
    for message in reversed(body.get("messages") or []):
        if message.get("role") == "user":
            content = message.get("content") or ""
            if isinstance(content, str):
                return content
            return " ".join(part.get("text") or "[image]" for part in content)
    return ""


_WORD = re.compile(r"\s*\S+")
_WORD = re.compile(r"\s*\S+")
_MARK = re.compile(r"\[\[(\w+)(?::([^\]]*))?\]\]")
_FAULTS: dict[str, Callable[[int], Answer]] = {
    "status": status,
    "hang": hang_after,
    "cut": cut_after,
    "end": clean_end_after,
    "error": error_event,
    "broken": broken_json,
    "silent": lambda _: hang(),
    "garbage": lambda _: garbage(),
    "empty": lambda _: empty(),
    "html": lambda _: html(),
    "json": lambda _: not_sse(),
}


def answer_to(body: Mapping[str, Any]) -> Answer:
    """The answer that the marks in the last user message ask for; without marks, an echo of it, word by word.

    Faults: `status:N`, `silent`, `garbage`, `empty`, `html`, `json`, and after K tokens `hang:K`, `cut:K`, `end:K`,
    `error:K`, `broken:K`. For a reply: `tokens:N`, `delay:SECONDS` a token, `burst` (one write), `reasoning:TEXT`,
    `tool:NAME`.
    """
    text = last_user_text(body)
    marks = {name: value or "" for name, value in _MARK.findall(text)}
    delay = float(marks.get("delay", 0))
    for name, fault in _FAULTS.items():
        if name in marks:
            return replace(fault(int(marks[name] or 0)), delay=delay)
    if "tool" in marks:
        return tool_calls(("call_1", marks["tool"], '{"city": "Paris"}'))
    echo = f"You said: {_MARK.sub('', text).strip()}"
    tokens = numbered(int(marks["tokens"])) if "tokens" in marks else _WORD.findall(echo)
    reasoning = _WORD.findall(marks.get("reasoning", ""))
    return reply(tokens, delay=delay, one_write="burst" in marks, reasoning=reasoning)
