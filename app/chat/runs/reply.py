"""The reply of a run: a model's deltas as events, and what is stored at the end."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from app.chat.parts import ToolCallPart
from app.chat.runs.events import (
    Chunk,
    Completed,
    Ended,
    Event,
    Failed,
    MessageSaved,
    ReasoningDelta,
    Ref,
    Refs,
    Stats,
    TextDelta,
)
from app.chat.values import MessageStatus, Run, RunStatus
from app.clock import iso, utc_now
from app.providers.models import Delta, UpstreamError, Usage
from app.providers.tool_calls import ToolCalls


class Reply:
    """One reply in the making; `begun` is set by the first text, reasoning or tool call."""

    __slots__ = ("_calls", "_pending", "begun", "usage")

    def __init__(self) -> None:
        self.begun = False
        self.usage = Usage(0, 0, 0)
        self._calls = ToolCalls()
        self._pending: list[Event] = []

    @property
    def tool_calls(self) -> list[ToolCallPart]:
        """The calls so far."""
        return [ToolCallPart(call.id, call.name, call.arguments) for call in self._calls.calls]

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
            self._calls.add(call)
        if delta.usage is not None:
            self.usage = delta.usage


@dataclass(frozen=True, slots=True)
class RunResult:
    """How and when a run ended; `events` are the last ones of its log, and `token_usage` the model server's count."""

    status: RunStatus
    message_status: MessageStatus
    ended_at: datetime
    events: Sequence[Event]
    text: str
    reasoning: str = ""
    tool_calls: Sequence[ToolCallPart] = ()
    error_code: str | None = None
    error: str | None = None
    token_usage: Mapping[str, int] | None = None
    refs: Sequence[Ref] = ()


def completed(
    run: Run, events: Sequence[Event], reply: Reply, started_at: datetime, *, first_token: float, seconds: float
) -> RunResult:
    """The end of a complete reply; it took `seconds`, and `first_token` until its first token.

    The clock of the day may have been set back meanwhile.
    """
    text, reasoning = reply_text(events)
    usage = reply.usage
    stats = Stats(
        input_other=usage.prompt_tokens - usage.cached_tokens,
        input_cached=usage.cached_tokens,
        output=usage.completion_tokens,
        start_time=started_at.timestamp(),
        end_time=started_at.timestamp() + seconds,
        first_token=first_token,
    )
    now = utc_now()
    end = Completed(text, reasoning)
    saved = _saved(run, now)
    return RunResult(
        RunStatus.COMPLETED,
        MessageStatus.COMPLETE,
        now,
        [stats, end, *saved, Ended()] if run.streaming else [end, *saved, stats, Ended()],
        text,
        reasoning,
        tool_calls=reply.tool_calls,
        token_usage={"input_other": stats.input_other, "input_cached": stats.input_cached, "output": stats.output},
        refs=refs_in(events),
    )


def cut_short(run: Run, events: Sequence[Event], status: RunStatus, cause: Failed) -> RunResult:
    """The end of an incomplete reply: its text so far is stored, and marked as not the whole."""
    now = utc_now()
    text, reasoning = reply_text(events)
    return RunResult(
        status,
        MessageStatus.FAILED if status is RunStatus.FAILED else MessageStatus.PARTIAL,
        now,
        [*(_saved(run, now) if text else ()), cause, Ended()],
        text,
        reasoning,
        error_code=cause.code,
        error=cause.message,
        refs=refs_in(events),
    )


def failure_of(error: UpstreamError) -> Failed:
    return Failed("upstream_error", error.message, error.gateway_status, error.retry_after, error.refusal)


def _saved(run: Run, now: datetime) -> list[Event]:
    return [] if run.reply_message_id is None else [MessageSaved(run.reply_message_id, iso(now))]


def reply_text(events: Sequence[Event]) -> tuple[str, str]:
    """Return the text and the reasoning of the reply so far."""
    texts: list[str] = []
    reasonings: list[str] = []
    for event in events:
        if isinstance(event, Chunk):
            texts.append(event.text)
            if event.reasoning:
                reasonings.append(event.reasoning)
        elif isinstance(event, TextDelta):
            texts.append(event.text)
        elif isinstance(event, ReasoningDelta):
            reasonings.append(event.text)
    return "".join(texts), "".join(reasonings)


def refs_in(events: Sequence[Event]) -> list[Ref]:
    """Return the passages in the prompt, if any; their event comes before the reply's."""
    for event in events:
        if isinstance(event, Refs):
            return event.refs
        if isinstance(event, (TextDelta, ReasoningDelta, Chunk)):
            break
    return []
