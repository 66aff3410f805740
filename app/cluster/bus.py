"""The bus between servers: hints, and copies of what the database will have. Nothing depends on their arrival.

A message is given to each of its receivers once at most. Whoever waits for one looks into the database as well.
"""

from collections.abc import Callable
from typing import Any, Protocol

Act = Callable[..., None]
"""Takes the arguments of a message; it runs on the event loop, and must not wait."""


class Bus(Protocol):
    """Messages to other servers, each of a kind and with arguments that MessagePack has words for."""

    is_shared: bool
    """Whether there may be other servers at all."""

    @property
    def sure(self) -> bool:
        """Whether messages arrive: the bus has heard itself of late."""

    def on(self, kind: str, act: Act) -> None:
        """Have `act` called for each message of a kind."""

    def fits(self, size: int) -> bool:
        """Whether a message with an argument of so many bytes can be sent."""

    def tell(self, server_id: str, kind: str, *arguments: Any) -> None:
        """Send a message to a server, soon; does not wait, and says nothing of a failure."""

    def tell_all(self, kind: str, *arguments: Any) -> None:
        """Send a message to all servers, this one included."""

    async def open(self, namespace: str) -> None:
        """Begin to send and to hear what is sent in the namespace. Does not fail: it tries until it can."""

    async def close(self) -> None: ...


class NoBus:
    """No bus: nothing is sent, and each look into the database finds what it has to."""

    sure = False

    def __init__(self, *, is_shared: bool = False) -> None:
        self.is_shared = is_shared

    def on(self, kind: str, act: Act) -> None:
        """Nothing will be heard."""

    def fits(self, size: int) -> bool:
        return True

    def tell(self, server_id: str, kind: str, *arguments: Any) -> None:
        """Nobody hears it."""

    def tell_all(self, kind: str, *arguments: Any) -> None:
        """Nobody hears it."""

    async def open(self, namespace: str) -> None:
        """There is nothing to open."""

    async def close(self) -> None:
        """There is nothing to close."""
