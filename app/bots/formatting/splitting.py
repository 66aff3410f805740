"""Splitting Markdown into pieces that fit a platform's limit once they are rendered.

The source is split, and the rendered piece measured: rendering changes the length. A cut is made, if possible, at a
blank line, then at a line's end, a sentence's, a space; otherwise between two characters as people see them. A code
block that is cut is closed in one piece, and opened again in the next.
"""

import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

Unit = Literal["chars", "utf16", "utf8"]
Render = Callable[[str], str]

_FENCE = re.compile(r"^(?P<indent>[ \t>]*)(?P<marker>`{3,}|~{3,})(?P<info>[^\n]*)$", re.MULTILINE)
_CUTS = (
    re.compile(r"\n[ \t]*\n"),
    re.compile(r"\n"),
    re.compile(r"(?<=[.!?。！？…])\s|(?<=[。！？])"),
    re.compile(r"\s"),
)
MIN_FILL = 0.4
"""A piece that ends at a better place may be as short as this part of what would fit."""


@dataclass(frozen=True, slots=True)
class TextLimit:
    """The longest text, in code points, in UTF-16 units, or in bytes of UTF-8."""

    max: int
    unit: Unit = "chars"

    def fits(self, text: str) -> bool:
        return measure(text, self.unit) <= self.max


def measure(text: str, unit: Unit) -> int:
    """Count a text in a unit."""
    if unit == "chars":
        return len(text)
    if unit == "utf8":
        return len(text.encode("utf-8", "surrogatepass"))
    return len(text) + sum(char > "\uffff" for char in text)


def split(source: str, limit: TextLimit | None, render: Render = str) -> list[str]:
    """Split Markdown into pieces of it, each of which fits when it is rendered. At least one character goes in each."""
    pieces = []
    rest = source
    while rest.strip():
        piece, rest = _first_piece(rest, limit, render)
        if piece.strip():
            pieces.append(piece)
    return pieces


def _first_piece(text: str, limit: TextLimit | None, render: Render) -> tuple[str, str]:
    # A much longer text is not rendered whole for each of its pieces.
    if limit is None or (len(text) <= 2 * limit.max and limit.fits(render(text))):
        return text, ""
    length = min(len(text), limit.max)
    while True:
        cut = _best_cut(text, length)
        piece, rest = _divide(text, cut)
        size = measure(render(piece), limit.unit)
        if size <= limit.max and len(rest) < len(text):
            return piece, rest
        if cut <= _character_end(text, 0):
            # Not even one character fits, or a code block's own lines leave no room: without them, as it is.
            cut = _largest_plain_cut(text, limit)
            return text[:cut], text[cut:]
        length = max(min(cut - 1, int(cut * limit.max / max(size, 1) * 0.97)), 1)


def _best_cut(text: str, length: int) -> int:
    """Choose where to cut, `length` characters from the beginning at most."""
    length = min(len(text), length)
    for pattern in _CUTS:
        cuts = [match.end() for match in pattern.finditer(text, 0, length) if match.end() > length * MIN_FILL]
        if cuts:
            return cuts[-1]
    while length > 1 and not is_boundary(text, length):
        length -= 1
    return max(length, _character_end(text, 0)) if length <= 1 else length


def _divide(text: str, cut: int) -> tuple[str, str]:
    """Cut the text in two; an open code block is closed, and opened again."""
    head, tail = text[:cut].rstrip("\n"), text[cut:]
    fence = _open_fence(head)
    if fence is None:
        return head, tail.lstrip("\n")
    indent, marker = fence["indent"], fence["marker"]
    # A line of the block that begins with the marker of a closing fence ends the block already.
    closed = re.match(rf"[ \t>]*{re.escape(marker)}[ \t]*(\n|$)", tail)
    rest = tail[closed.end() :] if closed else f"{indent}{marker}{fence['info']}\n{tail.removeprefix(chr(10))}"
    return f"{head}\n{indent}{marker}", rest


def _open_fence(text: str) -> re.Match[str] | None:
    """Find the code block that is open at the end of a text."""
    opened: re.Match[str] | None = None
    for match in _FENCE.finditer(text):
        marker = match["marker"]
        if opened is None:
            if not (marker[0] == "`" and "`" in match["info"]):  # which is code in a line
                opened = match
        elif marker[0] == opened["marker"][0] and len(marker) >= len(opened["marker"]) and not match["info"].strip():
            opened = None
    return opened


def _largest_plain_cut(text: str, limit: TextLimit) -> int:
    cut = min(len(text), limit.max)
    while cut > 1 and not (measure(text[:cut], limit.unit) <= limit.max and is_boundary(text, cut)):
        cut -= 1
    return max(cut, 1)


def _character_end(text: str, start: int) -> int:
    end = start + 1
    while end < len(text) and not is_boundary(text, end):
        end += 1
    return end


def is_boundary(text: str, index: int) -> bool:
    """Tell whether a character as people see it ends at `index`: not in an emoji, nor before an accent."""
    if index <= 0 or index >= len(text):
        return True
    before, after = text[index - 1], text[index]
    if before == "\r" and after == "\n":
        return False
    if "\u200d" in (before, after) or unicodedata.combining(after) or unicodedata.category(after) in ("Mn", "Mc", "Me"):
        return False
    if "\U0001f3fb" <= after <= "\U0001f3ff" or "\U000e0020" <= after <= "\U000e007f":
        return False
    if _is_flag_letter(before) and _is_flag_letter(after):
        letters = 0
        while index - 1 - letters >= 0 and _is_flag_letter(text[index - 1 - letters]):
            letters += 1
        return letters % 2 == 0
    return True


def _is_flag_letter(char: str) -> bool:
    return "\U0001f1e6" <= char <= "\U0001f1ff"
