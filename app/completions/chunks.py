"""A run's events as OpenAI's chunks and completions: the model server's own members, under one id."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from app.chat.parts import decoded_arguments, to_stored
from app.chat.runs.events import Chunk, Completed, Event, Failed, Ref, Refs, TextDelta, ToolCall, ToolCallResult
from app.chat.runs.log import RunLog
from app.chat.runs.reply import content_of, refs_in
from app.chat.values import Run
from app.edge import sse

DONE = sse.frame(b"[DONE]")

Members = dict[str, msgspec.Raw]
"""A chunk's or a completion's members, undecoded."""

_json = msgspec.json.Encoder()
_members = msgspec.json.Decoder(Members)
_NULL = msgspec.Raw(b"null")
_EMPTY = (_NULL, msgspec.Raw(b'""'))
_MAX_TIME_DIGITS = 16


@dataclass(frozen=True, slots=True)
class Dialect:
    """A door's variant of OpenAI's chunks and completions.

    `defaults` are the members that clients count on and some model servers leave out. `failure` is the event that takes
    the place of `[DONE]` when the reply fails. With `choices_required`, chunks without choices are dropped (requested
    usage excepted), and the failure is a chunk as well.
    """

    name: str
    defaults: Callable[[Run], Mapping[str, Any]]
    failure: Callable[[Failed], Mapping[str, Any]]
    choices_required: bool = False

    def encoding(self, *, wants_usage: bool, shows_tools: bool) -> str:
        """The name of the encoding, for RunLog.follow."""
        return f"{self.name}{'+usage' * wants_usage}{'+tools' * shows_tools}"


class ChunkEncoder:
    """Encode one run's events as a stream of chunks, with usage on request only.

    Readers of the same log share encoded pieces, so the bytes of an event depend on the log alone.
    """

    __slots__ = ("_defaults", "_dialect", "_envelope", "_log", "_refs_bearer", "_run", "_shows_tools", "_wants_usage")

    def __init__(
        self, run: Run, log: RunLog, dialect: Dialect, *, wants_usage: bool, shows_tools: bool = False
    ) -> None:
        self._run = run
        self._log = log
        self._dialect = dialect
        self._wants_usage = wants_usage
        self._shows_tools = shows_tools
        self._defaults = _raw({"object": "chat.completion.chunk", **dialect.defaults(run)})
        self._envelope: Members | None = None
        self._refs_bearer: Chunk | None = None

    def __call__(self, numbers: Sequence[int], events: Sequence[Event]) -> bytes:
        return b"".join([self._frame(event) for event in events])

    def _frame(self, event: Event) -> bytes:
        match event:
            case Chunk():
                return self._chunk_frame(event)
            case TextDelta():
                choice = _choice({"role": "assistant", "content": event.text}, None)
                members = {**self._defaults, **choice, **self._shared_members(), **_refs(_leading_refs(self._log))}
            case Refs() if self._envelope is not None:  # of a tool; those before the reply come with its first chunk
                members = {**self._defaults, **_choice({}, None), **self._shared_members(), **_refs(event.refs)}
            case ToolCall(is_clients=False) | ToolCallResult() if self._shows_tools:
                members = {**self._defaults, **_choice({}, None), **self._shared_members(), **_tool_member(event)}
            case Completed():
                return DONE
            case Failed():
                members = dict(self._dialect.failure(event))
                if self._dialect.choices_required:
                    members |= {**self._defaults, **_choice({}, "error"), **self._shared_members()}
            case _:
                return b""
        return sse.frame(_json.encode(members))

    def _chunk_frame(self, chunk: Chunk) -> bytes:
        members: dict[str, Any] | None = self._visible_members(chunk)
        if members is None:
            return b""
        members |= _missing(members, self._defaults)
        members |= self._shared_members()
        if chunk is self._refs_bearer:
            members |= _refs(_leading_refs(self._log))
        return sse.frame(_json.encode(members))

    def _shared_members(self) -> Members:
        if self._envelope is None:
            self._envelope = _envelope(self._run, self._log)
            if _leading_refs(self._log):  # the first visible chunk bears the refs
                visible = (chunk for chunk in _chunks(self._log) if self._visible_members(chunk) is not None)
                self._refs_bearer = next(visible, None)
        return self._envelope

    def _visible_members(self, chunk: Chunk) -> Members | None:
        """The chunk's members, without unrequested usage; None for a chunk that is dropped."""
        members = _members.decode(chunk.data)
        has_usage = members.get("usage", _NULL) != _NULL
        if not self._wants_usage:
            members.pop("usage", None)
        if not has_usage and not self._dialect.choices_required:
            return members
        return members if _has_choices(members) or (has_usage and self._wants_usage) else None


