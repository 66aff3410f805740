"""The algorithm of the limits: values, and functions of them that neither wait nor look at a clock.

Replies and tokens are counted for each second of the last sixty, so that no sixty seconds ever see more than the limit;
what a period's budget has lost is one sum. A reply reserves what it may use when it begins, and settles at its end.
"""

from datetime import UTC, datetime, timedelta
from typing import Final

import msgspec
from msgspec import structs

from app.auth.limits import BUDGET_EXCEEDED, Period, Rates
from app.errors import TooManyRequests
from app.usage.prices import NANOS

WINDOW: Final = 60
_SOON: Final = 2
"""Seconds after which a reply that goes on now may be over."""


class Charge(msgspec.Struct, frozen=True, array_like=True):
    """Tokens, and their cost in nanos."""

    tokens: int = 0
    cost: int = 0


class Second(msgspec.Struct, frozen=True, array_like=True):
    """What began in one second, counted from 1970."""

    second: int
    requests: int
    tokens: int


class Counters(msgspec.Struct, frozen=True, array_like=True):
    """The counters of a key, or of one of its users: the last seconds, the replies that go on, and a period's sum."""

    seconds: tuple[Second, ...] = ()
    open: dict[str, Charge] = {}
    period: str = ""
    spent: Charge = Charge()


class RateState(msgspec.Struct, frozen=True):
    """How much of the limits of a minute is left, and in how many seconds all of it is there again."""

    limit_requests: int | None
    remaining_requests: int
    reset_requests: int
    limit_tokens: int | None
    remaining_tokens: int
    reset_tokens: int

    @property
    def headers(self) -> dict[str, str]:
        """OpenAI's headers."""
        headers: dict[str, str] = {}
        for kind in ("requests", "tokens"):
            if (limit := getattr(self, f"limit_{kind}")) is not None:
                headers[f"x-ratelimit-limit-{kind}"] = str(limit)
                headers[f"x-ratelimit-remaining-{kind}"] = str(getattr(self, f"remaining_{kind}"))
                headers[f"x-ratelimit-reset-{kind}"] = f"{getattr(self, f'reset_{kind}')}s"
        return headers


class LimitReached(TooManyRequests):
    """A request over one of the limits of its key. `is_of_open` says that it is over by replies that go on now."""

    def __init__(self, message: str, code: str, retry_after: int, *, is_of_open: bool = False) -> None:
        super().__init__(message, retry_after=max(1, retry_after), code=code)
        self.is_of_open = is_of_open


def period_of(per: Period, now: datetime) -> tuple[datetime, datetime]:
    """Return when the present day, week or month began, and when it ends."""
    day = now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    if per == "day":
        return day, day + timedelta(days=1)
    if per == "week":
        monday = day - timedelta(days=day.weekday())
        return monday, monday + timedelta(days=7)
    first = day.replace(day=1)
    return first, (first + timedelta(days=32)).replace(day=1)


def period_name(rates: Rates, now: datetime) -> str:
    """Return a name of the budget's present period, empty without a budget."""
    if rates.budget is None:
        return ""
    start, _ = period_of(rates.budget.per, now)
    return f"{rates.budget.per} {start:%Y-%m-%d}"


def admit(counters: Counters, rates: Rates, run_id: str, charge: Charge, now: datetime) -> Counters:
    """Count a reply that begins now, and reserve its charge. Raises LimitReached.

    A call without a run has no `run_id`, and reserves nothing of a budget.
    """
    second = int(now.timestamp())
    recent = _recent(counters, second)
    _check_minute(recent, rates, charge, second)
    if rates.max_parallel_requests is not None and len(counters.open) >= rates.max_parallel_requests:
        raise LimitReached(
            "The API key has too many replies going on at once", "too_many_parallel", _SOON, is_of_open=True
        )
    _check_budget(counters, rates, charge, now)
    if rates.rpm_limit is not None or rates.tpm_limit is not None:
        recent = _add(recent, second, 1, charge.tokens)
    is_open = bool(run_id) and (rates.max_parallel_requests is not None or rates.budget is not None)
    return structs.replace(
        counters, seconds=recent, open={**counters.open, run_id: charge} if is_open else counters.open
    )


def settle(
    counters: Counters, run_id: str, reserved: Charge, actual: Charge, began: int, now: datetime, period: str
) -> Counters:
    """Replace what a reply has reserved by what it has used; it began in the second `began`.

    What it used beyond that counts now: it was not known before. `period` is the one that the reply is over in.
    """
    second = int(now.timestamp())
    recent = _recent(counters, second)
    more = actual.tokens - reserved.tokens
    if recent and more > 0:
        recent = _add(recent, second, 0, more)
    elif recent:
        recent = tuple(
            structs.replace(each, tokens=max(0, each.tokens + more)) if each.second == began else each
            for each in recent
        )
    spent = counters.spent
    if period and counters.period == period:
        spent = Charge(spent.tokens + actual.tokens, spent.cost + actual.cost)
    remaining = {id: charge for id, charge in counters.open.items() if id != run_id}
    return structs.replace(counters, seconds=recent, open=remaining, spent=spent)


