"""File names: cleaned when they arrive, and encoded for the header that sends them back."""

import unicodedata
from urllib.parse import quote

MAX_FILENAME_CHARS = 255
NAMELESS = "file"
# Joiners make up emoji and Indic scripts; every other invisible character only serves to make a name look like another.
_JOINERS = "\u200c\u200d"
# RFC 8187's attr-char, beside letters and digits.
_PLAIN = "!#$&+-.^_`|~"


def clean_filename(filename: str) -> str:
    """The last component of a sender's file name, without control and formatting characters, 1 to 255 characters.

    It is for people to read, and never part of a path here.
    """
    visible = "".join(
        character
        for character in filename
        if character in _JOINERS or unicodedata.category(character) not in ("Cc", "Cf", "Cs", "Zl", "Zp")
    )
    name = visible.replace("\\", "/").rsplit("/", 1)[-1].strip()
    if not name.strip("."):
        return NAMELESS
    if len(name) > MAX_FILENAME_CHARS:
        stem, dot, extension = name.rpartition(".")
        suffix = dot + extension if stem and len(extension) <= 20 else ""
        name = name[: MAX_FILENAME_CHARS - len(suffix)] + suffix
    return name


def content_disposition(disposition: str, filename: str) -> str:
    """The header's value by RFC 6266: an ASCII name for every client, and the true name in UTF-8.

    werkzeug makes both names only inside `send_file`, for files of its own.
    """
    ascii_name = unicodedata.normalize("NFKD", filename).encode("ascii", "ignore").decode()
    plain = "".join("_" if character in '"\\%' else character for character in ascii_name).strip()
    if not plain.strip("._") or plain.startswith("."):
        plain = NAMELESS + plain.lstrip("_")
    header = f'{disposition}; filename="{plain}"'
    return header if plain == filename else f"{header}; filename*=UTF-8''{quote(filename, safe=_PLAIN)}"
