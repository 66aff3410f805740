"""The steps of a reply in OpenAI's form: what the model said and called, and the results."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from app.chat.parts import CarriedCall, Part, Text, ToolStep

Message = Mapping[str, Any]

MAX_OLD_RESULT_CHARS = 400
"""The most of a result that is shown where the whole does not fit into the history's limit."""


def step_messages(parts: Sequence[Part]) -> list[Message]:
    """Return the messages of a reply up to its last step, the results of the calls behind each."""
    messages: list[Message] = []
    texts: list[str] = []
    for part in parts:
        if isinstance(part, Text):
            texts.append(part.text)
        elif isinstance(part, ToolStep):
            calls = [_call(call) for call in part.calls]
            messages.append({"role": "assistant", "content": "\n".join(texts) or None, "tool_calls": calls})
            messages += [{"role": "tool", "tool_call_id": call.id, "content": call.result} for call in part.calls]
            texts.clear()
    return messages


def shortened_results(parts: tuple[Part, ...]) -> tuple[Part, ...]:
    """Return the parts with no more than the beginning of each result."""
    return tuple(
        ToolStep(tuple(_shortened(call) for call in part.calls)) if isinstance(part, ToolStep) else part
        for part in parts
    )


def after_steps(parts: tuple[Part, ...]) -> tuple[Part, ...]:
    """Return the parts behind the last step."""
    last = max((index for index, part in enumerate(parts) if isinstance(part, ToolStep)), default=-1)
    return parts[last + 1 :]


def _shortened(call: CarriedCall) -> CarriedCall:
    if len(call.result) <= MAX_OLD_RESULT_CHARS:
        return call
    note = f"\n[cut: the result had {len(call.result)} characters]"
    return replace(call, result=call.result[:MAX_OLD_RESULT_CHARS] + note)


def _call(call: CarriedCall) -> Message:
    return {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
