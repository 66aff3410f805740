"""A scripted model server that speaks OpenAI's API on loopback: the other end of everything the tests send to a model.

In a test:

    async with ModelServer() as model:
        model.script(reply(["Hello", " you"]), status(500))   # the first request, the second; then `model.default`
        ... use model.base_url ...
        assert model.requests[0].body["model"] == "m"

As a process (`python -m tests.support.model_server --port N`) the last user message is the script: `[[status:500]]`,
`[[tokens:50]]`, `[[delay:0.01]]`, `[[cut:3]]` and so on, see `answers.answer_to`. Without a mark it is echoed.
"""

import argparse
import asyncio
import contextlib
import json
import socket
import struct
import sys
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from tests.support.answers import SECRET, Answer, answer_to
from tests.support.completions import chunk, completion, event, models, tool_call_pieces, usage

MODEL = "scripted"


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
        self.model_list: bytes = json.dumps(models(MODEL)).encode()
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

    def reset(self) -> None:
        """Forget what was scripted and received: for the next test with the same server."""
        self._script.clear()
        self.requests.clear()

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
            await _send_whole(writer, 200, self.model_list, "application/json", {})
            return b""
        answer = self._script.popleft() if self._script else self.default(request.body)
        answering = asyncio.create_task(_play(answer, request.body, writer))
        leaving = asyncio.create_task(reader.read(1))
        try:
            await asyncio.wait((answering, leaving), return_when=asyncio.FIRST_COMPLETED)
            if not answering.done() and not await leaving:
                raise ConnectionResetError
            await answering
            if writer.is_closing():
                return None
            return leaving.result() if leaving.done() else b""
        except ConnectionError:
            self.disconnects += 1
            await self._notify()
            return None
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
    if answer.then == "close before the status":
        writer.close()
        return
    model = str(body.get("model") or MODEL)
    if answer.raw is not None and answer.then == "cut":
        cut = _ChunkedBody(writer, answer)
        await cut.send(answer.raw)
        await cut.cut()
    elif answer.raw is not None:
        await _send_whole(writer, answer.status, answer.raw, answer.content_type, answer.headers)
    elif not body.get("stream") or answer.content_type == "application/json":
        whole = json.dumps(_whole(answer, model)).encode()
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

    async def close(self) -> None:
        """Close the connection without the body's end."""
        await self.flush()
        self._writer.close()

    async def cut(self) -> None:
        await self.flush()
        # Without time to linger, closing is a reset; what was sent before is still read first.
        connection = self._writer.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._writer.transport.abort()

    async def _write(self, data: bytes) -> None:
        self._writer.write(b"%x\r\n%b\r\n" % (len(data), data))
        await self._writer.drain()


async def _play_stream(answer: Answer, model: str, include_usage: bool, body: _ChunkedBody) -> None:
    await body.send(event(chunk(model, {"role": "assistant", "content": ""})))
    for text in answer.reasoning:
        await body.send(event(chunk(model, {"reasoning_content": text})))
    for index, token in enumerate((*answer.tokens, None)):
        if index == answer.after and not await _intervene(answer, body):
            return
        if token is not None:
            if answer.delay:
                await asyncio.sleep(answer.delay)
            await body.send(event(chunk(model, {"content": token})))
    for index, call in enumerate(answer.tool_calls):
        for piece in tool_call_pieces(index, call):
            await body.send(event(chunk(model, {"tool_calls": [piece]})))
    await body.send(event(chunk(model, {}, answer.finish_reason)))
    match answer.at_finish:
        case "cut":
            await body.cut()
            return
        case "close":
            await body.close()
            return
        case "hang":
            await asyncio.Event().wait()
        case "pause":
            await asyncio.sleep(0.2)
    if include_usage:
        await body.send(event({**chunk(model, {}), "choices": [], "usage": usage(*_usage_of(answer))}))
    await body.send(b"data: [DONE]\n\n")
    if answer.then == "hold open":
        await asyncio.Event().wait()
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
            await body.send(event({"error": {"message": f"overloaded {SECRET}", "code": 503}}))
            await body.end()
        case "extra":
            await body.send(answer.extra)
            return True
        case "extra, then done":
            await body.send(answer.extra + b"data: [DONE]\n\n")
            await body.end()
        case "broken json":
            await body.send(b'data: {"id":"x","choices":[{"delta":{"content":\n\n')
            await body.end()
        case _:
            return True
    return False


def _whole(answer: Answer, model: str) -> dict[str, Any]:
    text, reasoning = "".join(answer.tokens), "".join(answer.reasoning)
    return completion(model, text, reasoning, answer.tool_calls, answer.finish_reason, _usage_of(answer))


def _usage_of(answer: Answer) -> tuple[int, int, int]:
    return answer.usage or (10, 0, len(answer.tokens))


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