def correct(counters: Counters, more: Charge, now: datetime, period: str) -> Counters:
    """Count what a settled reply has used beyond what it was settled for; that may be less than nothing."""
    second = int(now.timestamp())
    recent = _recent(counters, second)
    if recent and more.tokens > 0:
        recent = _add(recent, second, 0, more.tokens)
    spent = counters.spent
    if period and counters.period == period:
        spent = Charge(max(0, spent.tokens + more.tokens), max(0, spent.cost + more.cost))
    return structs.replace(counters, seconds=recent, spent=spent)


def state_of(counters: Counters, rates: Rates, now: datetime) -> RateState:
    second = int(now.timestamp())
    recent = _recent(counters, second)
    requests, tokens = sum(each.requests for each in recent), sum(each.tokens for each in recent)
    reset = recent[-1].second + WINDOW - second if recent else 0
    return RateState(
        limit_requests=rates.rpm_limit,
        remaining_requests=max(0, (rates.rpm_limit or 0) - requests),
        reset_requests=reset if requests else 0,
        limit_tokens=rates.tpm_limit,
        remaining_tokens=max(0, (rates.tpm_limit or 0) - tokens),
        reset_tokens=reset if tokens else 0,
    )


def _check_minute(recent: tuple[Second, ...], rates: Rates, charge: Charge, second: int) -> None:
    """Raises LimitReached, with the seconds until enough of the minute is over."""
    requests, tokens = sum(each.requests for each in recent), sum(each.tokens for each in recent)
    if rates.rpm_limit is not None and requests >= rates.rpm_limit:
        wait = _wait([(each.second, each.requests) for each in recent], requests - rates.rpm_limit + 1, second)
        raise LimitReached(f"The API key has a limit of {rates.rpm_limit} requests a minute", "rate_limited", wait)
    # A reply that is larger than the limit by itself may begin when nothing else has.
    if rates.tpm_limit is not None and tokens and tokens + charge.tokens > rates.tpm_limit:
        excess = min(tokens, tokens + charge.tokens - rates.tpm_limit)
        wait = _wait([(each.second, each.tokens) for each in recent], excess, second)
        message = f"The API key has a limit of {rates.tpm_limit} tokens a minute"
        raise LimitReached(message, "token_rate_limited", wait)


def _check_budget(counters: Counters, rates: Rates, charge: Charge, now: datetime) -> None:
    """Raises LimitReached when the budget is spent, or what is left of it is reserved."""
    if (budget := rates.budget) is None:
        return
    cost = None if budget.cost is None else round(budget.cost * NANOS)
    reserved_tokens = sum(each.tokens for each in counters.open.values())
    reserved_cost = sum(each.cost for each in counters.open.values())
    for limit, spent, reserved, more in (
        (budget.tokens, counters.spent.tokens, reserved_tokens, charge.tokens),
        (cost, counters.spent.cost, reserved_cost, charge.cost),
    ):
        if limit is None:
            continue
        message = f"The API key has spent its budget of this {budget.per}"
        if spent >= limit:
            _, end = period_of(budget.per, now)
            raise LimitReached(message, BUDGET_EXCEEDED, int((end - now).total_seconds()) + 1)
        # What is left may be less than a reply takes: then one goes on at a time.
        if counters.open and spent + reserved + more > limit:
            message = f"What is left of the API key's budget of this {budget.per} is reserved by other replies"
            raise LimitReached(message, BUDGET_EXCEEDED, _SOON, is_of_open=True)


def _recent(counters: Counters, second: int) -> tuple[Second, ...]:
    return tuple(each for each in counters.seconds if each.second > second - WINDOW)


def _add(recent: tuple[Second, ...], second: int, requests: int, tokens: int) -> tuple[Second, ...]:
    """Count something in a second, which may be before the last one: several servers' clocks differ."""
    match = next((each for each in recent if each.second == second), Second(second, 0, 0))
    new = Second(second, match.requests + requests, match.tokens + tokens)
    return tuple(sorted([*(each for each in recent if each.second != second), new], key=lambda each: each.second))


def _wait(counts: list[tuple[int, int]], excess: int, now: int) -> int:
    """Return the seconds until `excess` of the counts are more than a minute old."""
    for second, count in counts:
        excess -= count
        if excess <= 0:
            return second + WINDOW - now
    return WINDOW
