"""The reply of a run: a model's deltas as events, and what is stored at the end."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from app.chat.parts import Part, Text, ToolCallPart
from app.chat.runs.events import (
    Chunk,
    Completed,
    Ended,
    Event,
    Failed,
    MediaAdded,
    MessageSaved,
    ReasoningDelta,
    Ref,
    Refs,
    Stats,
    TextDelta,
    ToolCall,
    ToolCallResult,
)
from app.chat.runs.tool_parts import add_tool_part, interrupted_results
from app.chat.values import MessageStatus, Run, RunStatus
from app.clock import iso, utc_now
from app.providers.amending import calls_chunks, with_text, with_usage
from app.providers.models import Delta, UpstreamError, Usage
from app.providers.tool_calls import ToolCalls
from app.usage.counters import Charge
from app.usage.prices import PriceTable

NO_USAGE = Usage(0, 0, 0)


class Reply:
    """One reply in the making, or one step of it; `begun` is set by the first text, reasoning or tool call.

    `usage` adds up over the steps.
    """

    __slots__ = ("_calls", "_earlier_usage", "_pending", "_withheld", "begun", "usage")

    def __init__(self, usage: Usage = NO_USAGE) -> None:
        self.begun = False
        self.usage = self._earlier_usage = usage
        self._calls: ToolCalls | None = None
        self._pending: list[Chunk] = []
        self._withheld: list[Chunk] = []

    @property
    def tool_calls(self) -> list[ToolCallPart]:
        """The calls so far."""
        if self._calls is None:
            return []
        return [ToolCallPart(call.id, call.name, call.arguments) for call in self._calls.calls]

    def begin(self) -> None:
        """Start over with another model server, as long as none has begun to answer."""
        self._pending.clear()
        self._withheld.clear()

    def next_step(self) -> None:
        """Go on with another request to the model."""
        self.begun = False
        self._earlier_usage = self.usage
        self._calls = None

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
        chunks, self._pending = self._pending, []
        return list[Event](chunks)

    def passing_chunks(self, deltas: Sequence[Delta]) -> list[Event]:
        """Return what `chunks` does, but keep what calls tools or ends the step: whose calls they are is still open."""
        events = self.chunks([delta for delta in deltas if not _ends_step(delta)])
        for delta in filter(_ends_step, deltas):
            self._gather(delta)
            self._withheld.append(Chunk(delta.raw or b"", delta.text, delta.reasoning))
            self.begun = self.begun or delta.says_something
        return events

    def end_of_step(self, *, goes_on: bool, streaming: bool, earlier_text: str) -> list[Event]:
        """Return the events of the chunks that `passing_chunks` has kept: with calls to carry out, only their text.

        Otherwise they end the reply, and have the usage, and unless `streaming` the text, of all its steps.
        """
        chunks = self._pending + self._withheld
        self.begin()
        if goes_on:
            return [event for chunk in chunks for event in _texts_of(chunk)]
        if self._earlier_usage == NO_USAGE:
            return list[Event](chunks)
        events: list[Event] = []
        for chunk in chunks:
            data = with_usage(chunk.data, self.usage)
            if not streaming and earlier_text:
                data = with_text(data, earlier_text + chunk.text)
            events.append(Chunk(data, chunk.text, chunk.reasoning))
        return events

    def calls_of_client(self, calls: Sequence[ToolCall], text: str, *, streaming: bool) -> list[Event]:
        """Return the end of a step that also called tools of the client's, which the client has to answer."""
        triples = [(call.id, call.name, call.arguments) for call in calls]
        chunks = calls_chunks(triples, self.usage, text=None if streaming else text)
        return [Chunk(data) for data in chunks]

    def _gather(self, delta: Delta) -> None:
        if delta.tool_calls:
            if self._calls is None:
                self._calls = ToolCalls()
            for call in delta.tool_calls:
                self._calls.add(call)
        if delta.usage is not None:
            self.usage = _sum(self._earlier_usage, delta.usage)


def _texts_of(chunk: Chunk) -> list[Event]:
    reasoning = [ReasoningDelta(chunk.reasoning)] if chunk.reasoning else []
    return [*reasoning, *([TextDelta(chunk.text)] if chunk.text else [])]


def _ends_step(delta: Delta) -> bool:
    return bool(delta.tool_calls or delta.finish_reason or delta.usage is not None)


def _sum(usage: Usage, other: Usage) -> Usage:
    return Usage(
        usage.prompt_tokens + other.prompt_tokens,
        usage.cached_tokens + other.cached_tokens,
        usage.completion_tokens + other.completion_tokens,
    )


@dataclass(frozen=True, slots=True)
class Content:
    """The content of a reply: what its events amount to. `text` is all its text together."""

    parts: Sequence[Part]
    text: str
    reasoning: str
    refs: Sequence[Ref]


