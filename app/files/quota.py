"""The bytes that the attachments of one key may take together."""

from collections.abc import AsyncGenerator, AsyncIterator

from sqlalchemy import Connection, select

from app.errors import PayloadTooLarge
from app.files.models import StorageUseRow


class QuotaExceeded(PayloadTooLarge):
    code = "storage_quota_exceeded"


class StorageQuota:
    """At most `limit` bytes for each key, those that are still arriving included; 0 is no bound."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._arriving: dict[str, int] = {}

    def check(self, connection: Connection, key_id: str) -> None:
        """Raise QuotaExceeded for a key with more than the limit.

        In the transaction that adds an attachment, behind the insert: on PostgreSQL the trigger's update of the sum
        then holds up other transactions of the key until this one is over.
        """
        if self._limit and stored_bytes(connection, key_id) > self._limit:
            raise self._error()

    async def count(self, chunks: AsyncIterator[bytes], key_id: str, stored: int) -> AsyncGenerator[bytes, None]:
        """Pass on a file's chunks while there is room for them beside `stored` bytes and the key's other uploads.

        Iterating raises QuotaExceeded.
        """
        if self._limit and stored >= self._limit:
            raise self._error()
        size = 0
        try:
            async for chunk in chunks:
                size += len(chunk)
                arriving = self._arriving[key_id] = self._arriving.get(key_id, 0) + len(chunk)
                if self._limit and stored + arriving > self._limit:
                    raise self._error()
                yield chunk
        finally:
            remaining = self._arriving.pop(key_id, 0) - size
            if remaining > 0:
                self._arriving[key_id] = remaining

    def _error(self) -> QuotaExceeded:
        return QuotaExceeded(f"The files of this key would take more than {self._limit} bytes together")


def stored_bytes(connection: Connection, key_id: str) -> int:
    """The bytes that a key's attachments count, each as 4 KiB at least."""
    return connection.scalar(select(StorageUseRow.bytes).where(StorageUseRow.key_id == key_id)) or 0
