"""The scripted model server: one process, raw asyncio, answers made beforehand, so that it is never the bottleneck.

`python -m bench.model` prints its base URL. The model's name says the reply: `t64` is 64 tokens at once, `t64-d20` one
every 20 ms, `t2-d600000` one token and then ten minutes of silence. `t64-s5` calls the tool `now` five times before,
and `t64-s5-w50` calls `waiting_wait`, for 50 ms each.
"""

import asyncio
import re
import sys
from dataclasses import dataclass, field
from functools import cache
from typing import cast

import uvloop

TOKEN = "tok "
_NAME = re.compile(rb'"model":\s*"(?:openai/)?(t(\d+)(?:-d(\d+))?(?:-s(\d+)(?:-w(\d+))?)?)"')
_RESULT = b'"role":"tool"'
_STREAM = re.compile(rb'"stream":\s*true')
_LENGTH = re.compile(rb"(?i)content-length: *(\d+)")
_STREAM_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
_END = b"0\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Reply:
    """A reply's bytes: all at once, or piece by piece with `delay` seconds between two."""

    delay: float
    pieces: tuple[bytes, ...]


@cache
def reply_of(name: str, tokens: int, delay_ms: int) -> Reply:
    """The stream for a model's name."""
    events = [_event(name, f'{{"content":"{TOKEN}"}}', "null") for _ in range(tokens)]
    events[0] = _event(name, f'{{"role":"assistant","content":"{TOKEN}"}}', "null")
    usage = f'"usage":{{"prompt_tokens":10,"completion_tokens":{tokens},"total_tokens":{tokens + 10}}}'
    last = (
        _event(name, "{}", '"stop"')
        + b"data: {%b,%b}\n\n" % (_common(name), f'"choices":[],{usage}'.encode())
        + b"data: [DONE]\n\n"
    )
    if not delay_ms:
        return Reply(0.0, (_STREAM_HEAD + _chunk(b"".join(events) + last) + _END,))
    pieces = [_chunk(event) for event in events]
    return Reply(delay_ms / 1000, (_STREAM_HEAD + pieces[0], *pieces[1:-1], pieces[-1] + _chunk(last) + _END))


@cache
def call_of(name: str, step: int, wait_ms: int) -> Reply:
    """The stream of a call of `waiting_wait`, or of `now`; with other arguments in each step."""
    function = f'{{"name":"now","arguments":"{{\\"timezone\\":\\"Etc/GMT+{step}\\"}}"}}'
    if wait_ms:
        arguments = f'{{\\"milliseconds\\":{wait_ms},\\"step\\":{step}}}'
        function = f'{{"name":"waiting_wait","arguments":"{arguments}"}}'
    call = f'{{"index":0,"id":"call_{step}","type":"function","function":{function}}}'
    events = [_event(name, f'{{"role":"assistant","tool_calls":[{call}]}}', "null"), _event(name, "{}", '"tool_calls"')]
    return Reply(0.0, (_STREAM_HEAD + _chunk(b"".join(events) + b"data: [DONE]\n\n") + _END,))


@cache
def whole_of(name: str, tokens: int) -> bytes:
    """The answer to a request that does not want a stream."""
    body = (
        f'{{"id":"chatcmpl-bench","object":"chat.completion","created":1700000000,"model":"{name}","choices":[{{"index":0,'
        f'"message":{{"role":"assistant","content":"{TOKEN * tokens}"}},"finish_reason":"stop"}}],'
        f'"usage":{{"prompt_tokens":10,"completion_tokens":{tokens},"total_tokens":{tokens + 10}}}}}'
    ).encode()
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
    return head % len(body) + body


def _common(name: str) -> bytes:
    text = f'"id":"chatcmpl-bench","object":"chat.completion.chunk","created":1700000000,"model":"{name}"'
    return text.encode()


def _event(name: str, delta: str, finish: str) -> bytes:
    choices = f'"choices":[{{"index":0,"delta":{delta},"finish_reason":{finish}}}]'
    return b"data: {%b,%b}\n\n" % (_common(name), choices.encode())


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


@dataclass(slots=True, eq=False)
class _Connection(asyncio.Protocol):
    """One client. Requests come one after another; what is not a chat completion is answered 404."""

    loop: asyncio.AbstractEventLoop
    buffer: bytearray = field(default_factory=bytearray)
    transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's do not inherit from it

    def connection_lost(self, _error: Exception | None) -> None:
        self.transport = None

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        while (head_end := self.buffer.find(b"\r\n\r\n")) >= 0:
            length = _LENGTH.search(self.buffer, 0, head_end)
            end = head_end + 4 + (int(length[1]) if length else 0)
            if len(self.buffer) < end:
                return
            request = bytes(self.buffer[:end])
            del self.buffer[:end]
            self._answer(request)

    def _answer(self, request: bytes) -> None:
        assert self.transport is not None
        if (name := _NAME.search(request)) is None:
            self.transport.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
        elif not _STREAM.search(request):
            self.transport.write(whole_of(name[1].decode(), int(name[2])))
        elif (step := request.count(_RESULT)) < int(name[4] or 0):
            self._write(call_of(name[1].decode(), step, int(name[5] or 0)), 0, self.loop.time())
        else:
            reply = reply_of(name[1].decode(), int(name[2]), int(name[3] or 0))
            self._write(reply, 0, self.loop.time())

    def _write(self, reply: Reply, index: int, began: float) -> None:
        if self.transport is None:  # the caller has left
            return
        self.transport.write(reply.pieces[index])
        index += 1
        if index < len(reply.pieces):
            # Against the reply's beginning, so that delays do not add up.
            self.loop.call_at(began + index * reply.delay, self._write, reply, index, began)


async def _main() -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: _Connection(loop), "127.0.0.1", 0, backlog=1024)
    port = server.sockets[0].getsockname()[1]
    sys.stdout.write(f"http://127.0.0.1:{port}/v1\n")
    sys.stdout.flush()
    await server.serve_forever()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_main())
