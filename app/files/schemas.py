"""Attachments as the Open API shows them."""

from typing import Annotated, Literal, Self

import msgspec
from msgspec import Meta

from app.edge.schemas import DateTime, example, shape_of
from app.files.models import Attachment

BINARY = {"type": "string", "format": "binary"}
FILE_FORM = {
    "title": "FileUpload",
    "type": "object",
    "description": "A form with a file.",
    "required": ["file"],
    "properties": {"file": {**BINARY, "description": "The file."}},
}
EXAMPLE_ID = "0b7f6a52-6d3f-4f1f-9d53-0a4f5a1c2e11"

AttachmentId = Annotated[str, example(EXAMPLE_ID)]


class UploadData(msgspec.Struct, kw_only=True):
    """What was stored; `type` and `media_type` come from the content, `size` is in bytes.

    `encoding` is that of a text, by its content; left out when it is not sure, and for other files.
    """

    attachment_id: AttachmentId
    filename: Annotated[str, example("cat.png")]
    type: Annotated[Literal["image", "record", "video", "file"], example("image")]
    media_type: Annotated[str, example("image/png")]
    size: Annotated[int, example(48213)]
    encoding: str | msgspec.UnsetType = msgspec.UNSET

    @classmethod
    def of(cls, attachment: Attachment) -> Self:
        return shape_of(cls, attachment, attachment_id=attachment.id, encoding=attachment.charset or msgspec.UNSET)


class AttachmentData(UploadData, kw_only=True):
    """An attachment; `sha256` is hexadecimal and is also its ETag."""

    sha256: Annotated[str, example("9f" * 32)]
    created_at: DateTime


class AttachmentItem(AttachmentData, kw_only=True):
    """An attachment in a list, with the user that it belongs to."""

    username: Annotated[
        str | None, Meta(description="The user that it was uploaded as; null for none."), example("alice")
    ]

    @classmethod
    def of(cls, attachment: Attachment) -> Self:
        encoding = attachment.charset or msgspec.UNSET
        names = {"attachment_id": attachment.id, "username": attachment.owner_username, "encoding": encoding}
        return shape_of(cls, attachment, **names)


class AttachmentPage(msgspec.Struct):
    """One page of attachments, the newest first."""

    files: Annotated[list[AttachmentItem], Meta(description="The attachments, the newest first.")]
    next_cursor: str | None


class DeletedAttachment(msgspec.Struct):
    """The attachment that is gone."""

    attachment_id: AttachmentId
