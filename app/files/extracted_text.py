"""The texts of attachments that are documents: made when first wanted, then kept beside them."""

import asyncio
import hashlib
from typing import Any

import msgspec
import structlog
from sqlalchemy import delete, insert, select
from sqlalchemy.exc import IntegrityError

from app.clock import utc_now
from app.database.engine import Database
from app.errors import AppError
from app.files.extraction.models import READER_VERSION, ExtractedText, Reason
from app.files.extraction.reader import DocumentReader
from app.files.models import Attachment, AttachmentTextRow, Kind
from app.files.refusals import DocumentRefused
from app.files.service import FileService

Outcome = ExtractedText | DocumentRefused

log = structlog.get_logger(__name__)


class ExtractedTextService:
    """Texts by attachment. Who wants one is let in before: ask FileService for the attachment with the caller."""

    def __init__(self, database: Database, files: FileService, reader: DocumentReader) -> None:
        self._database = database
        self._files = files
        self._reader = reader
        limits = hashlib.sha256(msgspec.json.encode(reader.limits)).hexdigest()[:16]
        self._made_by = f"{READER_VERSION}:{limits}"
        self._under_way: dict[str, asyncio.Task[Outcome]] = {}

    async def text_of(self, attachment: Attachment) -> ExtractedText:
        """The text of the attachment, extracted once, however many ask for it at once or later.

        A refusal is remembered like a text, until the reader or its limits change. Raises DocumentRefused,
        Unavailable. A caller that is cancelled does not stop the work, which others may be waiting for.
        """
        if attachment.type is not Kind.FILE:
            explanation = f"it is no document ({attachment.media_type})"
            raise DocumentRefused(attachment.filename, Reason.UNSUPPORTED, explanation)
        self._reader.check_size(attachment.filename, attachment.size)
        outcome = await self._stored(attachment)
        if outcome is None:
            task = self._under_way.get(attachment.id)
            if task is None:
                task = asyncio.create_task(self._make(attachment))
                self._under_way[attachment.id] = task
                task.add_done_callback(lambda _: self._under_way.pop(attachment.id, None))
            outcome = await asyncio.shield(task)
        if isinstance(outcome, DocumentRefused):
            # A new one for each: an exception that is raised twice collects both its ways.
            raise DocumentRefused(attachment.filename, outcome.reason, outcome.explanation)
        return outcome

    async def close(self) -> None:
        """Stop what is under way, and the reader; who waits is told Unavailable."""
        await self._reader.close()
        await asyncio.gather(*self._under_way.values(), return_exceptions=True)

    async def _stored(self, attachment: Attachment) -> Outcome | None:
        query = select(AttachmentTextRow).where(
            AttachmentTextRow.attachment_id == attachment.id, AttachmentTextRow.made_by == self._made_by
        )
        async with self._database.read_block() as connection:
            row = (await connection.execute(query)).one_or_none()
        if row is None:
            return None
        if row.reason is not None:
            return DocumentRefused(attachment.filename, Reason(row.reason), row.text)
        return msgspec.convert({**row.details, "text": row.text}, ExtractedText)

    async def _make(self, attachment: Attachment) -> Outcome:
        outcome: Outcome
        try:
            content = self._files.stream(attachment)
            outcome = await self._reader.read(content, attachment.filename, attachment.media_type)
        except DocumentRefused as refused:
            outcome = refused
        try:
            await self._store(attachment.id, outcome)
        except AppError as error:
            # The text is there all the same, and will be made again when it is next wanted.
            log.warning("attachment_text_not_stored", attachment_id=attachment.id, exc_info=error.__cause__)
        return outcome

    async def _store(self, attachment_id: str, outcome: Outcome) -> None:
        if isinstance(outcome, DocumentRefused):
            values: dict[str, Any] = {"reason": outcome.reason.value, "text": outcome.explanation, "details": {}}
        else:
            details = msgspec.to_builtins(outcome)
            values = {"reason": None, "text": details.pop("text"), "details": details}
        try:
            async with self._database.write_block() as connection:
                await connection.execute(
                    delete(AttachmentTextRow).where(AttachmentTextRow.attachment_id == attachment_id)
                )
                await connection.execute(
                    insert(AttachmentTextRow).values(
                        attachment_id=attachment_id, made_by=self._made_by, created_at=utc_now(), **values
                    )
                )
        except IntegrityError:
            log.info("attachment_gone_while_read", attachment_id=attachment_id)
