"""The audit: the clients' events, the server's answers and the database must be one story.

Findings are `lost`, `doubled` and `out of order`, and `altered` for what has another content than before.
"""

import asyncio
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
from sqlalchemy import Connection, select

from app.chat.models import MessageRow, RunRow
from app.database.checking import problems
from app.database.engine import open_database
from app.files.models import AttachmentRow
from chaos.clients import Tally, sse_events
from chaos.model import Call, pages_record, read_record
from chaos.plan import Session
from chaos.script import HARMLESS, fault_of, name_of, reply_to, steps_of
from chaos.seen import CRASH_GAP, Event, Exchange, Faults
from chaos.usage import differences, sums_of_runs, sums_of_usage
from tests.support.processes import API_KEY

BEHIND_SECONDS = 1.0
"""The age of the text that a kill -9 may lose, without the time that the database was away."""

KINDS = ("lost", "doubled", "out of order", "altered")
TERMINAL = ("completed", "failed", "stopped", "interrupted")
REPLY_STATUS = {"completed": "complete", "failed": "failed", "stopped": "partial", "interrupted": "partial"}


@dataclass(frozen=True, slots=True)
class Finding:
    kind: str
    text: str


@dataclass(frozen=True, slots=True)
class Message:
    id: int
    session_id: str
    run_id: str | None
    role: str
    status: str
    text: str
    calls: tuple[str, ...] = ()
    """How the calls of tools in it ended."""


@dataclass(frozen=True, slots=True)
class Run:
    id: str
    session_id: str
    status: str
    question: int
    reply: int


@dataclass(slots=True)
class Books:
    """The contents of the database, read from beside the server."""

    messages: dict[int, Message]
    runs: dict[str, Run]
    files: Counter[str]
    one_writer: bool = True
    """SQLite's transactions follow one another: each numbers its rows without gaps."""
    by_name: dict[str, list[Message]] = field(default_factory=lambda: defaultdict(list))
    by_session: dict[str, list[Message]] = field(default_factory=lambda: defaultdict(list))

    def __post_init__(self) -> None:
        for message in self.messages.values():
            self.by_session[message.session_id].append(message)
            if message.role == "user" or message.run_id is None:
                self.by_name[name_of(message.text)].append(message)

    def are_neighbours(self, question: Message, reply: Message) -> bool:
        if self.one_writer:
            return reply.id == question.id + 1
        return any(pair == (question, reply) for pair in pairwise(self.by_session[question.session_id]))

    def run_named(self, name: str) -> Run | None:
        return next((self.runs[m.run_id] for m in self.by_name.get(name, ()) if m.run_id in self.runs), None)


async def audit(tally: Tally, faults: Faults, base_url: str, database_url: str, record: Path) -> list[Finding]:
    """Find everything that is wrong."""
    findings = [Finding(kind, text) for exchange in tally.exchanges for kind, text in exchange.problems]
    findings += [Finding("altered", problem) for problem in await asyncio.to_thread(problems, database_url)]
    books = await _read_books(database_url)
    findings += [Finding("altered", difference) for difference in await _usage(database_url)]
    calls = read_record(record)
    for exchange in tally.exchanges:
        findings += stored_once(exchange, books)
    findings += _news_and_files(tally, books)
    findings += _nothing_else(tally, books)
    for run in books.runs.values():
        findings += ended_well(run, books)
    findings += called_once(calls, books)
    findings += carried_out_once(Counter(pages_record(record).read_text().split()), books)
    findings += shown_in_order(calls, books, {e.errand.session.id: e.errand.session for e in tally.exchanges})
    async with aiohttp.ClientSession(base_url, headers={"X-API-Key": API_KEY}) as http:
        for exchange in tally.exchanges:
            if (own_run := books.run_named(exchange.errand.name)) is not None:
                replay = await _replay(http, own_run.id)
                findings += one_story(exchange, own_run, books.messages[own_run.reply], replay, faults)
        for session in {exchange.errand.session for exchange in tally.exchanges}:
            findings += await _history_as_stored(http, session, books)
    return findings


async def _read_books(database_url: str) -> Books:
    database = open_database(database_url)
    try:
        return await database.read(_books)
    finally:
        await database.close()


