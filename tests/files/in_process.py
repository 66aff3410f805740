"""The reader of documents without its processes, which take a while to start: for many small documents."""

import warnings

from app.files.extraction.models import DocumentLimits, ExtractedText, ExtractionRequest, NoText
from app.files.extraction.worker import read_safely
from app.files.refusals import DocumentRefused


def read(content: bytes, filename: str) -> ExtractedText:
    """The text of the document. Raises DocumentRefused."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        extraction = read_safely(content, ExtractionRequest(filename, "", DocumentLimits()))
    if isinstance(extraction, NoText):
        raise DocumentRefused(filename, extraction.reason, f"{extraction.explanation} {extraction.detail}")
    return extraction
