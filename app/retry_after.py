"""`Retry-After`, the header by which another server says when to come back."""

import math
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final

MAX_SECONDS: Final = 86_400.0
"""A longer wait is shortened to a day: nobody means it."""


def parse_retry_after(header: str | None) -> float | None:
    """Return the seconds of a `Retry-After`, from a number or an HTTP date; None when it is neither."""
    if header is None:
        return None
    try:
        seconds = float(header)
    except ValueError:
        try:
            moment = parsedate_to_datetime(header)
        except (ValueError, OverflowError):
            return None
        # An HTTP date is in GMT, also where it does not say so.
        seconds = (moment.replace(tzinfo=moment.tzinfo or UTC) - datetime.now(UTC)).total_seconds()
    return min(max(seconds, 0.0), MAX_SECONDS) if math.isfinite(seconds) else None
