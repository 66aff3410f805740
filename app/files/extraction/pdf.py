"""PDF by pypdf: page after page, with its number; headers and footers are part of their pages."""

import re
from io import BytesIO
from typing import Final

from pypdf import PageObject, PasswordType, PdfReader
from pypdf.errors import FileNotDecryptedError, LimitReachedError, PyPdfError
from pypdf.generic import DictionaryObject

from app.files.extraction.models import BROKEN, DocumentLimits, Reason, Unreadable
from app.files.extraction.output import TextOutput
from app.files.extraction.pdf_encodings import add_encodings
from app.files.extraction.pdf_forms import Form
from app.files.extraction.pdf_trailer import with_trailer

MAX_GAP: Final = 40
_GAPS: Final = re.compile(f" {{{MAX_GAP},}}")
_ODD: Final = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError, NotImplementedError, PyPdfError)
# Private characters: of symbol fonts, which are used for bullets.
_SYMBOLS: Final = re.compile("[\ue000-\uf8ff]")


def read_pdf(data: bytes, output: TextOutput, limits: DocumentLimits) -> None:
    add_encodings()
    try:
        _read(_opened(data), output, limits)
    except LimitReachedError:
        raise Unreadable(Reason.BOMB, "it unpacks to more than can be read") from None
    except FileNotDecryptedError:
        raise Unreadable(Reason.ENCRYPTED, "it is protected with a password") from None


def _opened(data: bytes) -> PdfReader:
    """Open a PDF, also one whose end is missing. Raises PyPdfError."""
    try:
        return PdfReader(BytesIO(data))
    except LimitReachedError:
        raise
    except PyPdfError:
        if (mended := with_trailer(data)) is None:
            raise
    return PdfReader(BytesIO(mended))


def _read(reader: PdfReader, output: TextOutput, limits: DocumentLimits) -> None:
    # Many files are only protected against changes: those open with an empty password.
    if reader.is_encrypted and reader.decrypt("") == PasswordType.NOT_DECRYPTED:
        raise Unreadable(Reason.ENCRYPTED, "it is protected with a password")
    # The declared number first: counting the pages loads them all.
    if _declared_pages(reader) > limits.max_pages or len(reader.pages) > limits.max_pages:
        raise Unreadable(Reason.TOO_MANY_PAGES, f"it has more than {limits.max_pages:,} pages")
    count = len(reader.pages)
    if count == 0:
        raise Unreadable(Reason.BROKEN, f"{BROKEN}: no page was found in it")
    output.pages = count
    form = Form(reader)
    unread = 0
    for number, page in enumerate(reader.pages, 1):
        output.place = f"page {number:,} of {count:,}"
        output.blank()
        try:
            text = _text(page)
        except LimitReachedError:
            raise
        except _ODD:
            # One page does not cost the others.
            text, unread = "", unread + 1
            output.mark(f"[page {number}: it cannot be read]")
        else:
            output.mark(f"[page {number}]" if text.strip() else f"[page {number}: no text]")
        for line in text.splitlines():
            output.line(_GAPS.sub(" " * MAX_GAP, _SYMBOLS.sub("•", line.rstrip())))
        for line in form.lines_of(page):
            output.line(line)
    output.blank()
    for line in form.other_lines():
        output.line(line)
    if unread and not output.has_text:
        raise Unreadable(Reason.BROKEN, BROKEN)


def _text(page: PageObject) -> str:
    """The text of a page in its layout, which keeps columns; where that fails, in the order of the file.

    The layout is that of upright text only.
    """
    if page.rotation:
        return page.extract_text()
    try:
        layout = page.extract_text(
            extraction_mode="layout", layout_mode_space_vertically=False, layout_mode_strip_rotated=False
        )
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError):
        layout = ""
    return layout if layout.strip() else page.extract_text()


def _declared_pages(reader: PdfReader) -> int:
    pages = reader.root_object.get("/Pages")
    pages = pages.get_object() if pages is not None else None
    count = pages.get("/Count", 0) if isinstance(pages, DictionaryObject) else 0
    return count if isinstance(count, int) else 0
