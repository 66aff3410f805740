"""How a run ends: what of its reply is kept, and the events that say so."""

import time
from collections.abc import Sequence
from datetime import datetime

from app.chat.runs.events import Completed, Ended, Event, Failed, MessageSaved, Stats, refs_in, reply_text
from app.chat.runs.reply import Reply
from app.chat.store import RunResult
from app.chat.values import MessageStatus, Run, RunStatus
from app.clock import iso, utc_now
from app.providers.models import UpstreamError


def completed(
    run: Run, events: Sequence[Event], reply: Reply, started_at: datetime, first_token: float
) -> tuple[RunResult, list[Event]]:
    """The end of a run whose model has said all; `first_token` came so many seconds after the start."""
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
    counted = {"input_other": stats.input_other, "input_cached": stats.input_cached, "output": stats.output}
    now = utc_now()
    outcome = RunResult(
        RunStatus.COMPLETED,
        MessageStatus.COMPLETE,
        now,
        text,
        reasoning,
        tool_calls=reply.tool_calls,
        token_usage=counted,
        refs=refs_in(events),
    )
    done = Completed(text, reasoning)
    saved = _saved(run, now)
    tail: list[Event] = [stats, done, *saved] if run.streaming else [done, *saved, stats]
    return outcome, [*tail, Ended()]


def cut_short(
    run: Run, events: Sequence[Event], status: RunStatus, message_status: MessageStatus, cause: Failed
) -> tuple[RunResult, list[Event]]:
    """The end of a run that was not completed: what it said so far is kept, and marked as not the whole."""
    now = utc_now()
    text, reasoning = reply_text(events)
    outcome = RunResult(
        status,
        message_status,
        now,
        text,
        reasoning,
        error_code=cause.code,
        error=cause.message,
        refs=refs_in(events),
    )
    saved = _saved(run, now) if text else []
    return outcome, [*saved, cause, Ended()]


def _saved(run: Run, now: datetime) -> list[Event]:
    return [] if run.reply_message_id is None else [MessageSaved(run.reply_message_id, iso(now))]


def failure_of(error: UpstreamError) -> Failed:
    return Failed("upstream_error", error.message, error.gateway_status, error.retry_after, error.refusal)
