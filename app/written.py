"""What people write, in files and settings: the marks, blanks and quotes that their tools leave around it."""

import codecs
from typing import Final

_INVISIBLE: Final = "\ufeff\u200b\u2060"
_QUOTES: Final = frozenset({'""', "''", "“”", "‘’"})
_OTHER_MARKS: Final = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE, codecs.BOM_UTF32_BE)  # UTF-32 LE begins as UTF-16 LE

NO_HEADER_TEXT: Final = "has characters that no HTTP header can hold"


def decode_utf8(content: bytes) -> str:
    """Decode a text, with or without a byte order mark. Raises ValueError for another encoding, saying what to do."""
    if content.startswith(_OTHER_MARKS) or b"\0" in content[:256]:
        raise ValueError("the file is UTF-16 or not a text: save it as UTF-8")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ValueError(f"the file is not UTF-8 (at line {line}): save it as UTF-8") from None


def cut(text: str) -> str:
    """Cut off the blanks, line ends and invisible characters around a setting, and one pair of quotes.

    `.env` files with Windows' line ends, Docker's `--env-file` and copies from web pages bring them in.
    """
    text = _strip(text)
    if len(text) > 1 and text[0] + text[-1] in _QUOTES:
        text = _strip(text[1:-1])
    return text


def is_header_text(text: str) -> bool:
    """Whether an HTTP header can hold the text."""
    return text.isascii() and text.isprintable()


def _strip(text: str) -> str:
    previous = None
    while text != previous:
        previous, text = text, text.strip().strip(_INVISIBLE)
    return text
