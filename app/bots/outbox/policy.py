"""The decision after each try: pure functions of the outcome and of what is stored."""

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Any, Literal

from app.bots.adapters.base import Capabilities, Receipt
from app.bots.adapters.outcomes import (
    DeliveryError,
    EditImpossible,
    NotSent,
    RateLimited,
    Refused,
    TargetGone,
    Unauthorized,
    Unknown,
)
from app.bots.outbox.models import Delivery, DeliveryState, FragmentState, PauseReason, StoredFragment
from app.errors import AppError

SUSPENSION = timedelta(hours=24)
"""How long a chat that is gone takes nothing, unless it writes or somebody retries."""
AUTH_PAUSE = timedelta(minutes=10)
"""How long a bot whose credentials were refused rests."""
MAX_LOOKS = 2


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Tries of a fragment that was certainly not sent, or that may be repeated; waits in seconds, fully jittered.

    A fragment that may have arrived is looked for after `look_after`, and once more after as long.
    """

    tries: int = 8
    wait_initial: float = 1.0
    wait_max: float = 60.0
    jitter: Callable[[], float] = random.random
    look_after: timedelta = timedelta(seconds=5)

    def wait(self, tries: int) -> timedelta:
        """Return how long to wait after so many tries."""
        longest = min(self.wait_initial * 2 ** max(tries - 1, 0), self.wait_max)
        return timedelta(seconds=longest * (0.1 + 0.9 * self.jitter()))


@dataclass(frozen=True, slots=True)
class Pause:
    """A pause of the delivery's chat, or of its whole bot."""

    whole_bot: bool
    until: datetime
    reason: PauseReason


@dataclass(frozen=True, slots=True)
class Step:
    """What is stored after a try: new values of the fragment, and how the delivery goes on.

    `next`: with the next fragment, or it is sent. `again`: with this fragment at once. `later`: at `at`. `end`: not.
    """

    kind: Literal["next", "again", "later", "end"]
    fragment: Mapping[str, Any] = field(default_factory=dict)
    at: datetime | None = None
    state: DeliveryState | None = None
    error: AppError | None = None
    pause: Pause | None = None


def after_receipt(receipt: Receipt) -> Step:
    values = {
        "state": FragmentState.SENT.value,
        "platform_id": None if receipt.platform_id is None else receipt.platform_id[:255],
        "extra": dict(receipt.extra) or None,
        "error": None,
    }
    return Step("next", values)


def after_error(
    error: AppError,
    delivery: Delivery,
    fragment: StoredFragment,
    capabilities: Capabilities,
    policy: RetryPolicy,
    now: datetime,
    *,
    can_look: bool,
    at_least_once: bool,
) -> Step:
    """Decide what follows a try of `fragment` (as it was before the try) that ended with an error."""
    was_unknown = fragment.state is FragmentState.UNKNOWN
    # What may have arrived once is not made good by a later try that did not.
    unsent = FragmentState.UNKNOWN if was_unknown else FragmentState.PENDING
    match error:
        case RateLimited():
            at = now + timedelta(seconds=error.after * (1 + 0.1 * policy.jitter()))
            pause = Pause(error.scope == "bot", at, PauseReason.RATE_LIMITED)
            values = {"state": unsent.value, "attempts": fragment.attempts, "error": error.message}
            return _later(delivery, values, at, error, pause, was_unknown=was_unknown)
        case Unauthorized():
            pause = Pause(True, now + AUTH_PAUSE, PauseReason.UNAUTHORIZED)
            values = {"state": unsent.value, "attempts": fragment.attempts, "error": error.message}
            if delivery.waits:
                return _end(values, error, pause, was_unknown=was_unknown)
            return _later(delivery, values, pause.until, error, pause, was_unknown=was_unknown)
        case NotSent():
            values = {"state": unsent.value, "error": error.message}
            if fragment.attempts + 1 >= policy.tries:
                return _end(values, error, was_unknown=was_unknown)
            at = now + policy.wait(fragment.attempts + 1)
            return _later(delivery, values, at, error, was_unknown=was_unknown)
        case Unknown():
            return after_doubt(
                error,
                delivery,
                fragment,
                capabilities,
                policy,
                now,
                can_look=can_look,
                at_least_once=at_least_once,
            )
        case EditImpossible() if fragment.action == "edit":
            return Step("again", {**_changed(fragment), "action": "send", "edited_id": None})
        case Refused() if error.formatting and fragment.plain is not None:
            return Step("again", {**_changed(fragment), "payload": fragment.plain, "plain": None})
    pause_of_target = None
    if isinstance(error, TargetGone):
        pause_of_target = Pause(False, now + SUSPENSION, PauseReason.TARGET_GONE)
    state = FragmentState.UNKNOWN if was_unknown else FragmentState.REFUSED
    return _end({"state": state.value, "error": error.message}, error, pause_of_target, was_unknown=was_unknown)


def after_doubt(
    error: AppError,
    delivery: Delivery,
    fragment: StoredFragment,
    capabilities: Capabilities,
    policy: RetryPolicy,
    now: datetime,
    *,
    can_look: bool,
    at_least_once: bool,
) -> Step:
    """Decide what follows when nobody knows whether the fragment arrived."""
    values = {"state": FragmentState.UNKNOWN.value, "error": error.message}
    end = Step("end", values, state=DeliveryState.UNKNOWN, error=error)
    tries = fragment.attempts + 1
    if tries >= policy.tries:
        return end
    at = now + policy.wait(tries)
    if not may_repeat(fragment, capabilities, at, at_least_once=at_least_once):
        if not can_look:
            return end
        at = now + policy.look_after
    return end if at > delivery.deadline else Step("later", values, at=at, error=error)


def may_repeat(
    fragment: StoredFragment, capabilities: Capabilities, at: datetime, *, at_least_once: bool = False
) -> bool:
    """Check whether a call that may have arrived does no harm when it is made once more at a time."""
    repeat = capabilities.repeat
    if at_least_once or fragment.action != "send" or repeat.kind == "harmless":
        return True
    if repeat.kind == "none":
        return False
    return repeat.window is None or fragment.first_tried_at is None or at < fragment.first_tried_at + repeat.window


def _later(
    delivery: Delivery,
    values: Mapping[str, Any],
    at: datetime,
    error: AppError,
    pause: Pause | None = None,
    *,
    was_unknown: bool,
) -> Step:
    if at > delivery.deadline:
        return _end(values, error, pause, was_unknown=was_unknown)
    return Step("later", values, at=at, error=error, pause=pause)


def _end(values: Mapping[str, Any], error: AppError, pause: Pause | None = None, *, was_unknown: bool = False) -> Step:
    return Step(
        "end", values, state=DeliveryState.UNKNOWN if was_unknown else DeliveryState.DEAD, error=error, pause=pause
    )


def _changed(fragment: StoredFragment) -> dict[str, Any]:
    """Values of a fragment that was refused as it is: the other form is a message of its own to the platform."""
    key = sha256(f"{fragment.wire_key} changed".encode()).hexdigest()[:32]
    return {"state": FragmentState.PENDING.value, "wire_key": key, "attempts": 0, "first_tried_at": None}


def code_of(error: AppError) -> str:
    """Return the code of an error that a delivery ends with."""
    if isinstance(error, DeliveryError) and error.platform_code:
        return f"{error.code}:{error.platform_code}"[:64]
    return error.code[:64]