def encode_completion(run: Run, log: RunLog, dialect: Dialect, *, shows_tools: bool) -> bytes:
    """The whole completion of a completed run."""
    defaults = _raw({"object": "chat.completion", **dialect.defaults(run)})
    own = {**_envelope(run, log), **_refs(refs_in(log.events)), **(_tools_member(log) if shows_tools else {})}
    for chunk in _chunks(log):
        members = _members.decode(chunk.data)
        return _json.encode({**members, **_missing(members, defaults), **own})
    text = next((event.text for event in log.events if isinstance(event, Completed)), "")
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
    return _json.encode({**defaults, "choices": [choice], **own})


def completion_id(run: Run) -> str:
    return f"chatcmpl-{run.id}"


def _envelope(run: Run, log: RunLog) -> Members:
    """The id and the time of creation, shared by all chunks of a reply."""
    created = _created(log) or int(run.created_at.timestamp())
    return {"id": msgspec.Raw(_json.encode(completion_id(run))), "created": msgspec.Raw(b"%d" % created)}


def _created(log: RunLog) -> int:
    """The model server's time of creation, 0 if it gives none. Some leave it out of their first chunks.

    No chunk behind the first text is looked at: all readers must come to the same.
    """
    for chunk in _chunks(log):
        value = bytes(_members.decode(chunk.data).get("created", _NULL)).strip(b'"').partition(b".")[0]
        if value.isdigit() and len(value) < _MAX_TIME_DIGITS and (created := int(value)):
            return created
        if chunk.text or chunk.reasoning:
            break
    return 0


def _chunks(log: RunLog) -> Iterator[Chunk]:
    return (event for event in log.events if isinstance(event, Chunk))


def _leading_refs(log: RunLog) -> list[Ref]:
    """The passages that the model was shown before it began."""
    refs: list[Ref] = []
    for event in log.events:
        if isinstance(event, Refs):
            refs += event.refs
        elif isinstance(event, (Chunk, TextDelta, ToolCall)):
            break
    return refs


def _tool_member(event: ToolCall | ToolCallResult) -> dict[str, Any]:
    """A call that Palaver carries out, or its result, in the member that `include` asks for."""
    if isinstance(event, ToolCall):
        arguments = decoded_arguments(event.arguments)
        return {"palaver": {"tool_call": {"id": event.id, "name": event.name, "args": arguments, "ts": event.ts}}}
    result = {"id": event.id, "ts": event.ts, "result": event.result, "status": event.status}
    return {"palaver": {"tool_call_result": result}}


def _tools_member(log: RunLog) -> dict[str, Any]:
    """All calls that Palaver carried out, with their results."""
    steps = [part for part in to_stored(content_of(log.events).parts) if "tool_calls" in part]
    return {"palaver": {"tool_calls": [call for step in steps for call in step["tool_calls"]]}}


def _refs(refs: Sequence[Ref]) -> dict[str, Any]:
    """The passages of the knowledge base behind the reply, in a member of Palaver's own; empty without any."""
    return {"refs": [msgspec.structs.asdict(ref) for ref in refs]} if refs else {}


def _missing(members: Members, defaults: Members) -> Members:
    """The defaults for members left out by the model server, or empty."""
    return {name: value for name, value in defaults.items() if members.get(name, _NULL) in _EMPTY}


def _raw(members: Mapping[str, Any]) -> Members:
    return {name: msgspec.Raw(_json.encode(value)) for name, value in members.items()}


def _has_choices(members: Members) -> bool:
    choices = bytes(members.get("choices", _NULL))
    return choices.translate(None, b" \t\r\n") not in (b"[]", b"null")


def _choice(delta: Mapping[str, Any], finish_reason: str | None) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": delta, "finish_reason": finish_reason}]}
