"""How many refused sign-ins are written down."""

import time
from typing import Final

MINUTE: Final = 60.0
MAX_ADDRESSES: Final = 20


class RefusedSignIns:
    """Admits one entry in the audit trail a minute for each address, and for few addresses.

    Whoever guesses needs no key, and must not fill the database.
    """

    def __init__(self) -> None:
        self._written_at: dict[str, float] = {}

    def is_new(self, address: str | None) -> bool:
        """Whether a refusal is to be written down, which it then counts as."""
        now = time.monotonic()
        recent = {each: at for each, at in self._written_at.items() if at > now - MINUTE}
        is_new = (address or "") not in recent and len(recent) < MAX_ADDRESSES
        if is_new:
            recent[address or ""] = now
        self._written_at = recent
        return is_new
