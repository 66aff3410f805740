"""Plain text of any kind: the encoding is detected, the content is left as it is."""

import codecs
from typing import Final

from app.files.extraction.detect import SUPPORTED
from app.files.extraction.models import Reason, Unreadable
from app.files.extraction.output import TextOutput

SAMPLE_BYTES: Final = 64 * 1024
_BOMS: Final = (
    # The longer ones first: UTF-16's begins UTF-32's.
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_CONTROLS: Final = bytes({*range(32), 127} - set(b"\t\n\r\f\v\b\x1b"))
MAX_CONTROLS: Final = 0.005
# The common ones: with all that Python knows, short texts are taken for rare encodings.
_CANDIDATES: Final = [
    "cp1252", "cp1250", "cp1251", "cp1253", "cp1254", "cp1255", "cp1256", "cp1257", "cp1258", "cp874", "koi8_r",
    "gb18030", "big5", "cp932", "euc_jp", "cp949",
]  # fmt: skip


def read_text(data: bytes, output: TextOutput) -> None:
    text, encoding = decode(data)
    if encoding not in ("utf-8", "utf-8-sig"):
        output.notes.append(f"read as {encoding}")
    if text and not text.isspace():
        output.line(text.replace("\r\n", "\n").replace("\r", "\n"))


def decode(data: bytes) -> tuple[str, str]:
    """The text and the name of its encoding. Raises Unreadable for what is no text."""
    for bom, encoding in _BOMS:
        if data.startswith(bom):
            return data.decode(encoding, "replace"), encoding
    sample = data[:SAMPLE_BYTES]
    if b"\0" in sample:
        encoding = _utf_16(sample) or _refuse()
        return data.decode(encoding, "replace"), encoding
    if len(sample.translate(None, _CONTROLS)) < len(sample) * (1 - MAX_CONTROLS):
        _refuse()
    try:
        return data.decode("utf-8"), "utf-8"
    except UnicodeDecodeError as error:
        # A stray byte in what is otherwise UTF-8, or a file that was cut within a character.
        if error.start > SAMPLE_BYTES or error.start >= len(data) - 3:
            return data.decode("utf-8", "replace"), "utf-8"
    encoding = _guessed(sample)
    return data.decode(encoding, "replace"), encoding


def _utf_16(sample: bytes) -> str | None:
    """The byte order of UTF-16 without a mark: most scripts have zeros in every second byte only."""
    half = len(sample) // 2
    zeros_first, zeros_second = sample[0::2].count(0), sample[1::2].count(0)
    if zeros_second > half * 0.4 and zeros_first < half * 0.05:
        return "utf-16-le"
    if zeros_first > half * 0.4 and zeros_second < half * 0.05:
        return "utf-16-be"
    return None


def _guessed(sample: bytes) -> str:
    from charset_normalizer import from_bytes

    best = from_bytes(sample, cp_isolation=_CANDIDATES).best()
    return "cp1252" if best is None else best.encoding


def _refuse() -> str:
    raise Unreadable(Reason.UNSUPPORTED, f"it is neither text nor a known kind of document ({SUPPORTED})")
