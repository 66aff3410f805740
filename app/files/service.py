"""Attachments: saving, finding, reading and deleting them."""

import asyncio
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import aclosing
from datetime import datetime
from uuid import uuid4

import structlog
from msgspec.structs import asdict
from sqlalchemy import ColumnElement, Connection, delete, insert, literal, select, true, tuple_

from app.auth.models import Principal
from app.clock import utc_now
from app.database.engine import Database
from app.database.tables import value_of
from app.errors import AppError, NotFound
from app.files.extraction.encodings import NoText, declared_encoding, find_encoding
from app.files.intake import Digest, take_in
from app.files.models import Attachment, AttachmentFilter, AttachmentRow
from app.files.names import clean_filename
from app.files.pending import add_pending, settle
from app.files.quota import StorageQuota, stored_bytes
from app.files.sinks import StorageUnavailable
from app.files.sniffing import FileType, Sniffer
from app.files.storage import AttachmentStorage
from app.idempotency import AlreadyClaimed, Claim, Idempotency, claim_of, forget, is_claimed, record

InTransaction = Callable[[Connection, Attachment], None]
"""Writes more in the transaction that makes an attachment exist."""

log = structlog.get_logger(__name__)


class FileService:
    """Attachments of at most `max_upload_bytes` bytes: rows in the database, bytes in the storage.

    A principal bound to a username sees only what was uploaded as that user; to it, the rest does not exist.
    An unbound one, and None (Palaver itself), see all. Uploads to a storage that others may use too are `tracked`: see
    `app/files/pending.py`.
    """

    def __init__(
        self,
        database: Database,
        storage: AttachmentStorage,
        idempotency: Idempotency,
        quota: StorageQuota,
        max_upload_bytes: int,
        *,
        tracked: bool = False,
    ) -> None:
        self._database = database
        self._tracked = tracked
        self._idempotency = idempotency
        self._quota = quota
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
        in_transaction: InTransaction | None = None,
    ) -> Attachment:
        """Store a file as it comes; the same file with the same idempotency key is stored once.

        Either the row and the bytes are both there when this returns, or neither is when it raises: PayloadTooLarge,
        QuotaExceeded, Unprocessable for a key that came with another file, Unavailable, or whatever `chunks` or
        `in_transaction` raises. A cancellation counts as raising.
        """
        filename = clean_filename(filename)
        claim: Claim | None = None
        key = self._storage.new_key()
        stored = await self._stored_bytes(principal, idempotency_key)
        if self._tracked:
            await self._database.write(lambda connection: add_pending(connection, key))
        try:
            async with self._storage.new_object(key) as sink:
                digest = Digest()
                async with aclosing(self._quota.count(chunks, principal.key_id, stored)) as counted_chunks:
                    await take_in(counted_chunks, digest, sink, self.max_upload_bytes)
                await sink.finish()
                attachment = await self._describe(filename, digest, key, principal)
                claim = claim_of(principal.key_id, "file", idempotency_key, [filename, attachment.sha256])
                await self._insert(attachment, claim, in_transaction)
        except AlreadyClaimed:
            assert claim is not None
            result = await self._idempotency.find(claim) or {}
            return await self.get(result.get("attachment_id", ""), principal)
        return attachment

    async def get(self, attachment_id: str, principal: Principal | None) -> Attachment:
        """The attachment with an id. Raises NotFound `Attachment not found`."""
        attachments = await self.find_many([attachment_id], principal)
        if attachment_id not in attachments:
            raise _not_found()
        return attachments[attachment_id]

    async def list_files(
        self, principal: Principal, chosen: AttachmentFilter, *, before: tuple[datetime, str] | None, limit: int
    ) -> list[Attachment]:
        """List the attachments that the principal sees, the newest first, beyond a place in the list."""
        return await self._database.read(
            lambda connection: list_attachments(connection, principal, chosen, before=before, limit=limit)
        )

    async def find_many(self, ids: Collection[str], principal: Principal | None) -> dict[str, Attachment]:
        """The attachments among `ids`, by id, except those hidden from the principal."""
        if not ids:
            return {}
        return await self._database.read(lambda connection: find_attachments(connection, ids, principal))

    async def find_usable(
        self, ids: Collection[str], principal: Principal, username: str | None
    ) -> dict[str, Attachment]:
        """The attachments among `ids`, by id, that the principal may use when it acts for a user (None: for nobody)."""
        attachments = await self.find_many(ids, principal)
        return {id: each for id, each in attachments.items() if each.is_usable(principal.key_id, username)}

    async def read(self, attachment: Attachment, limit: int) -> bytes:
        """The bytes, the first `limit` of them at most. Raises Unavailable."""
        return await self._storage.read(attachment.storage_key, 0, min(limit, attachment.size))

    def stream(self, attachment: Attachment, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        """The bytes from `start` up to but without `end` (None: all the rest). Iterating raises Unavailable."""
        end = attachment.size if end is None else min(end, attachment.size)
        return self._storage.stream(attachment.storage_key, start, end)

    async def open_stream(self, attachment: Attachment, start: int, end: int) -> AsyncIterator[bytes]:
        """The same, with the first block read already: missing bytes raise Unavailable before an answer begins."""
        blocks = self.stream(attachment, start, end)
        first_block = await anext(blocks, b"")

        async def all_blocks() -> AsyncIterator[bytes]:
            yield first_block
            async for block in blocks:
                yield block

        return all_blocks()

    async def delete(self, attachment_id: str, principal: Principal | None) -> None:
        """Remove the attachment; messages that show it keep its name. Raises NotFound, Unavailable."""
        attachment = await self._database.write(
            lambda connection: remove_attachment(connection, attachment_id, principal)
        )
        if attachment is None:
            raise _not_found()
        # The row goes first: bytes that nothing names do no harm, a name without bytes does.
        await self._storage.delete(attachment.storage_key)

    async def _stored_bytes(self, principal: Principal, idempotency_key: str | None) -> int:
        """Count what the key has stored; nothing for an upload that repeats one, which needs no room."""

        def count(connection: Connection) -> int:
            if is_claimed(connection, principal.key_id, "file", idempotency_key):
                return 0
            return stored_bytes(connection, principal.key_id)

        return await self._database.read(count)

    async def _describe(self, filename: str, digest: Digest, key: str, principal: Principal) -> Attachment:
        # Off the event loop: libmagic can take a while over a text that looks like many things.
        file_type = await asyncio.to_thread(self._sniffer.sniff, bytes(digest.head))
        return Attachment(
            id=str(uuid4()),
            filename=filename,
            type=file_type.kind,
            media_type=file_type.media_type,
            charset=await asyncio.to_thread(_encoding_of, file_type, digest),
            size=digest.size,
            sha256=digest.hexdigest(),
            storage_key=key,
            owner_username=principal.username,
            key_id=principal.key_id,
            created_at=utc_now(),
        )

    async def _insert(self, attachment: Attachment, claim: Claim | None, in_transaction: InTransaction | None) -> None:
        def insert_all(connection: Connection) -> None:
            record(connection, claim, {"attachment_id": attachment.id})
            if self._tracked and not settle(connection, attachment.storage_key):
                raise StorageUnavailable  # it has taken more than a day
            connection.execute(insert(AttachmentRow).values(**asdict(attachment)))
            if in_transaction is not None:
                in_transaction(connection, attachment)
            self._quota.check(connection, attachment.key_id)

        def undo(connection: Connection) -> None:
            remove_attachment(connection, attachment.id, None)
            forget(connection, claim)

        try:
            await self._database.write(insert_all)
        except AlreadyClaimed:
            raise
        except BaseException:
            # A commit that was cancelled may have happened all the same.
            try:
                await self._database.write(undo)
            except AppError as error:
                log.warning("attachment_row_not_removed", attachment_id=attachment.id, exc_info=error.__cause__)
            raise


def _encoding_of(file_type: FileType, digest: Digest) -> str | None:
    """The encoding of a text, if it is sure; of a long one that is not UTF-8, by its first bytes."""
    if not file_type.may_be_text:
        return None
    if digest.is_utf8():
        return "utf-8" if file_type.is_text else None
    head = bytes(digest.head)
    try:
        encoding = find_encoding(head, declared_encoding(head), is_cut=digest.size > len(head))
    except NoText:
        return None
    return encoding.name if encoding.is_sure and encoding.name != "utf-8" else None


def find_attachments(
    connection: Connection, ids: Collection[str], principal: Principal | None
) -> dict[str, Attachment]:
    """The attachments among `ids`, by id, except those hidden from the principal."""
    rows = connection.execute(select(AttachmentRow).where(_among(ids, principal)))
    return {row.id: value_of(Attachment, row) for row in rows}


def list_attachments(
    connection: Connection,
    principal: Principal,
    chosen: AttachmentFilter,
    *,
    before: tuple[datetime, str] | None,
    limit: int,
) -> list[Attachment]:
    page = select(AttachmentRow).where(_seen_by(principal))
    if chosen.username is not None:
        page = page.where(AttachmentRow.owner_username == chosen.username)
    if chosen.search is not None:
        page = page.where(AttachmentRow.filename.icontains(chosen.search, autoescape=True))
    if chosen.kind is not None:
        page = page.where(AttachmentRow.type == chosen.kind)
    if before is not None:
        page = page.where(tuple_(AttachmentRow.created_at, AttachmentRow.id) < tuple_(*map(literal, before)))
    newest_first = page.order_by(AttachmentRow.created_at.desc(), AttachmentRow.id.desc())
    return [value_of(Attachment, row) for row in connection.execute(newest_first.limit(limit))]


def remove_attachment(connection: Connection, attachment_id: str, principal: Principal | None) -> Attachment | None:
    """Delete an attachment's row and return the attachment; None for one that is hidden or does not exist."""
    statement = delete(AttachmentRow).where(_among([attachment_id], principal)).returning(AttachmentRow)
    row = connection.execute(statement).first()
    return None if row is None else value_of(Attachment, row)


def _among(ids: Collection[str], principal: Principal | None) -> ColumnElement[bool]:
    # PostgreSQL refuses a NUL, even to compare with it; no id has one.
    return AttachmentRow.id.in_([id for id in ids if "\0" not in id]) & _seen_by(principal)


def _seen_by(principal: Principal | None) -> ColumnElement[bool]:
    if principal is None or principal.username is None:
        return true()
    return AttachmentRow.owner_username == principal.username


def _not_found() -> NotFound:
    return NotFound("Attachment not found", code="attachment_not_found")
