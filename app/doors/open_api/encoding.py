"""The Open API's encoding of a run's events: the payloads of the contract's sections 3 and 7."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import msgspec

from app.chat.runs.events import (
    Chunk,
    Completed,
    Ended,
    Event,
    Failed,
    MessageSaved,
    ReasoningDelta,
    Refs,
    Started,
    Stats,
    TextDelta,
    ToolCall,
    UserMessageSaved,
)
from app.chat.runs.log import Encode
from app.chat.values import Run
from app.edge import sse

_json = msgspec.json.Encoder()


def sse_encoder(run: Run) -> Encode:
    """Frames for Server-Sent Events, with the event's number as its `id`."""
    return partial(_all, _sse_frame, run)


def websocket_encoder(run: Run) -> Encode:
    """Lines of JSON for a WebSocket: the same payloads, which also say whose they are and where to resume (`seq`)."""
    return partial(_all, _websocket_line, run)


def _all(
    encode: Callable[[Run, int, Event], bytes], run: Run, numbers: Sequence[int], events: Sequence[Event]
) -> bytes:
    return b"".join([encode(run, number, event) for number, event in zip(numbers, events, strict=True)])


def _sse_frame(run: Run, number: int, event: Event) -> bytes:
    shown = _payload(run, event)
    return b"" if shown is None else sse.frame(_json.encode(shown), number)


def _websocket_line(run: Run, number: int, event: Event) -> bytes:
    shown = _payload(run, event)
    if shown is None:
        return b""
    return _json.encode({**shown, "session_id": run.session_id, "run_id": run.id, "seq": number}) + b"\n"


def _payload(run: Run, event: Event) -> Mapping[str, Any] | None:
    match event:
        case TextDelta() | ReasoningDelta() | Chunk():
            text, chain_type = _said(event)
            return _plain(run, text, chain_type, streaming=True) if run.streaming and text else None
        case Refs():
            shown = [msgspec.structs.asdict(ref) for ref in event.refs]
            return {"type": "refs", "data": shown, "message_id": run.message_id}
        case Started():
            return {
                "type": "session_id",
                "data": None,
                "session_id": event.session_id,
                "run_id": event.run_id,
                "message_id": event.message_id,
            }
        case UserMessageSaved():
            return {"type": "user_message_saved", "data": {"id": event.id, "created_at": event.created_at}}
        case MessageSaved():
            return {"type": "message_saved", "data": {"id": event.id, "created_at": event.created_at}}
        case Stats():
            return {"type": "agent_stats", "data": _stats(event)}
        case Completed():
            if not run.streaming:
                return _plain(run, event.text, None, streaming=False)
            return {
                "type": "complete",
                "data": event.text,
                "reasoning": event.reasoning,
                "streaming": True,
                "message_id": run.message_id,
            }
        case ToolCall():
            call = {"id": event.id, "name": event.name, "args": _arguments(event.arguments), "ts": event.ts}
            return _plain(run, _json.encode(call).decode(), "tool_call", streaming=False)
        case Failed():
            return {"type": "error", "code": event.code, "data": event.message, "message_id": run.message_id}
        case Ended():
            return {"type": "end", "data": "", "streaming": False, "message_id": run.message_id}


def _plain(run: Run, text: str, chain_type: str | None, *, streaming: bool) -> Mapping[str, Any]:
    return {
        "type": "plain",
        "data": text,
        "streaming": streaming,
        "chain_type": chain_type,
        "message_id": run.message_id,
    }


def _said(event: TextDelta | ReasoningDelta | Chunk) -> tuple[str, str | None]:
    """The text, and what kind of text it is."""
    if isinstance(event, Chunk):
        return (event.text, None) if event.text else (event.reasoning, "reasoning")
    return event.text, "reasoning" if isinstance(event, ReasoningDelta) else None


def _stats(event: Stats) -> dict[str, Any]:
    return {
        "token_usage": {
            "input_other": event.input_other,
            "input_cached": event.input_cached,
            "output": event.output,
        },
        "start_time": event.start_time,
        "end_time": event.end_time,
        "time_to_first_token": event.first_token,
    }


def _arguments(text: str) -> Any:
    """What the model wrote as a call's arguments; kept as text when it is not JSON."""
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError:
        return text
