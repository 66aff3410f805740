"""The tool calls of a reply, put together from their pieces.

OpenAI numbers calls and names each once. Other servers give every call the number 0, or none; they repeat a call's id
or name in each piece, send them in two pieces, or send one call under two numbers.
"""

from collections.abc import Sequence

from app.providers.models import ToolCallDelta


class ToolCall:
    """One call; `arguments` is the JSON text so far."""

    __slots__ = ("_end", "_pieces", "_size", "id", "name")

    def __init__(self) -> None:
        self.id = ""
        self.name = ""
        self._pieces: list[str] = []
        self._size = 0
        self._end = ""

    @property
    def arguments(self) -> str:
        return "".join(self._pieces)

    @property
    def is_whole(self) -> bool:
        """Whether the arguments seem to be complete."""
        return self._end == "}"

    def add(self, piece: ToolCallDelta) -> None:
        self.id = self.id or piece.id or ""
        if piece.name and piece.name != self.name:
            self.name += piece.name
        if piece.arguments and not self.repeats(piece.arguments):
            self._pieces.append(piece.arguments)
            self._size += len(piece.arguments)
            self._end = piece.arguments.rstrip()[-1:] or self._end

    def repeats(self, arguments: str) -> bool:
        """Whether these are the arguments of this call once more."""
        is_whole = self.is_whole and arguments.startswith("{")
        return is_whole and len(arguments) == self._size and arguments == self.arguments


class ToolCalls:
    """The calls of one reply, in their order."""

    __slots__ = ("_by_id", "_by_index", "_calls")

    def __init__(self) -> None:
        self._calls: list[ToolCall] = []
        self._by_index: dict[int, ToolCall] = {}
        self._by_id: dict[str, ToolCall] = {}

    def __len__(self) -> int:
        return len(self._calls)

    @property
    def calls(self) -> Sequence[ToolCall]:
        return self._calls

    def add(self, piece: ToolCallDelta) -> None:
        call = self._find(piece)
        if call is None:
            call = ToolCall()
            self._calls.append(call)
        call.add(piece)
        if piece.index is not None:
            self._by_index[piece.index] = call
        if piece.id:
            self._by_id[piece.id] = call

    def _find(self, piece: ToolCallDelta) -> ToolCall | None:
        """The call that the piece belongs to; None for a new one."""
        call = self._by_id.get(piece.id) if piece.id else None
        if call is None:
            last = self._calls[-1] if self._calls else None
            call = last if piece.index is None else self._by_index.get(piece.index)
            if call is not None and piece.id and call.id and not (piece.arguments and not piece.name):
                return None  # another id; but arguments alone go on with a call, whatever their id is
        return None if call is None or _begins_anew(piece, call) else call


def _begins_anew(piece: ToolCallDelta, call: ToolCall) -> bool:
    """Whether a named piece is another call, though its id or its number is this call's."""
    if not piece.name or not call.is_whole:
        return False
    return piece.name != call.name or (piece.arguments.startswith("{") and not call.repeats(piece.arguments))
