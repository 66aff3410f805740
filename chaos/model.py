"""The scripted model server as a process of its own, which keeps a record of its requests.

`python -m chaos.model RECORD` prints its base URL and then writes a line of JSON to RECORD for each request.
"""

import asyncio
import contextlib
import sys
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

import msgspec

from chaos.script import BREAK, answer_to, name_of, says_something, turns_of
from tests.support.answers import Answer, last_user_text
from tests.support.model_server import ModelServer


class Call(msgspec.Struct, frozen=True):
    """One request: its message, the conversation as (role, text), whether text was sent back, and the reply's step."""

    name: str
    turns: list[tuple[str, str]]
    says_something: bool
    step: int = 0


def read_record(path: Path) -> list[Call]:
    """Read the requests in the order in which they came."""
    return [msgspec.json.decode(line, type=Call) for line in path.read_bytes().splitlines()]


def pages_record(record: Path) -> Path:
    """The file with a line for each page that was fetched, beside the record of requests."""
    return record.with_suffix(".pages")


class _Pages:
    """A web server whose pages are counted: a page is fetched by the call of a tool."""

    def __init__(self, record: IO[bytes]) -> None:
        self._record = record

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            path = (await reader.readuntil(b"\r\n\r\n")).split()[1]
            self._record.write(path + b"\n")
            self._record.flush()
            await asyncio.sleep(0.05)
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nConnection: close\r\n\r\npage " + path)
        writer.close()


class _Script:
    def __init__(self, record: IO[bytes], pages: str) -> None:
        self._record = record
        self._pages = pages
        self._calls: Counter[str] = Counter()

    def answer(self, body: Mapping[str, Any]) -> Answer:
        # A question that was left without a reply stands before this one, in one message.
        text = last_user_text(body).split(BREAK)[-1]
        name = name_of(text)
        roles = [message["role"] for message in body["messages"]]
        end = len(roles) - roles[::-1].index("user")
        step = sum(bool(message.get("tool_calls")) for message in body["messages"][end:])
        answer = answer_to(text, self._calls[name], step, self._pages)
        self._calls[name] += 1
        turns = turns_of(body["messages"][:end])
        self._record.write(msgspec.json.encode(Call(name, turns, says_something(answer), step)) + b"\n")
        self._record.flush()
        return answer


async def _main(record: Path) -> None:
    with record.open("ab") as file, pages_record(record).open("ab") as pages_file:
        pages = await asyncio.start_server(_Pages(pages_file).answer, "127.0.0.1", 0)
        async with pages, ModelServer() as server:
            port = pages.sockets[0].getsockname()[1]
            server.default = _Script(file, f"http://127.0.0.1:{port}").answer
            sys.stdout.write(f"{server.base_url}\n")
            sys.stdout.flush()
            await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_main(Path(sys.argv[1])))
