"""The algorithm of the limits: whatever comes, no minute and no budget sees more than it may."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.auth.limits import Budget, Period, Rates
from app.usage.counters import Charge, Counters, LimitReached, admit, period_name, period_of, settle, state_of

START = datetime(2026, 11, 28, 23, 58, tzinfo=UTC)


@given(st.integers(1, 8), st.lists(st.integers(0, 40), min_size=1, max_size=60))
def test_no_sixty_seconds_see_more_requests_than_the_limit(limit: int, gaps: list[int]) -> None:
    rates, counters, now = Rates(rpm_limit=limit), Counters(), START
    admitted: list[datetime] = []
    for number, gap in enumerate(gaps):
        now += timedelta(seconds=gap)
        recent = [moment for moment in admitted if moment > now - timedelta(seconds=60)]
        try:
            counters = admit(counters, rates, str(number), Charge(), now)
        except LimitReached as error:
            assert len(recent) >= limit
            later = now + timedelta(seconds=int(error.headers["Retry-After"]))
            admit(counters, rates, str(number), Charge(), later)  # the wait is long enough
        else:
            assert len(recent) < limit
            admitted.append(now)
        assert len(counters.seconds) <= 60
    assert state_of(counters, rates, now + timedelta(seconds=60)).remaining_requests == limit


@given(
    st.integers(100, 1000),
    st.lists(st.tuples(st.integers(1, 300), st.integers(0, 300), st.booleans()), min_size=1, max_size=40),
)
def test_a_budget_ends_with_the_replies_that_had_begun(limit: int, replies: list[tuple[int, int, bool]]) -> None:
    rates = Rates(budget=Budget(per="day", tokens=limit))
    counters, open_replies = Counters(period=period_name(rates, START)), dict[str, tuple[Charge, Charge]]()
    for number, (reserved, actual, ends_one) in enumerate(replies):
        if ends_one and open_replies:
            id, (charge, used) = open_replies.popitem()
            counters = settle(counters, id, charge, used, 0, START, counters.period)
        spent, held = counters.spent.tokens, sum(charge.tokens for charge, _ in open_replies.values())
        try:
            counters = admit(counters, rates, str(number), Charge(reserved), START)
        except LimitReached as error:
            assert spent >= limit or (open_replies and spent + held + reserved > limit)
            assert error.is_of_open == (spent < limit)
        else:
            assert spent < limit
            assert not open_replies or spent + held + reserved <= limit
            open_replies[str(number)] = Charge(reserved), Charge(actual)
    for id, (charge, used) in open_replies.items():
        counters = settle(counters, id, charge, used, 0, START, counters.period)
    assert not counters.open


@pytest.mark.parametrize(
    ("per", "start", "end"),
    [("day", "2026-11-28", "2026-11-29"), ("week", "2026-11-23", "2026-11-30"), ("month", "2026-11-01", "2026-12-01")],
)
def test_periods_are_those_of_the_calendar_in_utc(per: Period, start: str, end: str) -> None:
    assert [f"{moment:%Y-%m-%d}" for moment in period_of(per, START)] == [start, end]


def test_a_reply_beyond_the_limit_of_tokens_passes_when_nothing_else_does() -> None:
    rates = Rates(tpm_limit=100)
    counters = admit(Counters(), rates, "a", Charge(500), START)
    with pytest.raises(LimitReached):
        admit(counters, rates, "b", Charge(1), START)
    counters = settle(counters, "a", Charge(500), Charge(20), int(START.timestamp()), START, "")
    admit(counters, rates, "b", Charge(80), START)
    with pytest.raises(LimitReached):
        admit(counters, rates, "b", Charge(81), START)


def test_tokens_beyond_what_was_reserved_count_when_the_reply_is_over() -> None:
    rates = Rates(tpm_limit=100)
    counters = admit(Counters(), rates, "a", Charge(10), START)
    end = START + timedelta(seconds=50)
    counters = settle(counters, "a", Charge(10), Charge(95), int(START.timestamp()), end, "")
    state = state_of(counters, rates, START + timedelta(seconds=70))
    assert (state.remaining_tokens, state.reset_tokens) == (15, 40)
