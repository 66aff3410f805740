"""Formats of documents, by their content; name and declared type are only the sender's claim."""

import codecs
import re
from enum import StrEnum
from zipfile import ZipFile

from app.files.extraction.models import DocumentLimits, Reason, Unreadable
from app.files.extraction.packages import CONTENT_TYPES, is_package, open_package, part_name

SUPPORTED = "supported are PDF, DOCX, XLSX, PPTX, HTML and plain text in any form"

_OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_MAIN_PARTS = {
    b"wordprocessingml.document.main+xml": "docx",
    b"spreadsheetml.sheet.main+xml": "xlsx",
    b"ms-excel.sheet.macroenabled.main+xml": "xlsx",
    b"spreadsheetml.template.main+xml": "xlsx",
    b"presentationml.presentation.main+xml": "pptx",
    b"ms-powerpoint.presentation.macroenabled.main+xml": "pptx",
    # Macros are never run, and templates and shows are documents by another name.
    b"wordprocessingml.template.main+xml": "docx",
    b"ms-word.document.macroenabled.main+xml": "docx",
    b"ms-word.template.macroenabledtemplate.main+xml": "docx",
    b"ms-word.template.macroenabled.main+xml": "docx",
    b"ms-excel.template.macroenabled.main+xml": "xlsx",
    b"ms-excel.addin.macroenabled.main+xml": "xlsx",
    b"presentationml.template.main+xml": "pptx",
    b"presentationml.slideshow.main+xml": "pptx",
    b"ms-powerpoint.template.macroenabled.main+xml": "pptx",
    b"ms-powerpoint.slideshow.macroenabled.main+xml": "pptx",
}
# Where the types are missing, the folders tell.
_FOLDERS = {"word/document.xml": "docx", "xl/workbook.xml": "xlsx", "ppt/presentation.xml": "pptx"}
_PAGE = re.compile(rb"<(?:!doctype\s{1,64}html|html)[\s>]", re.IGNORECASE)
_FRAGMENT = re.compile(
    rb"<(?:head|meta|title|style|body|table|div|p|h[1-6]|ul|ol|font|center|span)[\s>/]", re.IGNORECASE
)
_PAGE_NAMES = ("html", "htm", "xhtml")
# Web applications give these names to the pages that they offer for downloading.
_FRAGMENT_NAMES = (*_PAGE_NAMES, "xls", "doc")
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
    if b"%PDF-" in data[: 65536 if claimed == "pdf" else 1024]:
        return Format.PDF
    if is_package(data):
        return _package_format(data, claimed, limits)
    if data.startswith(_OLE):
        raise _refuse_ole(data)
    if data.startswith(b"{\\rtf"):
        raise Unreadable(Reason.UNSUPPORTED, f"RTF is not supported ({SUPPORTED})")
    if claimed is not None:
        raise Unreadable(Reason.MISMATCH, f"its content is not that of a {claimed.upper()} file")
    return Format.HTML if _is_html(data[:65536], extension_of(filename)) else Format.TEXT


def _is_html(head: bytes, extension: str) -> bool:
    if extension in _PAGE_NAMES and b"<" in head:
        return True
    head = head.removeprefix(codecs.BOM_UTF8)
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) or head[:4] in (b"<\0!\0", b"<\0h\0", b"\0<\0!"):
        head = head.replace(b"\0", b"").lstrip(b"\xff\xfe")
    position = _after_prolog(head)
    if _PAGE.match(head, position):
        return True
    return extension in _FRAGMENT_NAMES and _FRAGMENT.match(head, position) is not None


def _after_prolog(head: bytes) -> int:
    """The place behind an XML declaration and comments, in linear time."""
    position = 0
    while True:
        while head[position : position + 1].isspace():
            position += 1
        if head.startswith(b"<!--", position):
            end = head.find(b"-->", position + 4)
        elif head.startswith(b"<?xml", position):
            end = head.find(b">", position)
        else:
            return position
        if end == -1:
            return position
        position = head.index(b">", end) + 1


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
        names = {part_name(member).lower() for member in package.infolist()}
        for main_part, main_format in _MAIN_PARTS.items():
            if main_part in types:
                _refuse_strict(package)
                return Format(main_format)
        if b"ms-excel.sheet.binary" in types or "xl/workbook.bin" in names:
            explanation = "it is a binary workbook (XLSB); save it as XLSX"
            raise Unreadable(Reason.UNSUPPORTED, explanation)
        for name, main_format in _FOLDERS.items():
            if name in names:
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
    for member in package.infolist():
        if part_name(member).lower() == CONTENT_TYPES.lower():
            return package.read(member).lower()
    return b""


def _refuse_strict(package: ZipFile) -> None:
    if "_rels/.rels" in package.namelist() and b"purl.oclc.org/ooxml" in package.read("_rels/.rels"):
        raise Unreadable(Reason.UNSUPPORTED, "it is saved as Strict Open XML; save it in the ordinary format")


def _refuse_ole(data: bytes) -> Unreadable:
    # The names in the directory of an OLE file are UTF-16.
    if "EncryptedPackage".encode("utf-16-le") in data:
        return Unreadable(Reason.ENCRYPTED, "it is protected with a password")
    return Unreadable(Reason.UNSUPPORTED, f"the old binary Office formats are not supported ({SUPPORTED})")
