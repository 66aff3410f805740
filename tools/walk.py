"""Print the way of a request through `app/`: its calls, functions, files, and moves between files.

`make walk` serves the application on a socket of this process, with a scripted model server behind it, and profiles one
chat message, one completion, one upload and one search. Each is the third of its kind, so that nothing is built for the
first time. A trip is made several times, and the one with the fewest calls counts: timers of the server add to others.
"""

import argparse
import asyncio
import dis
import io
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby, pairwise
from operator import attrgetter
from pathlib import Path
from types import FrameType

import httpx2
import uvloop

import app
from tests.support.answers import reply
from tests.support.logs import logging_to
from tests.support.model_server import ModelServer
from tests.support.server import make_settings, migrated_template, running

MAX_FILES, MAX_MOVES = 32, 200
"""What a chat message may take, for `--check`."""
WARM_REQUESTS = 2
SETTLE_SECONDS = 0.05
"""How long a request's work may go on after its answer."""

_RESUME = dis.opmap["RESUME"]
_WAY_OF_RESUMING = 3
"""The bits of RESUME's argument that say where from: the start of the function, a yield, or an await."""


@dataclass(frozen=True, slots=True)
class Call:
    """One call of a function in `app/`."""

    file: str
    function: str
    line: int


@dataclass(frozen=True, slots=True)
class Walk:
    """All calls of one trip, in their order."""

    calls: Sequence[Call]

    @property
    def functions(self) -> int:
        return len(set(self.calls))

    @property
    def files(self) -> int:
        return len({call.file for call in self.calls})

    @property
    def moves(self) -> int:
        """Changes of the file from one call to the next."""
        return sum(before.file != after.file for before, after in pairwise(self.calls))

    @property
    def returns(self) -> int:
        """Moves to a file that the trip has been in before."""
        return self.moves - (self.files - 1)

    def legs(self) -> Iterator[tuple[str, list[str]]]:
        """The trip as one file after another, each with the functions called there."""
        for file, calls in groupby(self.calls, attrgetter("file")):
            yield file, [call.function for call in calls]


@dataclass(slots=True)
class Recorder:
    """A profile function that notes the calls of functions under a folder, in all threads, while it is on."""

    folder: str
    is_on: bool = False
    calls: list[Call] = field(default_factory=list)

    def install(self) -> None:
        """Profile this thread and those that begin from now on."""
        threading.setprofile(self.profile)
        sys.setprofile(self.profile)

    def profile(self, frame: FrameType, event: str, _argument: object) -> None:
        if self.is_on and event == "call":
            code = frame.f_code
            if code.co_filename.startswith(self.folder) and _is_start(frame):
                file = code.co_filename.removeprefix(self.folder)
                self.calls.append(Call(file, code.co_qualname, code.co_firstlineno))

    def start(self) -> None:
        self.calls = []
        self.is_on = True

    def stop(self) -> Walk:
        self.is_on = False
        return Walk(self.calls)


def _is_start(frame: FrameType) -> bool:
    """Whether a function begins here: a coroutine or generator that goes on is profiled as a call, too."""
    code, position = frame.f_code.co_code, frame.f_lasti
    return code[position] == _RESUME and code[position + 1] & _WAY_OF_RESUMING == 0


@dataclass(frozen=True, slots=True)
class Trip:
    """A kind of request. In its body, `%TRY%` is the number of the try: each chats in a session of its own."""

    name: str
    path: str
    body: str
    content_type: str = "application/json"


CHAT = Trip("chat message", "/api/v1/chat", '{"username": "alice", "session_id": "walk-%TRY%", "message": "Hello"}')
TRIPS = (
    CHAT,
    Trip(
        "completion",
        "/v1/chat/completions",
        '{"model": "scripted", "stream": true, "store": false, "messages": [{"role": "user", "content": "Hello"}]}',
    ),
    Trip(
        "upload",
        "/api/v1/file",
        '--walk\r\nContent-Disposition: form-data; name="file"; filename="note.txt"\r\n'
        "Content-Type: text/plain\r\n\r\neighteen bytes ...\r\n--walk--\r\n",
        "multipart/form-data; boundary=walk",
    ),
    Trip("search", "/api/v1/knowledge/search", '{"query": "paid holidays"}'),
)


