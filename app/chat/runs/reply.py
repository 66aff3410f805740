"""What a model has said so far, as the events that tell of it."""

from collections.abc import Sequence

from app.chat.parts import ToolCallPart
from app.chat.runs.events import Chunk, Event, ReasoningDelta, TextDelta
from app.providers.models import Delta, Usage


class Reply:
    """One reply while it is made. `begun` says that the model has said something, if only that it calls a tool."""

    __slots__ = ("_calls", "_held", "begun", "usage")

    def __init__(self) -> None:
        self.begun = False
        self.usage = Usage(0, 0, 0)
        self._calls: dict[int, list[str]] = {}
        self._held: list[Event] = []

    @property
    def tool_calls(self) -> list[ToolCallPart]:
        """The calls, as far as they have come."""
        return [ToolCallPart(*call) for call in self._calls.values()]

    def begin(self) -> None:
        """A model server is asked, possibly after another that did not begin to answer."""
        self._held.clear()

    def merge(self, deltas: Sequence[Delta]) -> list[Event]:
        """The events of what arrived together: neighbouring tokens become one event; tool calls are gathered."""
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
        """The events of what arrived together, one for one; what comes before the reply begins is held until it does.

        Until then another model server may be asked, whose own beginning is then the only one.
        """
        self._held += [Chunk(delta.raw or b"", delta.text, delta.reasoning) for delta in deltas]
        for delta in deltas:
            if delta.tool_calls or delta.usage is not None:
                self._gather(delta)
        self.begun = self.begun or any(delta.says_something for delta in deltas)
        if not self.begun:
            return []
        events, self._held = self._held, []
        return events

    def _gather(self, delta: Delta) -> None:
        for call in delta.tool_calls:
            known = self._calls.setdefault(call.index, ["", "", ""])
            known[0] = call.id or known[0]
            known[1] += call.name or ""
            known[2] += call.arguments
        if delta.usage is not None:
            self.usage = delta.usage