async def _usage(database_url: str) -> list[str]:
    database = open_database(database_url)
    try:
        return await database.read(
            lambda connection: list(differences(sums_of_runs(connection), sums_of_usage(connection)))
        )
    finally:
        await database.close()


def _books(connection: Connection) -> Books:
    messages = [
        Message(row.id, row.session_id, row.run_id, row.role, row.status, _text(row.parts), _calls(row.parts))
        for row in connection.execute(select(MessageRow).order_by(MessageRow.id))
    ]
    runs = [
        Run(row.id, row.session_id, row.status, row.user_message_id, row.reply_message_id)
        for row in connection.execute(select(RunRow))
    ]
    return Books(
        messages={message.id: message for message in messages},
        runs={run.id: run for run in runs},
        files=Counter(connection.scalars(select(AttachmentRow.filename))),
        one_writer=connection.dialect.name == "sqlite",
    )


def _text(parts: Sequence[Mapping[str, Any]]) -> str:
    return "".join(part.get("text", "") for part in parts)


def _calls(parts: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    return tuple(call["status"] for part in parts for call in part.get("tool_calls", ()))


def stored_once(exchange: Exchange, books: Books) -> Iterator[Finding]:
    """Check that an accepted message is stored once, as it was sent, with the one run that its client was given."""
    name = exchange.errand.name
    copies = books.by_name.get(name, [])
    accepted = bool(exchange.run_ids)
    if len(copies) > 1:
        yield Finding("doubled", f"{name} is stored {len(copies)} times")
    if accepted and not copies:
        yield Finding("lost", f"{name} was accepted and is not stored")
    # Of several copies one may have been refused before another was taken.
    if exchange.refused is not None and copies and exchange.errand.copies == 1:
        yield Finding("doubled", f"{name} was refused with {exchange.refused} and is stored")
    if len(exchange.run_ids) > 1:
        yield Finding("doubled", f"{name} was given the runs {sorted(exchange.run_ids)}")
    for message in copies:
        if (message.text, message.session_id) != (exchange.errand.text, exchange.errand.session.id):
            yield Finding("altered", f"{name} is stored as {message}")
        if accepted and message.run_id not in exchange.run_ids:
            yield Finding("lost", f"{name} has another run than its client was given")
    if accepted and not exchange.ended and exchange.refused is None:
        yield Finding("lost", f"{name} never came to an end for its client (last event {exchange.last})")


def _news_and_files(tally: Tally, books: Books) -> Iterator[Finding]:
    for name, (session, text, ids) in tally.posted.items():
        copies = books.by_name.get(name, [])
        if len(ids) > 1 or len(copies) > 1:
            yield Finding("doubled", f"the bot message {name} has ids {ids} and is stored {len(copies)} times")
        if ids - {message.id for message in copies}:
            yield Finding("lost", f"the bot message {name} is not stored")
        if any((message.text, message.session_id) != (text, session.id) for message in copies):
            yield Finding("altered", f"the bot message {name} is stored as {copies}")
    for name, uploads in tally.uploaded.items():
        count = books.files[f"{name}.txt"]
        if len(uploads) > 1 or count > 1:
            yield Finding("doubled", f"the file {name} has ids {uploads} and is stored {count} times")
        if uploads and not count:
            yield Finding("lost", f"the file {name} is not stored")


def _nothing_else(tally: Tally, books: Books) -> Iterator[Finding]:
    names = {exchange.errand.name for exchange in tally.exchanges} | set(tally.posted)
    for name in books.by_name.keys() - names:
        yield Finding("doubled", f"nobody sent {name or books.by_name[name]}")


def ended_well(run: Run, books: Books) -> Iterator[Finding]:
    """Check that a run is over, its question and reply are a pair, and the reply is the model's, or its beginning."""
    question, reply = books.messages.get(run.question), books.messages.get(run.reply)
    if question is None or reply is None:
        yield Finding("lost", f"run {run.id} has no question or no reply")
        return
    if run.status not in TERMINAL or reply.status != REPLY_STATUS[run.status]:
        yield Finding("lost", f"run {run.id} is {run.status}, its reply {reply.status}")
    owners = {(message.run_id, message.session_id) for message in (question, reply)}
    if not books.are_neighbours(question, reply) or owners != {(run.id, run.session_id)}:
        yield Finding("out of order", f"run {run.id} pairs {question} and {reply}")
    whole, fault = reply_to(question.text), fault_of(question.text)
    if run.status == "completed" and reply.text != whole:
        yield Finding("altered", f"run {run.id} is completed with {reply.text!r}, not {whole!r}")
    if not whole.startswith(reply.text):
        yield Finding("altered", f"run {run.id} kept {reply.text!r}, which does not begin {whole!r}")
    if run.status == "failed" and fault in (None, *HARMLESS):
        yield Finding("lost", f"run {run.id} failed, and the model server did nothing wrong but {fault}")
    if run.status == "completed" and fault not in (None, "flaky", *HARMLESS):
        yield Finding("altered", f"run {run.id} is completed in spite of {fault}")


def called_once(calls: Sequence[Call], books: Books) -> Iterator[Finding]:
    """Check that the model is not asked again for a reply that it has begun."""
    begun_steps: set[tuple[str, int]] = set()
    for call in calls:
        if (call.name, call.step) in begun_steps:
            yield Finding("doubled", f"the model was asked again for step {call.step} of {call.name}")
        if call.says_something:
            begun_steps.add((call.name, call.step))
        if not books.by_name.get(call.name):
            yield Finding("lost", f"the model was shown {call.name}, which is not stored")


def carried_out_once(pages: Counter[str], books: Books) -> Iterator[Finding]:
    """Check that no call of a tool was carried out twice, and that those of a completed reply all were."""
    for path, count in pages.items():
        if count > 1:
            yield Finding("doubled", f"the call {path} was carried out {count} times")
    for run in books.runs.values():
        question, reply = books.messages.get(run.question), books.messages.get(run.reply)
        if question is None or reply is None or run.status != "completed":
            continue
        name, steps = name_of(question.text), steps_of(question.text)
        missing = [step for step in range(steps) if not pages[f"/{name}/{step}"]]
        if missing or reply.calls != ("ok",) * steps:
            yield Finding("lost", f"{name} is completed without its calls {missing}, which are kept as {reply.calls}")


def shown_in_order(calls: Sequence[Call], books: Books, sessions: Mapping[str, Session]) -> Iterator[Finding]:
    """Check that the model saw the stored conversation, the newest of it without a gap, and the question last."""
    for call in calls:
        question = next(iter(books.by_name.get(call.name, ())), None)
        if question is None:
            continue
        session = sessions[question.session_id]
        history = [m for m in books.by_session[session.id] if m.text]
        *turns, last = call.turns
        is_right = _is_part_of(turns, history) if session.unruly else _is_newest_of(turns, history, question.id)
        if not is_right or last != (question.role, question.text):
            stored = _brief([(m.role, m.text) for m in history if m.id <= question.id])
            text = f"for {call.name} in {session.id} the model was shown {_brief(call.turns)}, not {stored}"
            yield Finding("out of order", text)


def _is_newest_of(turns: Sequence[tuple[str, str]], history: Sequence[Message], question: int) -> bool:
    """Check for all that came before the question, or the newest of it, and then the bot's messages since."""
    earlier = [(m.role, m.text) for m in history if m.id < question]
    news = [(m.role, m.text) for m in history if m.id > question and m.run_id is None]
    if not turns:
        return not earlier
    return any(list(turns) == [*earlier, *news[:count]][-len(turns) :] for count in range(len(news) + 1))


def _is_part_of(turns: Sequence[tuple[str, str]], history: Sequence[Message]) -> bool:
    """Check for turns of the conversation, in its order: where messages overtake, waiting ones are left out."""
    rest = iter([(m.role, m.text) for m in history])
    return all(turn in rest for turn in turns)


def _brief(turns: Sequence[tuple[str, str]]) -> str:
    return " ".join(f"{role[0]}:{name_of(text.removeprefix('You said: '))}~{len(text)}" for role, text in turns[-12:])


async def _replay(http: aiohttp.ClientSession, run_id: str) -> list[Event]:
    async with http.get(f"/api/v1/chat/runs/{run_id}/stream") as response:
        if response.status != 200:
            return []
        return [Event(number, payload, 0.0) async for number, payload in sse_events(response)]


def one_story(
    exchange: Exchange, run: Run, reply: Message, replay: Sequence[Event], faults: Faults
) -> Iterator[Finding]:
    """Check that a client's pieces make up the full replay, apart from what a crash swallowed."""
    name, status = exchange.errand.name, run.status
    numbers = [event.number for event in replay]
    if any(number >= following for number, following in pairwise(numbers)) or not replay or replay[-1].type != "end":
        yield Finding("lost", f"{name} ({status}) replays as {numbers}")
        return
    last_stored = max((number for number in numbers if number < CRASH_GAP), default=0)
    if status != "interrupted" and numbers[-1] >= CRASH_GAP:
        yield Finding("out of order", f"{name} is {status} and has the events {numbers}")
    crashed = numbers[-1] >= CRASH_GAP
    swallowed = [e for e in exchange.events if last_stored < e.number < CRASH_GAP] if crashed else []
    events = [event for event in exchange.events if event not in swallowed]
    expected = replay if exchange.ended else replay[: len(events)]
    for event, replayed in zip(events, expected, strict=False):
        if (event.number, event.payload) != (replayed.number, replayed.payload):
            before, after = f"{event.number} {event.payload!r}", f"{replayed.number} {replayed.payload!r}"
            yield Finding("altered", f"{name}: {before} replays as {after}")
            break
    if len(events) != len(expected):
        kind = "lost" if len(events) < len(expected) else "doubled"
        difference = sorted({e.number for e in expected} ^ {e.number for e in events})
        text = f"{name} ({status}): its client saw {len(events)} of {len(expected)} events, not {difference}"
        yield Finding(kind, text)
    yield from _fits_the_reply(exchange, reply, replay)
    yield from _not_too_far_behind(exchange, last_stored, swallowed, faults)


def _fits_the_reply(exchange: Exchange, reply: Message, replay: Sequence[Event]) -> Iterator[Finding]:
    """Check that the pieces make up the stored text; any text beyond it is the continuation of the model's reply."""
    name = exchange.errand.name
    replay_text, client_text = _text_of(replay), _text_of(exchange.events)
    if exchange.errand.streaming and replay_text != reply.text:
        yield Finding("altered", f"{name} replays {replay_text!r} and is stored as {reply.text!r}")
    if not reply_to(exchange.errand.text).startswith(client_text):
        yield Finding("altered", f"{name}: its client saw {client_text!r}")
    for event in replay:
        value = msgspec.json.decode(event.payload)
        if value["type"] == "complete" and value["data"] != reply.text:
            yield Finding("altered", f"{name} is complete with {value['data']!r}, stored is {reply.text!r}")


def _not_too_far_behind(
    exchange: Exchange, last_stored: int, swallowed: Sequence[Event], faults: Faults
) -> Iterator[Finding]:
    for event in swallowed[:1]:
        age = faults.age_at_death(event.at)
        if age > BEHIND_SECONDS:
            yield Finding(
                "lost",
                f"{exchange.errand.name}: event {event.number} was seen {age:.2f} s before the crash, "
                f"and {last_stored} was the last on the disk",
            )


def _text_of(events: Sequence[Event]) -> str:
    values = (msgspec.json.decode(event.payload) for event in events)
    return "".join(value["data"] for value in values if value["type"] == "plain" and value["chain_type"] is None)


async def _history_as_stored(http: aiohttp.ClientSession, session: Session, books: Books) -> Iterator[Finding]:
    """Check that clients are given the history that is stored."""
    ids: list[int] = []
    params: dict[str, str | int] = {"username": session.username, "limit": 100}
    while True:
        async with http.get(f"/api/v1/chat/sessions/{session.id}/messages", params=params) as response:
            if response.status == 404 and session.id not in books.by_session:
                return iter(())
            data = (await response.json())["data"]
        ids += [message["id"] for message in data["messages"]]
        if not data["has_more"]:
            break
        params["before"] = ids[-1]
    stored_ids = [message.id for message in books.by_session[session.id]]
    if ids[::-1] == stored_ids:
        return iter(())
    return iter([Finding("lost", f"the history of {session.id} is given as {ids[::-1]} and stored as {stored_ids}")])
