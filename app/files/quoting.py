"""Files in a prompt: text between marks that it cannot imitate, and names in one line."""

import re
from collections.abc import Iterable
from typing import Final

from app.files.names import clean_filename

END: Final = "[end of file]"
_MARK: Final = re.compile(
    r"[\[［【〔]\s*(?:end\s+of\s+(?:the\s+)?file|(?:file|image|record|video)\s*[:：])", re.IGNORECASE
)
_WITHOUT_BRACKETS: Final = str.maketrans("[]", "()")


def label(filename: str) -> str:
    """A file's name for a model: in one line, and without the brackets that would end its mark."""
    return clean_filename(filename).translate(_WITHOUT_BRACKETS)


def named(kind: str, filename: str, note: str = "") -> str:
    """The mark of a file that is not shown itself; `note` says why."""
    mark = f"[{kind}: {label(filename)}]"
    return f"{mark} ({note})" if note else mark


def framed(filename: str, text: str, notes: Iterable[str] = ()) -> str:
    """A document's text and notes between marks.

    A text that holds such marks itself is quoted line by line, or it could end its frame and go on as the user.
    """
    if _MARK.search(text):
        text = quoted(text)
    lines = "".join(f"\n[{' '.join(note.split())}]" for note in notes)
    return f"[file: {label(filename)}]\n{text}{lines}\n{END}"


def quoted(text: str) -> str:
    """The text with a mark before every line, whatever of Unicode's line ends made it one."""
    return "\n".join(f"> {line}" for line in text.splitlines())
