"""The end of a run: what is stored of its reply, and the events that tell of it."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from app.chat.parts import ToolCallPart
from app.chat.runs.events import Completed, Ended, Event, Failed, MessageSaved, Ref, Stats, refs_in, reply_text
from app.chat.runs.reply import Reply
from app.chat.values import MessageStatus, Run, RunStatus
from app.clock import iso, utc_now
from app.providers.models import UpstreamError


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


def completed(run: Run, events: Sequence[Event], reply: Reply, started_at: datetime, first_token: float) -> RunResult:
    """The end of a complete reply; `first_token` is in seconds from the start."""
    text, reasoning = reply_text(events)
    usage = reply.usage
    stats = Stats(
        input_other=usage.prompt_tokens - usage.cached_tokens,
        input_cached=usage.cached_tokens,
        output=usage.completion_tokens,
        start_time=started_at.timestamp(),
        end_time=time.time(),
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