async def walk_all(folder: Path, tries: int) -> dict[str, Walk]:
    """Make every trip on a server of its own, whose data is in `folder`."""
    recorder = Recorder(f"{Path(app.__file__).parent}/")
    recorder.install()
    async with ModelServer() as model:
        model.default = lambda _: reply(("one ", "two ", "three"))
        provider = {"id": "scripted", "base_url": model.base_url, "api_key": "none"}
        template = migrated_template(folder / "template")
        async with running(make_settings(folder / "data", providers=[provider]), template) as server:
            key = await server.new_key("chat", "file", "knowledge")
            async with httpx2.AsyncClient(
                base_url=server.base_url, headers={"X-API-Key": key}, trust_env=False
            ) as client:
                await _add_document(client)
                return {trip.name: await _walk(client, recorder, trip, tries) for trip in TRIPS}


async def _walk(client: httpx2.AsyncClient, recorder: Recorder, trip: Trip, tries: int) -> Walk:
    walks = []
    for number in range(tries):
        for _ in range(WARM_REQUESTS):
            await _send(client, trip, number)
        recorder.start()
        await _send(client, trip, number)
        walks.append(recorder.stop())
    return min(walks, key=lambda walk: (len(walk.calls), walk.moves))


async def _send(client: httpx2.AsyncClient, trip: Trip, number: int) -> None:
    body = trip.body.replace("%TRY%", str(number))
    response = await client.post(trip.path, content=body, headers={"Content-Type": trip.content_type})
    response.raise_for_status()
    await asyncio.sleep(SETTLE_SECONDS)


async def _add_document(client: httpx2.AsyncClient) -> None:
    """A collection of one document, to be searched."""
    collections = "/api/v1/knowledge/collections"
    collection = (await client.post(collections, json={"name": "handbook"})).raise_for_status().json()["data"]
    documents = f"{collections}/{collection['collection_id']}/documents"
    text = "# Holidays\n\nEmployees have thirty-one days of paid holiday a year."
    document = (await client.post(documents, json={"title": "handbook.md", "text": text})).raise_for_status()
    path = f"{documents}/{document.json()['data']['document_id']}"
    deadline = time.monotonic() + 20
    while (await client.get(path)).json()["data"]["status"] != "ready":
        if time.monotonic() > deadline:
            raise TimeoutError("the document is not indexed")
        await asyncio.sleep(0.02)


def _table(walks: dict[str, Walk]) -> Iterator[str]:
    yield f"{'trip':<14}{'calls':>7}{'functions':>11}{'files':>7}{'moves':>7}{'back':>6}"
    for name, walk in walks.items():
        yield f"{name:<14}{len(walk.calls):>7}{walk.functions:>11}{walk.files:>7}{walk.moves:>7}{walk.returns:>6}"


def _way(name: str, walk: Walk) -> Iterator[str]:
    """Every leg of a trip, then how often each file is entered."""
    legs = list(walk.legs())
    yield f"\n{name}"
    for file, functions in legs:
        yield f"  {file}: {', '.join(functions)}"
    yield f"\n{name}, entries"
    for file, count in Counter(file for file, _ in legs).most_common():
        yield f"  {count:>4}  {file}"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tools.walk", description=__doc__)
    parser.add_argument("--files", action="store_true", help="print each way, one line per file entered")
    parser.add_argument(
        "--check", action="store_true", help=f"fail if a chat takes over {MAX_FILES} files or {MAX_MOVES} moves"
    )
    parser.add_argument("--tries", type=int, default=5, help="how often each trip is made  [5]")
    options = parser.parse_args()
    with (
        tempfile.TemporaryDirectory() as folder,
        logging_to(io.StringIO()),
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        walks = runner.run(walk_all(Path(folder), options.tries))
    lines = list(_table(walks))
    if options.files:
        lines += [line for name, walk in walks.items() for line in _way(name, walk)]
    sys.stdout.write("\n".join(lines) + "\n")
    chat = walks[CHAT.name]
    return int(options.check and (chat.files > MAX_FILES or chat.moves > MAX_MOVES))


if __name__ == "__main__":
    sys.exit(main())
