"""Encode a run's events for the Open API: as Server-Sent Events, and as a WebSocket's messages."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import msgspec

from app.chat.parts import decoded_arguments, to_stored
from app.chat.runs.events import (
    ApprovalRequired,
    AttachmentSaved,
    Chunk,
    Completed,
    Ended,
    Event,
    Failed,
    MediaAdded,
    MessageSaved,
    ReasoningDelta,
    Refs,
    Started,
    Stats,
    TextDelta,
    ToolCall,
    ToolCallResult,
    UserMessageSaved,
)
from app.chat.runs.log import Encode, RunLog
from app.chat.runs.reply import content_of
from app.chat.values import Run, RunStatus
from app.edge import sse

Payload = Mapping[str, Any]

_json = msgspec.json.Encoder()


def sse_encoder(run: Run, *, run_started: bool = False) -> Encode:
    """Encode events as Server-Sent Events, each with its number as the `id`; `run_started` as wanted."""
    return partial(_encode_sse, run, run_started)


def websocket_encoder(run: Run, *, run_started: bool = False) -> Encode:
    """Encode events as lines of JSON, each with its session, its run and, to resume from, its number `seq`."""
    return partial(_encode_lines, run, run_started)


def sse_snapshot(run: Run, status: RunStatus, log: RunLog) -> bytes:
    """Encode the reply as far as a log has it; its id is that of the log's last event."""
    content = content_of(log.events)
    data = {
        "run_id": run.id,
        "session_id": run.session_id,
        "llm_checkpoint_id": run.id,
        "status": status.value,
        "revision": log.last_number,
        "content": {"type": "bot", "message": to_stored(content.parts), "reasoning": content.reasoning},
    }
    payload = {"type": "run_snapshot", "data": data, "message_id": run.message_id}
    return sse.numbered_frames([(log.last_number, _json.encode(payload))])


def _encode_sse(run: Run, run_started: bool, numbers: Sequence[int], events: Sequence[Event]) -> bytes:
    payloads = _payloads(run, run_started, numbers, events)
    return sse.numbered_frames([(number, _json.encode(payload)) for number, payload in payloads])


def _encode_lines(run: Run, run_started: bool, numbers: Sequence[int], events: Sequence[Event]) -> bytes:
    source = {"session_id": run.session_id, "run_id": run.id}
    payloads = _payloads(run, run_started, numbers, events)
    return b"".join([_json.encode({**payload, **source, "seq": number}) + b"\n" for number, payload in payloads])


def _payloads(
    run: Run, run_started: bool, numbers: Sequence[int], events: Sequence[Event]
) -> list[tuple[int, Payload]]:
    numbered = zip(numbers, events, strict=True)
    payloads = [(number, payload) for number, event in numbered if (payload := _payload(run, event)) is not None]
    if run_started and isinstance(events[0], Started):  # the first event of a run; what is told of it has its number
        told = {"type": "run_started", "data": {"run_id": run.id}, "run_id": run.id, "message_id": run.message_id}
        payloads.insert(1, (numbers[0], told))
    return payloads


def _payload(run: Run, event: Event) -> Payload | None:
    """The event's JSON; None for events of other doors."""
    match event:
        case TextDelta() | ReasoningDelta() | Chunk():
            text, chain_type = _text_of(event)
            return _plain(run, text, chain_type, streaming=True) if run.streaming and text else None
        case Refs():
            refs = [msgspec.structs.asdict(ref) for ref in event.refs]
            return {"type": "refs", "data": refs, "message_id": run.message_id}
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
        case ToolCall() | ToolCallResult() | MediaAdded() | AttachmentSaved() | ApprovalRequired():
            return _tool_payload(run, event)
        case Failed():
            return {"type": "error", "code": event.code, "data": event.message, "message_id": run.message_id}
        case Ended():
            return {"type": "end", "data": "", "streaming": False, "message_id": run.message_id}


def _tool_payload(
    run: Run, event: ToolCall | ToolCallResult | MediaAdded | AttachmentSaved | ApprovalRequired
) -> Payload:
    match event:
        case ToolCall():
            call = {"id": event.id, "name": event.name, "args": decoded_arguments(event.arguments), "ts": event.ts}
            return _plain(run, _json.encode(call).decode(), "tool_call", streaming=False)
        case ToolCallResult():
            result = {"id": event.id, "ts": event.ts, "result": event.result}
            return _plain(run, _json.encode(result).decode(), "tool_call_result", streaming=False)
        case MediaAdded():
            return {"type": event.kind, "data": event.attachment_id, "message_id": run.message_id}
        case AttachmentSaved():
            return {"type": "attachment_saved", "data": {"id": event.id, "type": event.kind}}
        case ApprovalRequired():
            data = {
                "approval_id": event.approval_id,
                "id": event.call_id,
                "name": event.name,
                "args": decoded_arguments(event.arguments),
            }
            return {"type": "approval_required", "data": data, "message_id": run.message_id}


def _plain(run: Run, text: str, chain_type: str | None, *, streaming: bool) -> Payload:
    return {
        "type": "plain",
        "data": text,
        "streaming": streaming,
        "chain_type": chain_type,
        "message_id": run.message_id,
    }


def _text_of(event: TextDelta | ReasoningDelta | Chunk) -> tuple[str, str | None]:
    """The text, and its `chain_type`."""
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
