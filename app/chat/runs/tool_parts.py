"""The calls of tools in a run's log, as the parts of its reply."""

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import cast

from app.chat.parts import CarriedCall, Media, MediaKind, Part, Text, ToolCallPart, ToolStep
from app.chat.runs.events import AttachmentSaved, Event, MediaAdded, TextDelta, ToolCall, ToolCallResult
from app.tools.models import CallStatus

INTERRUPTED = "The call was interrupted; whether it had an effect is not known"


def add_tool_part(parts: list[Part], event: ToolCall | ToolCallResult | MediaAdded) -> None:
    """Add an event to the parts: a call to the step that is going on, a result to its call."""
    if isinstance(event, MediaAdded):
        parts.append(Media(cast(MediaKind, event.kind), event.attachment_id))
    elif isinstance(event, ToolCallResult):
        _add_result(parts, event)
    elif event.is_clients:
        parts.append(ToolCallPart(event.id, event.name, event.arguments))
    else:
        call = CarriedCall(event.id, event.name, event.arguments, event.ts)
        last = parts[-1] if parts else None
        if isinstance(last, ToolStep) and all(each.status is None for each in last.calls):
            parts[-1] = ToolStep((*last.calls, call))
        else:
            parts.append(ToolStep((call,)))


def events_of(parts: Sequence[Part]) -> list[Event]:
    """Return events that amount to the parts of a reply."""
    events: list[Event] = []
    for part in parts:
        if isinstance(part, Text):
            events.append(TextDelta(part.text))
        elif isinstance(part, ToolCallPart):
            events.append(ToolCall(part.id, part.name, part.arguments, 0.0))
        elif isinstance(part, Media):
            events += [MediaAdded(part.kind, part.attachment_id), AttachmentSaved(part.attachment_id, part.kind)]
        elif isinstance(part, ToolStep):
            events += [ToolCall(call.id, call.name, call.arguments, call.ts, is_clients=False) for call in part.calls]
            events += [
                ToolCallResult(call.id, call.finished_ts or call.ts, call.result, call.status or CallStatus.INTERRUPTED)
                for call in part.calls
            ]
    return events


def open_calls(events: Sequence[Event]) -> list[ToolCall]:
    """Return the calls that have no result yet."""
    answered = {event.id for event in events if isinstance(event, ToolCallResult)}
    return [
        event for event in events if isinstance(event, ToolCall) and not event.is_clients and event.id not in answered
    ]


def interrupted_results(events: Sequence[Event]) -> list[ToolCallResult]:
    """Return results for the calls that a run's end leaves without one."""
    now = time.time()
    return [ToolCallResult(call.id, now, INTERRUPTED, CallStatus.INTERRUPTED) for call in open_calls(events)]


def _add_result(parts: list[Part], event: ToolCallResult) -> None:
    for index in range(len(parts) - 1, -1, -1):
        part = parts[index]
        if isinstance(part, ToolStep) and any(call.id == event.id for call in part.calls):
            parts[index] = ToolStep(
                tuple(
                    replace(call, result=event.result, finished_ts=event.ts, status=event.status)
                    if call.id == event.id
                    else call
                    for call in part.calls
                )
            )
            return
