"""The scripted model server as a process of its own, which keeps a record of its requests.

`python -m chaos.model RECORD` prints its base URL and then writes a line of JSON to RECORD for each request.
"""

import asyncio
import sys
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

import msgspec

from chaos.script import answer_to, name_of, says_something
from tests.support.answers import Answer, last_user_text
from tests.support.model_server import ModelServer


class Call(msgspec.Struct, frozen=True):
    """One request: the message to answer, the conversation as (role, text), and whether text was sent back."""

    name: str
    turns: list[tuple[str, str]]
    says_something: bool


def read_record(path: Path) -> list[Call]:
    """Read the requests in the order in which they came."""
    return [msgspec.json.decode(line, type=Call) for line in path.read_bytes().splitlines()]


class _Script:
    def __init__(self, record: IO[bytes]) -> None:
        self._record = record
        self._calls: Counter[str] = Counter()

    def answer(self, body: Mapping[str, Any]) -> Answer:
        text = last_user_text(body)
        name = name_of(text)
        answer = answer_to(text, self._calls[name])
        self._calls[name] += 1
        turns = [(turn["role"], turn["content"]) for turn in body["messages"] if turn["role"] != "system"]
        self._record.write(msgspec.json.encode(Call(name, turns, says_something(answer))) + b"\n")
        self._record.flush()
        return answer


async def _main(record: Path) -> None:
    with record.open("ab") as file:
        async with ModelServer() as server:
            server.default = _Script(file).answer
            sys.stdout.write(f"{server.base_url}\n")
            sys.stdout.flush()
            await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_main(Path(sys.argv[1])))
