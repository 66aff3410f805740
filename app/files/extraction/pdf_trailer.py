"""PDFs whose end is missing: the trailer that says where they begin is made from what is left.

pypdf finds the objects of a file again whose table of them is wrong or missing, but it needs the trailer.
"""

import re
from typing import Final

_ROOT: Final = re.compile(rb"/Root\s{1,8}(\d{1,10})\s{1,8}(\d{1,5})\s{1,8}R")
_OBJECT: Final = re.compile(rb"(\d{1,10})\s{1,8}(\d{1,5})\s{1,8}obj\Z")
_CATALOG: Final = b"/Catalog"


def with_trailer(data: bytes) -> bytes | None:
    """Return the file with a trailer, None where nothing says what it should name.

    What an encrypted file's trailer held cannot be made again.
    """
    if b"/Encrypt" in data or (root := _root_in(data)) is None:
        return None
    number, generation = (int(text) for text in root)
    return data + b"\ntrailer\n<</Root %d %d R/Size %d>>\nstartxref\n0\n%%%%EOF\n" % (number, generation, number + 1)


def _root_in(data: bytes) -> tuple[bytes, bytes] | None:
    """Find the number and generation of the catalog: as a stream with the table names it, or by its own type."""
    named = None
    for named in _ROOT.finditer(data):  # noqa: B007  # the last one counts
        pass
    if named is None:
        place = data.rfind(_CATALOG)
        end = data.rfind(b"obj", 0, place) + len(b"obj") if place >= 0 else 0
        named = _OBJECT.search(data[max(0, end - 40) : end])
    return None if named is None else (named[1], named[2])
