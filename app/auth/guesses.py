"""Slowing down those who guess keys."""

import asyncio
import time
from collections import OrderedDict
from ipaddress import IPv6Address, ip_address

FREE_GUESSES = 100
"""The wrong keys from one address that are answered at once."""
INTERVAL_SECONDS = 0.1
"""The time for each further one, in which one of the free ones comes back too."""
MAX_DELAY_SECONDS = 10.0
MAX_ADDRESSES = 10_000
MAX_WAITING = 2_000


class GuessLimit:
    """Delays answers to wrong keys, for each address that sends many. Answers to good keys are never delayed."""

    def __init__(self) -> None:
        self._full_at: OrderedDict[str, float] = OrderedDict()
        self._waiting = 0

    async def slow_down(self, address: str | None) -> None:
        """Count a wrong key from the address, and wait as long as its answer has to."""
        delay = self._delay_of(_network_of(address or ""), time.monotonic())
        if delay <= 0 or self._waiting >= MAX_WAITING:
            return
        self._waiting += 1
        try:
            await asyncio.sleep(delay)
        finally:
            self._waiting -= 1

    def _delay_of(self, address: str, now: float) -> float:
        earliest = now - FREE_GUESSES * INTERVAL_SECONDS
        next_at = max(self._full_at.pop(address, earliest), earliest) + INTERVAL_SECONDS
        next_at = min(next_at, now + MAX_DELAY_SECONDS)
        self._full_at[address] = next_at
        if len(self._full_at) > MAX_ADDRESSES:
            self._full_at.popitem(last=False)
        return next_at - now


def _network_of(address: str) -> str:
    """Return the address, of IPv6 its network: one caller has all addresses of a /64."""
    try:
        ip = ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(ip, IPv6Address):
        return str(ip.ipv4_mapped or (int(ip) >> 64))
    return str(ip)
