"""Plain text of any kind: the encoding is found, the content is left as it is."""

from app.files.extraction.detect import SUPPORTED
from app.files.extraction.encodings import NoText, declared_encoding, find_encoding
from app.files.extraction.models import Reason, Unreadable
from app.files.extraction.output import TextOutput


def read_text(data: bytes, output: TextOutput) -> None:
    text = decode(data, output, declared_encoding(data) if data.lstrip().startswith(b"<?xml") else None)
    if text and not text.isspace():
        output.line(text.replace("\r\n", "\n").replace("\r", "\n"))


def decode(data: bytes, output: TextOutput, declared: str | None) -> str:
    """The text, with a note of its encoding. Raises Unreadable for what is no text."""
    try:
        encoding = find_encoding(data, declared)
    except NoText:
        explanation = f"it is neither text nor a known kind of document ({SUPPORTED})"
        raise Unreadable(Reason.UNSUPPORTED, explanation) from None
    if encoding.name not in ("utf-8", "utf-8-sig", declared):
        output.notes.append(f"read as {encoding.name}" + ("" if encoding.is_sure else ", encoding not sure"))
    return data.decode(encoding.name, "replace")
