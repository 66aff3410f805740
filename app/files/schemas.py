"""Attachments as the Open API shows them."""

import msgspec
from msgspec.structs import asdict

from app.clock import iso
from app.files.models import Attachment


class UploadData(msgspec.Struct):
    """What was stored; `type` and `media_type` come from the content, `size` is in bytes."""

    attachment_id: str
    filename: str
    type: str
    media_type: str
    size: int

    @classmethod
    def of(cls, attachment: Attachment) -> "UploadData":
        return cls(attachment.id, attachment.filename, attachment.type.value, attachment.media_type, attachment.size)


class AttachmentData(UploadData):
    """An attachment; `sha256` is hexadecimal and is also its ETag."""

    sha256: str
    created_at: str

    @classmethod
    def of(cls, attachment: Attachment) -> "AttachmentData":
        upload = asdict(UploadData.of(attachment))
        return cls(**upload, sha256=attachment.sha256, created_at=iso(attachment.created_at))


class DeletedAttachment(msgspec.Struct):
    """The attachment that is gone."""

    attachment_id: str
