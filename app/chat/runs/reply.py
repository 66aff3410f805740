"""A model's deltas, as events."""

from collections.abc import Sequence

from app.chat.parts import ToolCallPart
from app.chat.runs.events import Chunk, Event, ReasoningDelta, TextDelta
from app.providers.models import Delta, Usage


class Reply:
    """One reply in the making; `begun` is set by the first text, reasoning or tool call."""

    __slots__ = ("_calls", "_pending", "begun", "usage")

    def __init__(self) -> None:
        self.begun = False
        self.usage = Usage(0, 0, 0)
        self._calls: dict[int, list[str]] = {}
        self._pending: list[Event] = []

    @property
    def tool_calls(self) -> list[ToolCallPart]:
        """The calls so far."""
        return [ToolCallPart(*call) for call in self._calls.values()]

    def begin(self) -> None:
        """Start over with another model server, as long as none has begun to answer."""
        self._pending.clear()

    def merge(self, deltas: Sequence[Delta]) -> list[Event]:
        """Return the events of deltas that arrived together: neighbouring tokens are one event."""
        events: list[Event] = []
        texts: list[str] = []
        reasonings: list[str] = []

        def flush() -> None:
            if reasonings:
                events.append(ReasoningDelta("".join(reasonings)))
                reasonings.clear()
            if texts:
                events.append(TextDelta("".join(texts)))
                texts.clear()

        for delta in deltas:
            if delta.reasoning:
                if texts:
                    flush()
                reasonings.append(delta.reasoning)
            if delta.text:
                if reasonings:
                    flush()
                texts.append(delta.text)
            if delta.tool_calls or delta.usage is not None:
                self._gather(delta)
        flush()
        self.begun = self.begun or bool(events or self._calls)
        return events

    def chunks(self, deltas: Sequence[Delta]) -> list[Event]:
        """Return the events of deltas that arrived together, one each; none before the reply has begun.

        Until then another model server may be asked, and the first one's chunks must not have been shown.
        """
        self._pending += [Chunk(delta.raw or b"", delta.text, delta.reasoning) for delta in deltas]
        for delta in deltas:
            if delta.tool_calls or delta.usage is not None:
                self._gather(delta)
        self.begun = self.begun or any(delta.says_something for delta in deltas)
        if not self.begun:
            return []
        events, self._pending = self._pending, []
        return events

    def _gather(self, delta: Delta) -> None:
        for call in delta.tool_calls:
            fields = self._calls.setdefault(call.index, ["", "", ""])
            fields[0] = call.id or fields[0]
            fields[1] += call.name or ""
            fields[2] += call.arguments
        if delta.usage is not None:
            self.usage = delta.usage