@dataclass(frozen=True, slots=True)
class RunResult:
    """How and when a run ended; `events` are the last ones of its log, and `token_usage` the model server's count.

    `usage` is that, too, or a guess for a reply that ended before it was counted; `cost` is in nanos, `first_token` in
    seconds.
    """

    status: RunStatus
    message_status: MessageStatus
    ended_at: datetime
    events: Sequence[Event]
    content: Content
    error_code: str | None = None
    error: str | None = None
    token_usage: Mapping[str, int] | None = None
    usage: Usage = NO_USAGE
    cost: int = 0
    first_token: float | None = None

    @property
    def charge(self) -> Charge:
        """What counts against the limits of the run's key."""
        return Charge(self.usage.prompt_tokens + self.usage.completion_tokens, self.cost)

    def priced(self, prices: PriceTable, run: Run) -> "RunResult":
        """Return the result with its cost."""
        return replace(self, cost=prices.cost(run.provider_id, run.model, self.usage))


def completed(
    run: Run, events: Sequence[Event], usage: Usage, started_at: datetime, *, first_token: float, seconds: float
) -> RunResult:
    """The end of a complete reply; it took `seconds`, and `first_token` until its first token.

    The clock of the day may have been set back meanwhile.
    """
    content = content_of(events)
    stats = Stats(
        input_other=usage.prompt_tokens - usage.cached_tokens,
        input_cached=usage.cached_tokens,
        output=usage.completion_tokens,
        start_time=started_at.timestamp(),
        end_time=started_at.timestamp() + seconds,
        first_token=first_token,
    )
    now = utc_now()
    end = Completed(content.text, content.reasoning)
    saved = _saved(run, now)
    return RunResult(
        RunStatus.COMPLETED,
        MessageStatus.COMPLETE,
        now,
        [stats, end, *saved, Ended()] if run.streaming else [end, *saved, stats, Ended()],
        content,
        token_usage={"input_other": stats.input_other, "input_cached": stats.input_cached, "output": stats.output},
        usage=usage,
        first_token=first_token,
    )


def cut_short(
    run: Run,
    events: Sequence[Event],
    status: RunStatus,
    cause: Failed,
    usage: Usage = NO_USAGE,
    first_token: float | None = None,
) -> RunResult:
    """The end of an incomplete reply: what it has so far is stored, and marked as not the whole."""
    now = utc_now()
    interrupted = interrupted_results(events)
    content = content_of([*events, *interrupted])
    return RunResult(
        status,
        MessageStatus.FAILED if status is RunStatus.FAILED else MessageStatus.PARTIAL,
        now,
        [*interrupted, *(_saved(run, now) if content.parts else ()), cause, Ended()],
        content,
        error_code=cause.code,
        error=cause.message,
        usage=_at_least(usage, content),
        first_token=first_token,
    )


def _at_least(usage: Usage, content: Content) -> Usage:
    """Guess the tokens of a reply whose model server had not counted them yet: nobody talks for free by stopping it."""
    size = len((content.text + content.reasoning).encode("utf-8", "surrogatepass"))
    tokens = max(usage.completion_tokens, -(-size // 4))
    return Usage(usage.prompt_tokens, usage.cached_tokens, tokens)


def failure_of(error: UpstreamError) -> Failed:
    return Failed("upstream_error", error.message, error.gateway_status, error.retry_after, error.refusal)


def _saved(run: Run, now: datetime) -> list[Event]:
    return [] if run.reply_message_id is None else [MessageSaved(run.reply_message_id, iso(now))]


def content_of(events: Sequence[Event]) -> Content:
    """Return the content of the reply so far, its parts in their order."""
    parts: list[Part] = []
    texts: list[str] = []
    reasonings: list[str] = []
    refs: list[Ref] = []
    first = 0  # of the texts, the first that is in no part yet
    for event in events:
        if isinstance(event, Chunk):
            texts.append(event.text)
            if event.reasoning:
                reasonings.append(event.reasoning)
        elif isinstance(event, TextDelta):
            texts.append(event.text)
        elif isinstance(event, ReasoningDelta):
            reasonings.append(event.text)
        elif isinstance(event, (ToolCall, ToolCallResult, MediaAdded)):
            if text := "".join(texts[first:]):
                parts.append(Text(text))
            first = len(texts)
            add_tool_part(parts, event)
        elif isinstance(event, Refs):
            refs += event.refs
    if text := "".join(texts[first:]):
        parts.append(Text(text))
    return Content(parts, "".join(texts), "".join(reasonings), refs)


def refs_in(events: Sequence[Event]) -> list[Ref]:
    """Return the passages that the model was shown, if any."""
    return [ref for event in events if isinstance(event, Refs) for ref in event.refs]
