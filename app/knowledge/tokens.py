"""From text to the terms of the full-text index: the same for passages and for questions."""

import re
import unicodedata

_WORD = re.compile(r"\w+")


def terms_of(text: str) -> list[str]:
    """The terms of a text, in its order, as often as they are in it."""
    return _WORD.findall(unicodedata.normalize("NFKC", text).casefold())
