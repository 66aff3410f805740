"""Taking files in, finding them, giving them back and deleting them."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from typing import Any
from uuid import uuid4

import structlog
from sqlalchemy import Select, delete, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from app.auth.models import Principal
from app.clock import utc_now
from app.database.engine import Database
from app.errors import AppError, NotFound
from app.files.intake import Digest, take_in
from app.files.models import Attachment, AttachmentRow, Kind
from app.files.names import clean_filename
from app.files.sniffing import Sniffer
from app.files.storage import AttachmentStorage
from app.idempotency import AlreadyClaimed, Claim, Idempotency, claim_of, forget, record

Sequel = Callable[[AsyncConnection, Attachment], Awaitable[None]]
"""What else is written in the transaction that makes an attachment exist."""

log = structlog.get_logger(__name__)


class FileService:
    """Attachments of at most `max_upload_bytes` bytes: rows in the database, bytes in the storage.

    A principal bound to a username sees only what was uploaded as that user; to it, the rest does not exist.
    An unbound one, and None (Palaver itself), see all.
    """

    def __init__(
        self, database: Database, storage: AttachmentStorage, idempotency: Idempotency, max_upload_bytes: int
    ) -> None:
        self._database = database
        self._idempotency = idempotency
        self._storage = storage
        self._sniffer = Sniffer()
        self.max_upload_bytes = max_upload_bytes

    async def save(
        self,
        filename: str,
        chunks: AsyncIterator[bytes],
        principal: Principal,
        idempotency_key: str | None = None,
        *,
        sequel: Sequel | None = None,
    ) -> Attachment:
        """Store what `chunks` yields, as it comes; the same file with the same idempotency key is stored once.

        Either the row and the bytes are both there when this returns, or neither is when it raises: PayloadTooLarge,
        Unprocessable for a key that came with another file, Unavailable, or whatever `chunks` or `sequel` raises. A
        cancellation counts as raising.
        """
        name = clean_filename(filename)
        try:
            return await self._save(name, chunks, principal, idempotency_key, sequel)
        except _StoredBefore as before:
            first = await self._idempotency.find(before.claim)
            return await self.get(first["attachment_id"] if first is not None else "", principal)

    async def _save(
        self,
        filename: str,
        chunks: AsyncIterator[bytes],
        principal: Principal,
        idempotency_key: str | None,
        sequel: Sequel | None,
    ) -> Attachment:
        key = self._storage.new_key()
        async with self._storage.new_object(key) as sink:
            digest = Digest()
            await take_in(chunks, digest, sink, self.max_upload_bytes)
            await sink.finish()
            attachment = await self._describe(filename, digest, key, principal)
            claim = claim_of(principal.key_id, "file", idempotency_key, [filename, attachment.sha256])
            await self._insert(attachment, claim, sequel)
        return attachment

    async def get(self, attachment_id: str, principal: Principal | None) -> Attachment:
        """Raises NotFound `Attachment not found`."""
        found = await self.find_many([attachment_id], principal)
        if attachment_id not in found:
            raise _not_found()
        return found[attachment_id]

    async def find_many(self, ids: Collection[str], principal: Principal | None) -> dict[str, Attachment]:
        """Those of `ids` that exist and that the principal may see, by id."""
        if not ids:
            return {}
        query = _visible_to(principal, select(AttachmentRow).where(AttachmentRow.id.in_(set(ids))))
        async with self._database.read_block() as connection:
            return {row.id: _to_attachment(row) for row in await connection.execute(query)}

    async def read(self, attachment: Attachment, limit: int) -> bytes:
        """The bytes, the first `limit` of them at most. Raises Unavailable."""
        return await self._storage.read(attachment.storage_key, 0, min(limit, attachment.size))

    def stream(self, attachment: Attachment, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        """The bytes from `start` up to but without `end` (None: all the rest). Iterating raises Unavailable."""
        end = attachment.size if end is None else min(end, attachment.size)
        return self._storage.stream(attachment.storage_key, start, end)

    async def open_stream(self, attachment: Attachment, start: int, end: int) -> AsyncIterator[bytes]:
        """The same, once its first block has come: what is not there raises Unavailable before an answer begins."""
        blocks = self.stream(attachment, start, end)
        first = await anext(blocks, b"")

        async def all_blocks() -> AsyncIterator[bytes]:
            yield first
            async for block in blocks:
                yield block

        return all_blocks()

    async def delete(self, attachment_id: str, principal: Principal | None) -> None:
        """Remove the attachment; messages that show it keep its name. Raises NotFound, Unavailable."""
        attachment = await self.get(attachment_id, principal)
        async with self._database.write_block() as connection:
            result = await connection.execute(delete(AttachmentRow).where(AttachmentRow.id == attachment_id))
        if result.rowcount == 0:
            raise _not_found()
        # The row goes first: bytes that nothing names do no harm, a name without bytes does.
        await self._storage.delete(attachment.storage_key)

    async def sweep(self) -> int:
        """Remove what killed uploads left in the storage, and say how many; before the server listens."""
        removed = await self._storage.sweep()
        if removed:
            log.info("staged_uploads_swept", count=removed)
        return removed

    async def check(self) -> None:
        """Raises Unavailable when the storage cannot be used: for readiness."""
        await self._storage.check()

    async def _describe(self, filename: str, digest: Digest, key: str, principal: Principal) -> Attachment:
        # Off the event loop: libmagic can take a while over a text that looks like many things.
        sniffed = await asyncio.to_thread(self._sniffer.sniff, bytes(digest.head))
        return Attachment(
            id=str(uuid4()),
            filename=filename,
            type=sniffed.kind,
            media_type=sniffed.media_type,
            charset="utf-8" if sniffed.is_text and digest.is_utf8() else None,
            size=digest.size,
            sha256=digest.hexdigest(),
            storage_key=key,
            owner_username=principal.username,
            key_id=principal.key_id,
            created_at=utc_now(),
        )

    async def _insert(self, attachment: Attachment, claim: Claim | None, sequel: Sequel | None) -> None:
        values = {name: getattr(attachment, name) for name in Attachment.__slots__}
        try:
            async with self._database.write_block() as connection:
                await connection.run_sync(record, claim, {"attachment_id": attachment.id})
                await connection.execute(insert(AttachmentRow).values(**values))
                if sequel is not None:
                    await sequel(connection, attachment)
        except AlreadyClaimed:
            assert claim is not None
            raise _StoredBefore(claim) from None
        except BaseException:
            # A commit that was cancelled may have happened all the same.
            await self._forget(attachment.id, claim)
            raise

    async def _forget(self, attachment_id: str, claim: Claim | None) -> None:
        try:
            async with self._database.write_block() as connection:
                await connection.execute(delete(AttachmentRow).where(AttachmentRow.id == attachment_id))
                await connection.run_sync(forget, claim)
        except AppError as error:
            log.warning("attachment_row_not_removed", attachment_id=attachment_id, exc_info=error.__cause__)


class _StoredBefore(Exception):
    """A request with the same claim was first; what this one brought is discarded."""

    def __init__(self, claim: Claim) -> None:
        super().__init__()
        self.claim = claim


def _visible_to(principal: Principal | None, query: Select[Any]) -> Select[Any]:
    if principal is None or principal.username is None:
        return query
    return query.where(AttachmentRow.owner_username == principal.username)


def _to_attachment(row: Any) -> Attachment:
    values = {name: getattr(row, name) for name in Attachment.__slots__}
    return Attachment(**{**values, "type": Kind(row.type)})


def _not_found() -> NotFound:
    return NotFound("Attachment not found", code="attachment_not_found")
