"""File names: what is kept of the sender's, and how it is told to the receiver."""

import unicodedata
from urllib.parse import quote

from app.files.models import MAX_FILENAME_CHARS

NAMELESS = "file"
# Joiners make up emoji and Indic scripts; every other invisible character only serves to make a name look like another.
_JOINERS = "\u200c\u200d"
# RFC 8187's attr-char, beside letters and digits.
_PLAIN = "!#$&+-.^_`|~"


def clean_filename(given: str) -> str:
    """The last component of the sender's file name, without control and formatting characters, 1 to 255 characters.

    It is for people to read, and never part of a path here.
    """
    visible = "".join(
        character
        for character in given
        if character in _JOINERS or unicodedata.category(character) not in ("Cc", "Cf", "Cs", "Zl", "Zp")
    )
    last = visible.replace("\\", "/").rsplit("/", 1)[-1].strip()
    if not last.strip("."):
        return NAMELESS
    if len(last) > MAX_FILENAME_CHARS:
        stem, dot, extension = last.rpartition(".")
        kept = dot + extension if stem and len(extension) <= 20 else ""
        last = last[: MAX_FILENAME_CHARS - len(kept)] + kept
    return last


def content_disposition(disposition: str, filename: str) -> str:
    """The header's value by RFC 6266: a plain name for every client, and the true one for those that read UTF-8."""
    ascii_name = unicodedata.normalize("NFKD", filename).encode("ascii", "ignore").decode()
    plain = "".join("_" if character in '"\\%' else character for character in ascii_name).strip()
    if not plain.strip("._") or plain.startswith("."):
        plain = NAMELESS + plain.lstrip("_")
    header = f'{disposition}; filename="{plain}"'
    return header if plain == filename else f"{header}; filename*=UTF-8''{quote(filename, safe=_PLAIN)}"
