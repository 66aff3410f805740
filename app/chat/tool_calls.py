"""Calls of tools and what came of them, as a model is shown them.

Model servers refuse a call without its result and a result without its call. Either can be missing from the stored
conversation: the caller may have gone on without the tool, and of a long conversation only the end is shown.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from app.chat.parts import Part, ToolCallPart, ToolResult


def answered_calls(
    turns: Sequence[tuple[str, Sequence[Part]]], followed_by: Sequence[Mapping[str, Any]] = ()
) -> frozenset[str]:
    """The ids of the calls in `turns` that are answered right after them, all calls of their message together.

    `followed_by` are the messages behind the last turn.
    """
    answered: set[str] = set()
    for index, (_, parts) in enumerate(turns):
        calls = {part.id for part in parts if isinstance(part, ToolCallPart)}
        if not calls:
            continue
        if index + 1 < len(turns):
            results = {part.tool_call_id for part in turns[index + 1][1] if isinstance(part, ToolResult)}
        else:
            results = {str(message.get("tool_call_id")) for message in followed_by if message.get("role") == "tool"}
        if calls <= results:
            answered |= calls
    return frozenset(answered)


def tool_calls(parts: Sequence[Part], answered: Collection[str]) -> list[dict[str, Any]]:
    """The calls among the parts, as an assistant's message has them."""
    return [
        {"id": part.id, "type": "function", "function": {"name": part.name, "arguments": part.arguments}}
        for part in parts
        if isinstance(part, ToolCallPart) and part.id in answered
    ]


def tool_results(parts: Sequence[Part], answered: Collection[str]) -> list[dict[str, Any]]:
    """The results among the parts, as messages of their own."""
    return [
        {"role": "tool", "tool_call_id": part.tool_call_id, "content": part.text}
        for part in parts
        if isinstance(part, ToolResult) and part.tool_call_id in answered
    ]
