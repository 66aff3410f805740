"""A run's events as OpenAI's chunks and completions: what the model server sent, under one id."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from app.chat.runs.events import Chunk, Completed, Event, Failed, TextDelta, refs_in
from app.chat.runs.log import RunLog
from app.chat.values import Run
from app.completions.errors import ReplyFailed, openai_error
from app.completions.splicing import Splice, learned
from app.edge import sse

DONE = sse.frame(b"[DONE]")

_json = msgspec.json.Encoder()
_members = msgspec.json.Decoder(dict[str, msgspec.Raw])
_NULL = msgspec.Raw(b"null")
_CHANGED = ("id", "created", "usage")
"""The members of a chunk that are not passed on as they came; those that a dialect adds come to them."""


@dataclass(frozen=True, slots=True)
class Dialect:
    """How a door's chunks and completions differ from the model server's own.

    `defaults` are members that the door's clients count on and some model servers leave out. `failure` is the envelope
    of what takes the place of `[DONE]`. With `only_chunks` every event, that one too, has choices; but for the usage
    that was asked for.
    """

    name: str
    defaults: Callable[[Run], Mapping[str, Any]]
    failure: Callable[[Failed], Mapping[str, Any]]
    only_chunks: bool = False

    def kind_of(self, *, wants_usage: bool) -> str:
        """The name of the encoding, for RunLog.follow."""
        return f"{self.name}+usage" if wants_usage else self.name


OPENAI = Dialect(
    "openai",
    defaults=lambda run: {"model": run.model},
    failure=lambda failed: openai_error(ReplyFailed(failed), ""),
)


class ChunkEncoder:
    """Frames of a stream. Usage, which the model server is always asked for, is shown to those who asked for it."""

    __slots__ = ("_bearer", "_defaults", "_dialect", "_envelope", "_log", "_run", "_splice", "_wants_usage")

    def __init__(self, run: Run, log: RunLog, dialect: Dialect, *, wants_usage: bool) -> None:
        self._run = run
        self._log = log
        self._dialect = dialect
        self._wants_usage = wants_usage
        self._defaults = _raw({"object": "chat.completion.chunk", **dialect.defaults(run)})
        self._envelope: Mapping[str, msgspec.Raw] | None = None
        self._bearer: Chunk | None = None
        """The first chunk that is shown, if it is to say what the model was shown."""
        self._splice: Splice | None = None

    def __call__(self, _: Sequence[int], events: Sequence[Event]) -> bytes:
        frames: list[bytes] = []
        chunks: list[Chunk] = []
        for event in events:
            if isinstance(event, Chunk):
                chunks.append(event)
            elif frame := self._of_another(event):
                frames += (*self._of_chunks(chunks), frame)
                chunks = []
        frames += self._of_chunks(chunks)
        return b"".join(frames)

    def _of_chunks(self, chunks: Sequence[Chunk]) -> Iterator[bytes]:
        data = [chunk.data for chunk in chunks]
        position = 0
        while position < len(data):
            splice = self._splice
            alike = [] if splice is None else splice.choices_in(data[position:])
            if splice is None or not alike:
                yield self._of_chunk(chunks[position])
                position += 1
                continue
            end = position + len(alike)
            if frames := splice.shown(alike):
                yield frames
            else:
                for one, chunk in zip(alike, chunks[position:end], strict=True):
                    yield splice.shown([one]) or self._of_chunk(chunk)
            position = end

    def _of_chunk(self, chunk: Chunk) -> bytes:
        members = self._shown(chunk)
        if members is None:
            return b""
        whole = {**members, **_missing(members, self._defaults), **self._shared()}
        if chunk is self._bearer:
            return sse.frame(_json.encode({**whole, **_refs(self._log)}))
        frame = sse.frame(_json.encode(whole))
        choices = bytes(members.get("choices", _NULL))
        self._splice = learned(chunk.data, frame, choices, (*_CHANGED, *self._defaults))
        return frame

    def _of_another(self, event: Event) -> bytes:
        match event:
            case TextDelta():
                said = _choice({"role": "assistant", "content": event.text}, None)
                return sse.frame(_json.encode({**self._defaults, **said, **self._shared(), **_refs(self._log)}))
            case Completed():
                return DONE
            case Failed():
                told = self._dialect.failure(event)
                if self._dialect.only_chunks:
                    told = {**told, **self._defaults, **_choice({}, "error"), **self._shared()}
                return sse.frame(_json.encode(told))
            case _:
                return b""

    def _shared(self) -> Mapping[str, msgspec.Raw]:
        if self._envelope is None:
            self._envelope = _envelope(self._run, self._log)
            if refs_in(self._log.events):
                self._bearer = next((each for each in _chunks(self._log) if self._shown(each) is not None), None)
        return self._envelope

    def _shown(self, chunk: Chunk) -> dict[str, msgspec.Raw] | None:
        members = _members.decode(chunk.data)
        return members if _is_shown(members, self._dialect, wants_usage=self._wants_usage) else None


def completion_of(run: Run, log: RunLog, dialect: Dialect) -> bytes:
    """The whole completion of a run that was completed."""
    defaults = _raw({"object": "chat.completion", **dialect.defaults(run)})
    for chunk in _chunks(log):
        members = _members.decode(chunk.data)
        return _json.encode({**members, **_missing(members, defaults), **_envelope(run, log), **_refs(log)})
    text = next((event.text for event in log.events if isinstance(event, Completed)), "")
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
    return _json.encode({**defaults, "choices": [choice], **_envelope(run, log), **_refs(log)})


def completion_id(run: Run) -> str:
    return f"chatcmpl-{run.id}"


def _envelope(run: Run, log: RunLog) -> dict[str, msgspec.Raw]:
    """What is the same in all chunks of a reply, whatever the model server does: its id, and when it was made."""
    created = _created(run)
    if (first := next(_chunks(log), None)) is not None:
        told = _members.decode(first.data).get("created")
        created = bytes(told) if told is not None and bytes(told).isdigit() else created
    return {"id": msgspec.Raw(_json.encode(completion_id(run))), "created": msgspec.Raw(created)}


def _chunks(log: RunLog) -> Iterator[Chunk]:
    return (event for event in log.events if isinstance(event, Chunk))


def _refs(log: RunLog) -> dict[str, Any]:
    """What the model was shown of the knowledge base, in a field of ours; nothing when it was shown nothing."""
    refs = refs_in(log.events)
    return {"refs": [msgspec.structs.asdict(ref) for ref in refs]} if refs else {}


def _is_shown(members: dict[str, msgspec.Raw], dialect: Dialect, *, wants_usage: bool) -> bool:
    """Whether a chunk is for this client; usage that it did not ask for is taken out of it."""
    usage = members.get("usage", _NULL)
    has_usage = usage != _NULL
    if not wants_usage:
        members.pop("usage", None)
    if not has_usage and not dialect.only_chunks:
        return True
    return _has_choices(members) or (has_usage and wants_usage)


def _missing(members: dict[str, msgspec.Raw], defaults: Mapping[str, msgspec.Raw]) -> dict[str, msgspec.Raw]:
    """What clients count on and the model server left out."""
    return {name: value for name, value in defaults.items() if members.get(name, _NULL) == _NULL}


def _raw(members: Mapping[str, Any]) -> dict[str, msgspec.Raw]:
    return {name: msgspec.Raw(_json.encode(value)) for name, value in members.items()}


def _has_choices(members: dict[str, msgspec.Raw]) -> bool:
    choices = members.get("choices")
    return choices is not None and bytes(choices).translate(None, b" \t\r\n") not in (b"[]", b"null")


def _choice(delta: Mapping[str, Any], finish_reason: str | None) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": delta, "finish_reason": finish_reason}]}


def _created(run: Run) -> bytes:
    return b"%d" % int(run.created_at.timestamp())
