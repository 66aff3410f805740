"""Formats of documents, by their content; name and declared type are only the sender's claim."""

import re
from enum import StrEnum
from zipfile import ZipFile

from app.files.extraction.models import DocumentLimits, Reason, Unreadable
from app.files.extraction.packages import open_package

SUPPORTED = "supported are PDF, DOCX, XLSX, PPTX, HTML and plain text in any form"

_OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_MAIN_PARTS = {
    b"wordprocessingml.document.main+xml": "docx",
    b"spreadsheetml.sheet.main+xml": "xlsx",
    b"ms-excel.sheet.macroenabled.main+xml": "xlsx",
    b"spreadsheetml.template.main+xml": "xlsx",
    b"presentationml.presentation.main+xml": "pptx",
    b"ms-powerpoint.presentation.macroenabled.main+xml": "pptx",
}
_HTML = re.compile(
    rb"(?:\xef\xbb\xbf)?\s*(?:<\?xml[^>]*>\s*|<!--.*?-->\s*)*<(?:!doctype\s+html|html)[\s>]", re.IGNORECASE | re.DOTALL
)
_MEDIA_TYPES = {
    "application/pdf": "pdf",
    "application/vnd.openxmlformats-officedocument.wordprocessingml.document": "docx",
    "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet": "xlsx",
    "application/vnd.openxmlformats-officedocument.presentationml.presentation": "pptx",
}


class Format(StrEnum):
    PDF = "pdf"
    DOCX = "docx"
    XLSX = "xlsx"
    PPTX = "pptx"
    HTML = "html"
    TEXT = "text"


def detect(data: bytes, filename: str, media_type: str, limits: DocumentLimits) -> Format:
    """The format of a document. Raises Unreadable for no supported format, or another than claimed."""
    if not data.strip(b" \t\r\n\f\0"):
        raise Unreadable(Reason.EMPTY, "it is empty")
    claimed = claimed_format(filename, media_type)
    if b"%PDF-" in data[:1024]:
        return Format.PDF
    if data.startswith(b"PK\x03\x04"):
        return _package_format(data, claimed, limits)
    if data.startswith(_OLE):
        raise _refuse_ole(data)
    if data.startswith(b"{\\rtf"):
        raise Unreadable(Reason.UNSUPPORTED, f"RTF is not supported ({SUPPORTED})")
    if claimed is not None:
        raise Unreadable(Reason.MISMATCH, f"its content is not that of a {claimed.upper()} file")
    if _HTML.match(data[:65536]) or (extension_of(filename) in ("html", "htm", "xhtml") and b"<" in data):
        return Format.HTML
    return Format.TEXT


def claimed_format(filename: str, media_type: str) -> str | None:
    """The binary format that the name claims, or else the declared type."""
    extension = extension_of(filename)
    if extension in _MEDIA_TYPES.values():
        return extension
    return _MEDIA_TYPES.get(media_type.partition(";")[0].strip().lower()) if not extension else None


def extension_of(filename: str) -> str:
    return filename.rpartition(".")[2].lower() if "." in filename else ""


def _package_format(data: bytes, claimed: str | None, limits: DocumentLimits) -> Format:
    with open_package(data, limits) as package:
        types = _content_types(package)
        for main_part, main_format in _MAIN_PARTS.items():
            if main_part in types:
                _refuse_strict(package)
                return Format(main_format)
        if b"openxmlformats" in types or b"ms-word" in types or b"ms-excel" in types:
            raise Unreadable(Reason.UNSUPPORTED, f"this kind of Office file is not supported ({SUPPORTED})")
        if "mimetype" in package.namelist() and b"opendocument" in package.read("mimetype")[:200]:
            raise Unreadable(Reason.UNSUPPORTED, f"OpenDocument is not supported ({SUPPORTED})")
    if claimed is not None:
        raise Unreadable(Reason.MISMATCH, f"its content is not that of a {claimed.upper()} file")
    raise Unreadable(Reason.UNSUPPORTED, f"archives are not supported ({SUPPORTED})")


def _content_types(package: ZipFile) -> bytes:
    if "[Content_Types].xml" not in package.namelist():
        return b""
    return package.read("[Content_Types].xml").lower()


def _refuse_strict(package: ZipFile) -> None:
    if "_rels/.rels" in package.namelist() and b"purl.oclc.org/ooxml" in package.read("_rels/.rels"):
        raise Unreadable(Reason.UNSUPPORTED, "it is saved as Strict Open XML; save it in the ordinary format")


def _refuse_ole(data: bytes) -> Unreadable:
    # The names in the directory of an OLE file are UTF-16.
    if "EncryptedPackage".encode("utf-16-le") in data:
        return Unreadable(Reason.ENCRYPTED, "it is protected with a password")
    return Unreadable(Reason.UNSUPPORTED, f"the old binary Office formats are not supported ({SUPPORTED})")
