"""A scripted model server that speaks OpenAI's API on loopback: the other end of everything the tests send to a model.

In a test:

    async with ModelServer() as model:
        model.script(reply(["Hello", " you"]), status(500))   # the first request, the second; then `model.default`
        ... use model.base_url ...
        assert model.requests[0].body["model"] == "m"

As a process (`python -m tests.support.model_server --port N`) the last user message is the script: `[[status:500]]`,
`[[tokens:50]]`, `[[delay:0.01]]`, `[[cut:3]]`, `[[hang:2]]` and so on, see `answer_to`. Without a mark it is echoed.
"""

import argparse
import asyncio
import contextlib
import json
import re
import sys
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import Any, Self

SECRET = "sk-secret-of-the-model-server"
MODEL = "scripted"
CREATED = 1_790_000_000

Chunk = dict[str, Any]


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
    tokens = numbered(int(marks["tokens"])) if "tokens" in marks else re.findall(r"\s*\S+", f"You said: {text}")
    reasoning = re.findall(r"\s*\S+", marks.get("reasoning", ""))
    return reply(tokens, delay=delay, one_write="burst" in marks, reasoning=reasoning)


@dataclass(frozen=True)
class Received:
    """A request as it came; header names in lower case."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: dict[str, Any]


class ModelServer:
    """The server. `requests` is what it was sent, `disconnects` how often a client left before its answer's end."""

    def __init__(self, port: int = 0) -> None:
        self.requests: list[Received] = []
        self.disconnects = 0
        self.connections = 0
        self.default: Callable[[Mapping[str, Any]], Answer] = answer_to
        self._port = port
        self._script: deque[Answer] = deque()
        self._changed = asyncio.Condition()
        self._handlers: set[asyncio.Task[None]] = set()

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self._port}/v1"

    def script(self, *answers: Answer) -> None:
        """The answers to the next requests, in their order, after those already scripted."""
        self._script.extend(answers)

    async def wait_for_requests(self, count: int) -> None:
        await self._wait_until(lambda: len(self.requests) >= count)

    async def wait_for_disconnects(self, count: int) -> None:
        await self._wait_until(lambda: self.disconnects >= count)

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self._port, backlog=4096)
        self._port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.close()
        for handler in self._handlers:
            handler.cancel()
        await asyncio.gather(*self._handlers, return_exceptions=True)
        await self._server.wait_closed()

    async def serve_forever(self) -> None:
        await self._server.serve_forever()

    async def _wait_until(self, holds: Callable[[], bool]) -> None:
        async with asyncio.timeout(10), self._changed:
            await self._changed.wait_for(holds)

    async def _notify(self) -> None:
        async with self._changed:
            self._changed.notify_all()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.create_task(self._serve(reader, writer))
        self._handlers.add(task)
        task.add_done_callback(self._handlers.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        read: bytes | None = b""
        try:
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
                while read is not None:
                    read = await self._answer(await _read_request(reader, read), reader, writer)
        finally:
            writer.close()

    async def _answer(
        self, request: Received, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bytes | None:
        """Answers one request. Returns what was read of the next one, None when the connection is over."""
        self.requests.append(request)
        await self._notify()
        if request.method == "GET":
            models = {"object": "list", "data": [{"id": MODEL, "object": "model", "created": CREATED, "owned_by": "t"}]}
            await _send_whole(writer, 200, json.dumps(models).encode(), "application/json", {})
            return b""
        answer = self._script.popleft() if self._script else self.default(request.body)
        answering = asyncio.create_task(_play(answer, request.body, writer))
        leaving = asyncio.create_task(reader.read(1))
        try:
            await asyncio.wait((answering, leaving), return_when=asyncio.FIRST_COMPLETED)
            if not answering.done() and not await leaving:
                self.disconnects += 1
                await self._notify()
                return None
            await answering
            if writer.is_closing():
                return None
            return leaving.result() if leaving.done() else b""
        finally:
            for task in (answering, leaving):
                task.cancel()
            await asyncio.gather(answering, leaving, return_exceptions=True)


async def _read_request(reader: asyncio.StreamReader, first: bytes) -> Received:
    head = (first + await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    line, *fields = head.rstrip("\r\n").split("\r\n")
    method, path, _ = line.split(" ")
    headers = {name.lower(): value.strip() for name, _, value in (field.partition(":") for field in fields)}
    body = await reader.readexactly(int(headers.get("content-length", 0)))
    return Received(method, path, headers, json.loads(body) if body else {})


async def _play(answer: Answer, body: Mapping[str, Any], writer: asyncio.StreamWriter) -> None:
    if answer.then == "hang before the status":
        await asyncio.Event().wait()
    model = str(body.get("model") or MODEL)
    if answer.raw is not None:
        await _send_whole(writer, answer.status, answer.raw, answer.content_type, answer.headers)
    elif not body.get("stream") or answer.content_type == "application/json":
        whole = json.dumps(_completion(answer, model)).encode()
        await _send_whole(writer, answer.status, whole, "application/json", answer.headers)
    else:
        include_usage = bool((body.get("stream_options") or {}).get("include_usage"))
        await _play_stream(answer, model, include_usage, _ChunkedBody(writer, answer))


class _ChunkedBody:
    """A chunked HTTP body, so that a cut can be told from an end."""

    def __init__(self, writer: asyncio.StreamWriter, answer: Answer) -> None:
        self._writer = writer
        self._held = bytearray()
        self._hold = answer.one_write
        writer.write(_head(answer.status, answer.content_type, answer.headers) + b"transfer-encoding: chunked\r\n\r\n")

    async def send(self, data: bytes) -> None:
        if self._hold:
            self._held += data
        else:
            await self._write(data)

    async def flush(self) -> None:
        if self._held:
            data, self._held = bytes(self._held), bytearray()
            await self._write(data)

    async def end(self) -> None:
        await self.flush()
        self._writer.write(b"0\r\n\r\n")
        await self._writer.drain()

    async def cut(self) -> None:
        await self.flush()
        # Lets the flushed bytes leave before the reset, which would otherwise overtake them.
        await asyncio.sleep(0.02)
        self._writer.transport.abort()

    async def _write(self, data: bytes) -> None:
        self._writer.write(b"%x\r\n%b\r\n" % (len(data), data))
        await self._writer.drain()


async def _play_stream(answer: Answer, model: str, include_usage: bool, body: _ChunkedBody) -> None:
    await body.send(_event(_chunk(model, {"role": "assistant", "content": ""})))
    for text in answer.reasoning:
        await body.send(_event(_chunk(model, {"reasoning_content": text})))
    for index, token in enumerate((*answer.tokens, None)):
        if index == answer.after and not await _intervene(answer, body):
            return
        if token is not None:
            if answer.delay:
                await asyncio.sleep(answer.delay)
            await body.send(_event(_chunk(model, {"content": token})))
    for index, call in enumerate(answer.tool_calls):
        for piece in _tool_call_pieces(index, call):
            await body.send(_event(_chunk(model, {"tool_calls": [piece]})))
    await body.send(_event(_chunk(model, {}, answer.finish_reason)))
    if include_usage:
        await body.send(_event({**_chunk(model, {}), "choices": [], "usage": _usage(answer)}))
    await body.send(b"data: [DONE]\n\n")
    await body.end()


async def _intervene(answer: Answer, body: _ChunkedBody) -> bool:
    """What happens after `answer.after` tokens; True when the reply goes on."""
    if answer.then != "error event":
        await body.flush()
    match answer.then:
        case "wait" if answer.gate is not None:
            await answer.gate.wait()
            return True
        case "hang":
            await asyncio.Event().wait()
        case "cut":
            await body.cut()
        case "end":
            await body.end()
        case "error event":
            await body.send(_event({"error": {"message": f"overloaded {SECRET}", "code": 503}}))
            await body.end()
        case "broken json":
            await body.send(b'data: {"id":"x","choices":[{"delta":{"content":\n\n')
            await body.end()
        case _:
            return True
    return False


def _chunk(model: str, delta: Mapping[str, Any], finish_reason: str | None = None) -> Chunk:
    return {
        "id": "chatcmpl-scripted",
        "object": "chat.completion.chunk",
        "created": CREATED,
        "model": model,
        "choices": [{"index": 0, "delta": delta, "finish_reason": finish_reason}],
    }


def _completion(answer: Answer, model: str) -> Chunk:
    message: dict[str, Any] = {"role": "assistant", "content": "".join(answer.tokens)}
    if answer.reasoning:
        message["reasoning_content"] = "".join(answer.reasoning)
    if answer.tool_calls:
        message["tool_calls"] = [
            {"id": call["id"], "type": "function", "function": {"name": call["name"], "arguments": call["arguments"]}}
            for call in answer.tool_calls
        ]
    choice = {"index": 0, "message": message, "finish_reason": answer.finish_reason}
    return {**_chunk(model, {}), "object": "chat.completion", "choices": [choice], "usage": _usage(answer)}


def _tool_call_pieces(index: int, call: Mapping[str, Any]) -> list[Chunk]:
    arguments = call["arguments"]
    middle = len(arguments) // 2
    function = {"name": call["name"], "arguments": arguments[:middle]}
    return [
        {"index": index, "id": call["id"], "type": "function", "function": function},
        {"index": index, "function": {"arguments": arguments[middle:]}},
    ]


def _usage(answer: Answer) -> Chunk:
    prompt, cached, completion = answer.usage or (10, 0, len(answer.tokens))
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": {"cached_tokens": cached},
    }


def _event(value: Mapping[str, Any]) -> bytes:
    return b"data: %b\n\n" % json.dumps(value, ensure_ascii=False).encode()


def _head(code: int, content_type: str, headers: Mapping[str, str]) -> bytes:
    lines = [f"HTTP/1.1 {code} Scripted", f"content-type: {content_type}"]
    return "\r\n".join([*lines, *(f"{name}: {value}" for name, value in headers.items()), ""]).encode()


async def _send_whole(
    writer: asyncio.StreamWriter, code: int, body: bytes, content_type: str, headers: Mapping[str, str]
) -> None:
    writer.write(_head(code, content_type, headers) + b"content-length: %d\r\n\r\n" % len(body) + body)
    await writer.drain()


async def _main(port: int) -> None:
    async with ModelServer(port) as server:
        sys.stdout.write(f"{server.base_url}\n")
        sys.stdout.flush()
        await server.serve_forever()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=0)
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_main(parser.parse_args().port))
