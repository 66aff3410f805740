"""Whole completions as the chunks of a stream, and chunks as a completion, where a server sends the other."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from app.providers import lenient_json
from app.providers.chunk_shapes import Choice, read_chunk
from app.providers.decoder import to_delta
from app.providers.tool_calls import ToolCalls

_REPLACED_FIELDS = frozenset({"message", "finish_reason"})
_FIXED_FIELDS = frozenset({"role", "id", "type", "name", "index"})
"""The members of a delta that are not pieces of something longer."""

_MAX_DEPTH = 4


def chunks_of(completion: bytes) -> bytes:
    """The events of the equivalent stream with its `[DONE]`; empty for anything but a completion."""
    try:
        value = lenient_json.decode(completion)
    except (ValueError, RecursionError):
        return b""
    choices = value.get("choices") if isinstance(value, dict) else None
    if not isinstance(choices, list) or not all(isinstance(choice, dict) for choice in choices):
        return b""
    events = [b"data: %b\n\n" % lenient_json.encode(chunk) for chunk in _chunks(value, choices)]
    return b"".join([*events, b"data: [DONE]\n\n"])


def _chunks(completion: Mapping[str, Any], choices: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    envelope = {name: value for name, value in completion.items() if name not in ("choices", "usage")}
    envelope["object"] = "chat.completion.chunk"
    for position, choice in enumerate(choices):
        index = choice.get("index", position)
        message = choice.get("message")
        delta = dict(message) if isinstance(message, dict) else {}
        calls = delta.get("tool_calls")
        if isinstance(calls, list):
            delta["tool_calls"] = [
                {"index": number, **call} for number, call in enumerate(calls) if isinstance(call, dict)
            ]
        rest = {name: value for name, value in choice.items() if name not in _REPLACED_FIELDS}
        first = {**rest, "index": index, "delta": {"role": "assistant", **delta}, "finish_reason": None}
        yield {**envelope, "choices": [first]}
        last = {"index": index, "delta": {}, "finish_reason": choice.get("finish_reason") or "stop"}
        yield {**envelope, "choices": [{**last, "error": choice["error"]} if "error" in choice else last]}
    if completion.get("usage") is not None:
        yield {**envelope, "choices": [], "usage": completion["usage"]}


def completion_of(chunks: Sequence[bytes]) -> bytes:
    """The completion that the chunks of a stream add up to."""
    envelope: dict[str, Any] = {}
    usage = None
    choices: dict[int, _ChoiceSum] = {}
    for chunk in chunks:
        value = lenient_json.decode(chunk)
        for name, member in value.items():
            if name not in ("choices", "usage") and not envelope.get(name):
                envelope[name] = member
        usage = value.get("usage") or usage
        members = value.get("choices")
        raw_choices = [choice for choice in members if isinstance(choice, dict)] if isinstance(members, list) else []
        for raw_choice, choice in zip(raw_choices, read_chunk(value).choices or (), strict=False):
            choices.setdefault(choice.index, _ChoiceSum()).add(raw_choice, choice)
    envelope["object"] = "chat.completion"
    envelope["choices"] = [{"index": index, **choices[index].whole()} for index in sorted(choices)]
    return lenient_json.encode(envelope if usage is None else {**envelope, "usage": usage})


class _ChoiceSum:
    """The pieces of one choice."""

    def __init__(self) -> None:
        self._message: dict[str, list[Any]] = {}
        self._rest: dict[str, list[Any]] = {}
        self._calls = ToolCalls()
        self._finish_reason: Any = None

    def add(self, raw: Mapping[str, Any], choice: Choice) -> None:
        self._finish_reason = raw.get("finish_reason") or self._finish_reason
        message = raw.get("delta") or raw.get("message")
        if isinstance(message, dict):
            for name, member in message.items():
                if name != "tool_calls":
                    self._message.setdefault(name, []).append(member)
        delta = to_delta(choice, None, None)
        for call in delta.tool_calls if delta else ():
            self._calls.add(call)
        for name, member in raw.items():
            if name not in ("index", "delta", "message", "finish_reason"):
                self._rest.setdefault(name, []).append(member)

    def whole(self) -> dict[str, Any]:
        message: dict[str, Any] = {"role": "assistant", "content": None}
        message |= {name: _joined(name, pieces) for name, pieces in self._message.items()}
        rest = {name: _joined(name, pieces) for name, pieces in self._rest.items()}
        if self._calls:
            message["tool_calls"] = [
                {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
                for call in self._calls.calls
            ]
        return {**rest, "message": message, "finish_reason": self._finish_reason or "stop"}


def _joined(name: str, pieces: Sequence[Any], depth: int = 0) -> Any:
    """Texts and lists end to end, objects member by member, and of anything else the last that is not null."""
    pieces = [piece for piece in pieces if piece is not None]
    if not pieces:
        return None
    if name not in _FIXED_FIELDS and all(isinstance(piece, str) for piece in pieces):
        return "".join(pieces)
    if all(isinstance(piece, list) for piece in pieces):
        return [item for piece in pieces for item in piece]
    if depth < _MAX_DEPTH and all(isinstance(piece, dict) for piece in pieces):
        names = dict.fromkeys(name for piece in pieces for name in piece)
        return {name: _joined(name, [piece.get(name) for piece in pieces], depth + 1) for name in names}
    return pieces[-1]
