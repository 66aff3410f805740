"""Write coalescing: what is written in one turn of the event loop is sent in one system call.

Servers write an answer's head, its body and its end one by one. Each system call costs as much as a dozen lines of
Python and wakes the reader; they were a quarter of the CPU of a streamed reply.
"""

import asyncio
from typing import Any

# As much as is worth a system call before the turn ends.
MAX_PENDING_BYTES = 64 * 1024


class CoalescingTransport:
    """A transport whose writes wait for the end of the turn; all else is the wrapped transport's.

    `is_closing` is asked for each write.
    """

    __slots__ = ("_loop", "_pending", "_size", "_transport", "is_closing")

    def __init__(self, loop: asyncio.AbstractEventLoop, transport: asyncio.WriteTransport) -> None:
        self._loop = loop
        self._transport = transport
        self.is_closing = transport.is_closing
        self._pending: list[bytes] = []
        self._size = 0

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if not data:
            return
        if not self._pending:
            self._loop.call_soon(self.flush)
        self._pending.append(bytes(data))
        self._size += len(data)
        if self._size >= MAX_PENDING_BYTES:
            self.flush()

    def flush(self) -> None:
        """Send the pending writes."""
        pending, self._pending, self._size = self._pending, [], 0
        if pending and not self.is_closing():
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
