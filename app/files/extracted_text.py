"""The texts of attachments that are documents: extracted when first needed, then stored."""

import asyncio
import hashlib
from collections.abc import Mapping
from typing import Any

import msgspec
import structlog
from sqlalchemy import Connection, Row, delete, insert, select
from sqlalchemy.exc import IntegrityError

from app.clock import utc_now
from app.database.engine import Database
from app.errors import AppError
from app.files.extraction.models import READER_VERSION, ExtractedText, Reason
from app.files.extraction.reader import DocumentReader
from app.files.models import Attachment, AttachmentTextRow, Kind
from app.files.refusals import DocumentRefused
from app.files.service import FileService
from app.workers.turns import NOBODY, Caller

Result = ExtractedText | DocumentRefused

log = structlog.get_logger(__name__)


class ExtractedTextService:
    """Texts by attachment. The caller is not checked here: FileService did so when it gave the attachment."""

    def __init__(self, database: Database, files: FileService, reader: DocumentReader) -> None:
        self._database = database
        self._files = files
        self._reader = reader
        limits = hashlib.sha256(msgspec.json.encode(reader.limits)).hexdigest()[:16]
        self._made_by = f"{READER_VERSION}:{limits}"
        self._tasks: dict[str, asyncio.Task[Result]] = {}

    async def text_of(self, attachment: Attachment, caller: Caller = NOBODY) -> ExtractedText:
        """The text of the attachment, extracted once for all callers.

        A refusal is stored like a text, until the reader or its limits change. Raises DocumentRefused, TooManyRequests,
        Unavailable. A caller that is cancelled does not stop the work, which others may be waiting for.
        """
        if attachment.type is not Kind.FILE:
            explanation = f"it is no document ({attachment.media_type})"
            raise DocumentRefused(attachment.filename, Reason.UNSUPPORTED, explanation)
        self._reader.check_size(attachment.filename, attachment.size)
        result = await self._find(attachment)
        if result is None:
            task = self._tasks.get(attachment.id)
            if task is None:
                task = asyncio.create_task(self._extract(attachment, caller))
                self._tasks[attachment.id] = task
                task.add_done_callback(lambda _: self._tasks.pop(attachment.id, None))
            result = await asyncio.shield(task)
        if isinstance(result, DocumentRefused):
            # A new one for each caller: an exception that is raised twice has both tracebacks.
            raise DocumentRefused(attachment.filename, result.reason, result.explanation)
        return result

    async def close(self) -> None:
        """End the reader; callers that wait get Unavailable."""
        await self._reader.close()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    async def _find(self, attachment: Attachment) -> Result | None:
        row = await self._database.read(lambda connection: find_text(connection, attachment.id, self._made_by))
        if row is None:
            return None
        if row.reason is not None:
            return DocumentRefused(attachment.filename, Reason(row.reason), row.text)
        return msgspec.convert({**row.details, "text": row.text}, ExtractedText)

    async def _extract(self, attachment: Attachment, caller: Caller) -> Result:
        result: Result
        try:
            content = self._files.stream(attachment)
            result = await self._reader.read(content, attachment.filename, attachment.media_type, caller=caller)
        except DocumentRefused as refusal:
            result = refusal
        values = _values_of(result) | {"attachment_id": attachment.id, "made_by": self._made_by}
        try:
            await self._database.write(lambda connection: replace_text(connection, values))
        except IntegrityError:
            log.info("attachment_deleted_while_read", attachment_id=attachment.id)
        except AppError as error:
            # The text is there all the same, and will be extracted again when it is next needed.
            log.warning("attachment_text_not_stored", attachment_id=attachment.id, exc_info=error.__cause__)
        return result


def find_text(connection: Connection, attachment_id: str, made_by: str) -> Row[Any] | None:
    """The stored row of an attachment's text; None for no text, or one of another make."""
    query = select(AttachmentTextRow).where(
        AttachmentTextRow.attachment_id == attachment_id, AttachmentTextRow.made_by == made_by
    )
    return connection.execute(query).one_or_none()


def replace_text(connection: Connection, values: Mapping[str, Any]) -> None:
    """Store a text instead of the one before. Raises IntegrityError when the attachment is gone."""
    attachment_id = values["attachment_id"]
    connection.execute(delete(AttachmentTextRow).where(AttachmentTextRow.attachment_id == attachment_id))
    connection.execute(insert(AttachmentTextRow).values(**values, created_at=utc_now()))


def _values_of(result: Result) -> dict[str, Any]:
    if isinstance(result, DocumentRefused):
        return {"reason": result.reason.value, "text": result.explanation, "details": {}}
    details = msgspec.to_builtins(result)
    return {"reason": None, "text": details.pop("text"), "details": details}
