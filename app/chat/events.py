"""What happens in a run, as values: the one stream that every door encodes in its own way.

An event is fixed once it is in the run's log. Its number there is what `Last-Event-ID` names, so a run's events are
never numbered anew, and an event read twice is the same bytes twice. Stored, it is a MessagePack array that begins with
its tag.
"""

from collections.abc import Sequence

import msgspec
from msgspec import Struct


class Started(Struct, frozen=True, gc=False, array_like=True, tag="s"):
    session_id: str
    run_id: str
    message_id: str


class UserMessageSaved(Struct, frozen=True, gc=False, array_like=True, tag="u"):
    id: int
    created_at: str


class TextDelta(Struct, frozen=True, gc=False, array_like=True, tag="d"):
    text: str


class ReasoningDelta(Struct, frozen=True, gc=False, array_like=True, tag="r"):
    text: str


class ToolCall(Struct, frozen=True, gc=False, array_like=True, tag="tc"):
    """`arguments` is the JSON text that the model wrote; `ts` is in seconds since 1970."""

    id: str
    name: str
    arguments: str
    ts: float


class Stats(Struct, frozen=True, gc=False, array_like=True, tag="st"):
    """Tokens as the model server counted them; times in seconds since 1970, `first_token` in seconds from the start."""

    input_other: int
    input_cached: int
    output: int
    start_time: float
    end_time: float
    first_token: float


class Completed(Struct, frozen=True, gc=False, array_like=True, tag="c"):
    text: str
    reasoning: str


class MessageSaved(Struct, frozen=True, gc=False, array_like=True, tag="m"):
    id: int
    created_at: str


class Failed(Struct, frozen=True, gc=False, array_like=True, tag="f"):
    """Why there is no `Completed`; `message` is safe to show."""

    code: str
    message: str


class Ended(Struct, frozen=True, gc=False, array_like=True, tag="e"):
    pass


Event = (
    Started
    | UserMessageSaved
    | TextDelta
    | ReasoningDelta
    | ToolCall
    | Stats
    | Completed
    | MessageSaved
    | Failed
    | Ended
)

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(list[Event])


def encode_events(events: Sequence[Event]) -> bytes:
    return _encoder.encode(events)


def decode_events(data: bytes) -> list[Event]:
    return _decoder.decode(data)


def text_of(events: Sequence[Event]) -> str:
    """The reply's text so far."""
    return "".join(event.text for event in events if isinstance(event, TextDelta))


def reasoning_of(events: Sequence[Event]) -> str:
    return "".join(event.text for event in events if isinstance(event, ReasoningDelta))
