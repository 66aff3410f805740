"""Stored turns as the messages of a model's request.

Model servers refuse a call of a tool without its result, and a result without its call. Either can be missing from the
stored conversation: the caller may have gone on without the tool, and of a long conversation only the end is shown.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from app.chat.parts import Media, Part, Reply, Text, ToolCallPart, ToolResult

MAX_QUOTE_CHARS = 4_000

Message = Mapping[str, Any]
Turn = tuple[str, tuple[Part, ...]]
"""The role and the parts of a stored message."""


def transcript(
    turns: Sequence[Turn],
    quotes: Mapping[int, str],
    media: Mapping[Media, Message],
    followed_by: Sequence[Message] = (),
) -> list[Message]:
    """Return the turns in OpenAI's form, the oldest first.

    `quotes` are the texts of quoted messages, `media` the content of each media part; `followed_by` are the messages
    behind the last turn.
    """
    answered = _answered_calls(turns, followed_by)
    messages: list[Message] = []
    for role, parts in turns:
        messages += [
            {"role": "tool", "tool_call_id": part.tool_call_id, "content": part.text}
            for part in parts
            if isinstance(part, ToolResult) and part.tool_call_id in answered
        ]
        content = [item for part in parts if (item := _content(part, quotes, media))]
        calls = [_call(part) for part in parts if isinstance(part, ToolCallPart) and part.id in answered]
        if content or calls:
            message = {"role": role, "content": _simplest(content) if content else None}
            messages.append({**message, "tool_calls": calls} if calls else message)
    return messages


def text_content(text: str) -> Message:
    return {"type": "text", "text": text}


def _answered_calls(turns: Sequence[Turn], followed_by: Sequence[Message]) -> Collection[str]:
    """Return the ids of the calls that are answered right after their message, all of that message together."""
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
    return answered


def _call(part: ToolCallPart) -> Message:
    return {"id": part.id, "type": "function", "function": {"name": part.name, "arguments": part.arguments}}


def _content(part: Part, quotes: Mapping[int, str], media: Mapping[Media, Message]) -> Message | None:
    """Return a part as content; calls of tools and their results have places of their own."""
    if isinstance(part, Text):
        return text_content(part.text)
    if isinstance(part, Reply):
        quote = part.selected_text or quotes.get(int(part.message_id), "")
        lines = quote[:MAX_QUOTE_CHARS].splitlines()
        return text_content("\n".join(f"> {line}" for line in lines)) if lines else None
    return media[part] if isinstance(part, Media) else None


def _simplest(content: list[Message]) -> str | list[Message]:
    """Return plain text as a string, which every model server takes; a list only where there are images."""
    if all(item["type"] == "text" for item in content):
        return "\n".join(item["text"] for item in content)
    return content
