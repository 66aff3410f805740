"""Taking files in, finding them, giving them back and deleting them."""

from collections.abc import AsyncIterator, Collection

from app.auth.models import Principal
from app.files.models import Attachment
from app.files.storage import AttachmentStorage
from app.kit.db import Database


class FileService:
    """Attachments of at most `max_upload_bytes` bytes: rows in the database, bytes in the storage.

    A principal bound to a username sees only what was uploaded as that user; to it, the rest does not exist.
    An unbound one, and None (Palaver itself), see all.
    """

    def __init__(self, database: Database, storage: AttachmentStorage, max_upload_bytes: int) -> None:
        self._database = database
        self._storage = storage
        self.max_upload_bytes = max_upload_bytes

    async def save(self, filename: str, chunks: AsyncIterator[bytes], principal: Principal) -> Attachment:
        """Store what `chunks` yields. Raises PayloadTooLarge, Unavailable, and whatever `chunks` raises."""
        raise NotImplementedError

    async def get(self, attachment_id: str, principal: Principal | None) -> Attachment:
        """Raises NotFound `Attachment not found`."""
        raise NotImplementedError

    async def find_many(self, ids: Collection[str], principal: Principal | None) -> dict[str, Attachment]:
        """Those of `ids` that exist and that the principal may see, by id."""
        raise NotImplementedError

    async def read(self, attachment: Attachment, limit: int) -> bytes:
        """The first `limit` bytes at most. Raises Unavailable."""
        raise NotImplementedError

    def stream(self, attachment: Attachment, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        """The bytes from `start` up to but without `end` (None: all the rest)."""
        raise NotImplementedError

    async def delete(self, attachment_id: str, principal: Principal | None) -> None:
        """Raises NotFound."""
        raise NotImplementedError

    async def sweep(self) -> int:
        """Remove what uploads that were killed left in the storage; for the start of the server, before it listens."""
        raise NotImplementedError
