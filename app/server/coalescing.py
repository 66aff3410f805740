"""What is written in one turn of the loop, sent in one call of the system.

An answer's head, its body and the mark of its end are written one by one. Each call costs what a dozen lines of Python
cost, wakes the reader by itself, and was a quarter of all the work for a streamed reply.
"""

import asyncio
from typing import Any

MOST_BYTES = 64 * 1024
"""What is not kept for the end of the turn, as it is worth a call of its own."""


class CoalescingTransport:
    """The transport below, but for its writes, which wait for the end of the turn."""

    __slots__ = ("_loop", "_pending", "_size", "_transport")

    def __init__(self, loop: asyncio.AbstractEventLoop, transport: asyncio.WriteTransport) -> None:
        self._loop = loop
        self._transport = transport
        self._pending: list[bytes] = []
        self._size = 0

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if not data:
            return
        if not self._pending:
            self._loop.call_soon(self.flush)
        self._pending.append(bytes(data))
        self._size += len(data)
        if self._size >= MOST_BYTES:
            self.flush()

    def flush(self) -> None:
        """Send what waits."""
        pending, self._pending, self._size = self._pending, [], 0
        if pending and not self._transport.is_closing():
            self._transport.write(pending[0] if len(pending) == 1 else b"".join(pending))

    def writelines(self, list_of_data: Any) -> None:
        self.write(b"".join(list_of_data))

    def write_eof(self) -> None:
        self.flush()
        self._transport.write_eof()

    def close(self) -> None:
        self.flush()
        self._transport.close()

    def abort(self) -> None:
        self._pending = []
        self._transport.abort()

    def get_write_buffer_size(self) -> int:
        return self._size + self._transport.get_write_buffer_size()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)
