"""The worker process that reads documents: `python -m app.files.extraction.worker <bytes of memory>`."""

import traceback
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import msgspec

from app.files.extraction.detect import Format, detect
from app.files.extraction.models import (
    BROKEN,
    TOO_MUCH_MEMORY,
    ExtractedText,
    Extraction,
    ExtractionRequest,
    NoText,
    Reason,
    Unreadable,
)
from app.files.extraction.output import Full, TextOutput
from app.workers.process import limit_cpu_time, serve

XML_NO_MEMORY = 2
"""libxml2's code for what lxml raises as a syntax error."""


def answer(head: bytes, data: bytes) -> Iterator[bytes]:
    """One message: the text of the document, or the reason for none."""
    request = msgspec.json.decode(head, type=ExtractionRequest)
    limit_cpu_time(request.limits.timeout_seconds)
    yield msgspec.json.encode(read_safely(data, request))


def read_safely(data: bytes, request: ExtractionRequest) -> Extraction:
    """The text, or the reason for none; whatever a parser raises is the document's fault."""
    try:
        return read(data, request)
    except Unreadable as refusal:
        return NoText(refusal.reason, refusal.explanation)
    except MemoryError:
        return NoText(Reason.TOO_MUCH_MEMORY, TOO_MUCH_MEMORY)
    except RecursionError as error:
        return NoText(Reason.BROKEN, "it is nested too deeply", _where(error))
    except Exception as error:  # noqa: BLE001 - the process's edge
        if getattr(error, "code", None) == XML_NO_MEMORY:
            return NoText(Reason.TOO_MUCH_MEMORY, TOO_MUCH_MEMORY)
        return NoText(Reason.BROKEN, BROKEN, _where(error))


def read(data: bytes, request: ExtractionRequest) -> ExtractedText:
    """The text. Raises Unreadable, and what the libraries raise."""
    kind = detect(data, request.filename, request.media_type, request.limits)
    output = TextOutput(request.limits.max_text_chars)
    with suppress(Full):
        _read_into(output, data, kind, request)
    if not output.has_text:
        scanned = "; scanned pages have to be recognised first" if kind == Format.PDF else ""
        raise Unreadable(Reason.EMPTY, f"it holds no text{scanned}")
    return output.finish(kind)


def _read_into(output: TextOutput, data: bytes, kind: Format, request: ExtractionRequest) -> None:
    if kind in (Format.DOCX, Format.XLSX, Format.PPTX):
        from app.files.extraction.repair import repaired

        data = repaired(data, kind, request.limits)
    # Each parser is imported when the first such document comes: together they take a second and 60 MB.
    match kind:
        case Format.PDF:
            from app.files.extraction.pdf import read_pdf

            read_pdf(data, output, request.limits)
        case Format.DOCX:
            from app.files.extraction.word import read_docx

            read_docx(data, output)
        case Format.XLSX:
            from app.files.extraction.sheets import read_xlsx

            read_xlsx(data, output)
        case Format.PPTX:
            from app.files.extraction.slides import read_pptx

            read_pptx(data, output, request.limits)
        case Format.HTML:
            from app.files.extraction.markup import read_html

            read_html(data, output)
        case Format.TEXT:
            from app.files.extraction.plain import read_text

            read_text(data, output)


def _where(error: Exception) -> str:
    """The kind and the place of an error, without its message, which may quote the document."""
    frames = traceback.extract_tb(error.__traceback__)
    place = f" at {Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""
    return f"{type(error).__name__}{place}"


if __name__ == "__main__":
    serve(answer)
