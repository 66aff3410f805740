"""The steps of a lane as transactions: whose turn it is, and what a try has led to."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection

from app.bots.outbox import store
from app.bots.outbox.models import Delivery, DeliveryState, FragmentState, PauseReason, StoredFragment
from app.bots.outbox.policy import Step, code_of
from app.bots.outbox.store import Lane

BUSY_ELSEWHERE = timedelta(seconds=1)
GIVEN_UP = "The delivery's time was over before its turn came"


@dataclass(frozen=True, slots=True)
class Turn:
    """What a lane is to do: send `delivery`, or wait until `at`, or nothing. `ended` are deliveries that are over."""

    delivery: Delivery | None = None
    at: datetime | None = None
    ended: tuple[Delivery, ...] = ()


def next_fragment(delivery: Delivery) -> StoredFragment | None:
    """Return the first fragment that is not sent."""
    return next((each for each in delivery.fragments if each.state is not FragmentState.SENT), None)


def take(connection: Connection, lane: Lane, owner: str, now: datetime) -> Turn:
    """Lease the delivery at the head of a lane, and mark its first unsent fragment as being sent."""
    ended: list[Delivery] = []
    while (head := store.find_head(connection, lane)) is not None:
        if store.is_leased(connection, head, owner):
            return Turn(at=now + BUSY_ELSEWHERE, ended=tuple(ended))
        if head.state is DeliveryState.QUEUED:
            if (at := _waits_until(connection, head, lane, now)) is None:  # it is over
                ended.append(head)
                continue
            if at > now:
                return Turn(at=min(at, head.deadline), ended=tuple(ended))
        if not store.lease(connection, head, owner):
            return Turn(at=now + BUSY_ELSEWHERE, ended=tuple(ended))
        store.doubt_leftovers(connection, head)
        taken = store.find_delivery(connection, head.id)
        assert taken is not None
        fragment = next_fragment(taken)
        if fragment is not None and fragment.state is not FragmentState.UNKNOWN:
            store.begin_fragment(connection, fragment, now)
        return Turn(taken, ended=tuple(ended))
    return Turn(ended=tuple(ended))


def _waits_until(connection: Connection, head: Delivery, lane: Lane, now: datetime) -> datetime | None:
    """Return the moment at which the head's turn comes; None when it never does, and the delivery has been ended."""
    if now >= head.deadline:
        in_vain = DeliveryState.CANCELLED if head.waits else DeliveryState.EXPIRED
        state = _end_of(head, DeliveryState.DEAD if head.error is not None else in_vain)
        code = head.error_code or "delivery_timeout"
        finish(connection, head, state, now, code=code, error=head.error or GIVEN_UP)
        return None
    if head.not_before > now:
        return head.not_before
    pause = store.find_pause(connection, lane, now)
    if pause is None:
        return now
    is_hopeless = pause.reason == PauseReason.TARGET_GONE or (
        head.waits and (pause.reason == PauseReason.UNAUTHORIZED or pause.until > head.deadline)
    )
    if is_hopeless:
        state = _end_of(head, DeliveryState.DEAD)
        finish(connection, head, state, now, code="delivery_failed", error=pause.error)
        return None
    return pause.until


def _end_of(delivery: Delivery, state: DeliveryState) -> DeliveryState:
    """Return the state in which a delivery ends that was to end in `state`, as something of it may have arrived."""
    fragments = {each.state for each in delivery.fragments}
    if FragmentState.UNKNOWN in fragments:
        return DeliveryState.UNKNOWN
    return DeliveryState.PARTIAL if FragmentState.SENT in fragments else state


def record(
    connection: Connection, delivery: Delivery, fragment: StoredFragment, step: Step, owner: str, now: datetime
) -> Delivery | None:
    """Store what a try has led to; the delivery, when it goes on at once. None when it is over, waits or was lost."""
    if not store.is_held(connection, delivery.seq, owner):
        return None
    store.end_fragment(connection, fragment, **step.fragment)
    if (pause := step.pause) is not None:
        assert step.error is not None
        lane = (delivery.bot_id, "" if pause.whole_bot else delivery.target)
        store.add_pause(connection, lane, pause.until, pause.reason, step.error.message, now)
    if step.kind == "later":
        assert step.at is not None
        assert step.error is not None
        store.save_delivery(
            connection,
            delivery.seq,
            state=DeliveryState.QUEUED.value,
            owner=None,
            leased_until=None,
            not_before=step.at,
            error_code=code_of(step.error),
            error=step.error.message,
        )
        return None
    current = store.find_delivery(connection, delivery.id)
    assert current is not None
    if step.kind == "end":
        assert step.error is not None
        assert step.state is not None
        state = _end_of(current, step.state)
        status = step.error.status if step.error.status < 500 else None
        finish(connection, current, state, now, code=code_of(step.error), error=step.error.message, error_status=status)
        return None
    following = next_fragment(current)
    if following is None:
        finish(connection, current, DeliveryState.SENT, now)
        return None
    if following.state is not FragmentState.UNKNOWN:
        store.begin_fragment(connection, following, now)
    return current


def finish(
    connection: Connection,
    delivery: Delivery,
    state: DeliveryState,
    now: datetime,
    *,
    code: str | None = None,
    error: str | None = None,
    error_status: int | None = None,
) -> None:
    """End a delivery; its callback becomes due."""
    store.save_delivery(
        connection,
        delivery.seq,
        state=state.value,
        owner=None,
        leased_until=None,
        error_code=code,
        error=error,
        error_status=error_status,
        finished_at=now,
        callback_at=store.now_if_callback(),
    )
