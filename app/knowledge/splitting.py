"""From a document's text to its passages, along its structure: headings, blocks, sentences; characters at last."""

import re
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Final

from app.knowledge.models import HEADING_SEPARATOR, Draft

MIN_SIZE: Final = 50
MAX_HEADING_CHARS: Final = 200
"""Longer lines are text, whatever stands before them."""

_HEADING: Final = re.compile(r" {0,3}(#{1,6})[ \t]+(\S.*)")
_UNDERLINE: Final = re.compile(r" {0,3}(=+|-{2,})[ \t]*")
_PAGE: Final = re.compile(r"\[(page \d{1,7})\]")
_FENCE: Final = re.compile(r" {0,3}(`{3,}|~{3,})")
_TABLE_RULE: Final = re.compile(r"[ \t]*\|?[ \t:|-]*-[ \t:|-]*")
_SENTENCE_END: Final = re.compile(r"(?<=[.!?…])[\"'”’)\]]*\s+|(?<=[。！？；])[”’」』）]*\s*|\n+")
_JOINERS: Final = frozenset("\u200c\u200d\ufe0e\ufe0f\U0001f3fb\U0001f3fc\U0001f3fd\U0001f3fe\U0001f3ff")
_LONGEST_SEQUENCE: Final = 32


class _Kind(Enum):
    PROSE = auto()
    TABLE = auto()
    CODE = auto()


@dataclass(frozen=True, slots=True)
class _Block:
    kind: _Kind
    text: str


@dataclass(slots=True)
class _Section:
    """What stands below one heading, up to the next one or to the next page."""

    heading: str
    blocks: list[_Block] = field(default_factory=list)


def split(text: str, *, size: int = 800, overlap: int = 100) -> list[Draft]:
    """The passages of a Markdown text, of at most `size` characters, in time that grows with its length alone.

    Nothing of the text is lost but white space and the marks of headings and pages, which are in `Draft.heading`. A
    passage begins with the end of the one before it, up to `overlap` characters of whole sentences, when they are of
    one section. `size` is at least MIN_SIZE; of `overlap` no more than half of `size` counts. What no database takes
    (NUL, lone surrogates) is replaced by a question mark.
    """
    size = max(size, MIN_SIZE)
    overlap = max(min(overlap, size // 2), 0)
    drafts: list[Draft] = []
    for section in _Reader().sections(_storable(text)):
        drafts.extend(
            Draft(position, section.heading, piece)
            for position, piece in enumerate(_Packer(size, overlap).passages(section.blocks), len(drafts))
        )
    return drafts


def _storable(text: str) -> str:
    text = text.replace("\x00", "?").replace("\r\n", "\n").replace("\r", "\n")
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


class _Reader:
    """Reads a text line by line and gathers its sections."""

    def __init__(self) -> None:
        self._path: list[tuple[int, str]] = []
        self._page = ""
        self._section = _Section("")
        self._lines: list[str] = []
        self._kind = _Kind.PROSE
        self._fence = ""
        self._bare: tuple[int, str] | None = None

    def sections(self, text: str) -> Iterator[_Section]:
        """The sections that have a text. A heading with nothing below it is a text."""
        for line in text.split("\n"):
            if self._fence:
                self._lines.append(line)
                if line.strip().startswith(self._fence) and not line.strip().strip(self._fence[0]):
                    self._end_block()
            elif fence := _FENCE.match(line):
                self._end_block()
                self._fence, self._kind = fence[1], _Kind.CODE
                self._lines.append(line)
            elif heading := self._heading_in(line):
                yield from self._end_section(heading[0])
                self._enter(*heading)
            elif len(line) <= MAX_HEADING_CHARS and (page := _PAGE.fullmatch(line.strip())):
                yield from self._end_section(None)
                self._page = page[1]
                self._section = _Section(self._place())
            else:
                self._take(line)
        yield from self._end_section(0)

    def _heading_in(self, line: str) -> tuple[int, str] | None:
        if len(line) > MAX_HEADING_CHARS:
            return None
        if match := _HEADING.fullmatch(line):
            title = match[2].strip()
            bare = title.rstrip("#")
            return len(match[1]), bare.strip() if bare.endswith((" ", "\t")) else title
        if self._kind is _Kind.PROSE and len(self._lines) == 1 and (match := _UNDERLINE.fullmatch(line)):
            title = self._lines[0].strip()
            if len(title) <= MAX_HEADING_CHARS:
                self._lines.clear()
                return (1 if match[1][0] == "=" else 2), title
        return None

    def _enter(self, level: int, title: str) -> None:
        while self._path and self._path[-1][0] >= level:
            self._path.pop()
        self._path.append((level, title))
        self._bare = (level, title)
        self._section = _Section(self._place())

    def _place(self) -> str:
        return HEADING_SEPARATOR.join([*(title for _, title in self._path), *([self._page] if self._page else [])])

    def _take(self, line: str) -> None:
        if not line.strip():
            self._end_block()
            return
        kind = _Kind.TABLE if line.lstrip().startswith("|") else _Kind.PROSE
        if kind is not self._kind:
            self._end_block()
            self._kind = kind
        self._lines.append(line.rstrip())

    def _end_block(self) -> None:
        if text := "\n".join(self._lines).strip("\n"):
            self._section.blocks.append(_Block(self._kind, text))
            self._bare = None
        self._lines, self._kind, self._fence = [], _Kind.PROSE, ""

    def _end_section(self, next_level: int | None) -> Iterator[_Section]:
        """The section that ends; `next_level` is the next heading's, None when a page ends."""
        self._end_block()
        if self._section.blocks:
            yield self._section
        elif self._bare and next_level is not None and next_level <= self._bare[0]:
            # No passage will have this heading in its path.
            yield _Section(self._section.heading, [_Block(_Kind.PROSE, self._bare[1])])


class _Packer:
    """Fills passages with blocks; blocks that fit into a passage are not torn."""

    def __init__(self, size: int, overlap: int) -> None:
        self._size = size
        self._overlap = overlap
        self._text = ""
        self._repeated = 0

    def passages(self, blocks: Iterable[_Block]) -> Iterator[str]:
        for block in blocks:
            if len(block.text) <= self._size:
                yield from self._put(block.text, "\n\n", prose=block.kind is _Kind.PROSE)
            elif block.kind is _Kind.PROSE:
                for at, (gap, sentence) in enumerate(_sentences(block.text)):
                    yield from self._put_long(sentence, gap if at else "\n\n")
            else:
                yield from self._put_lines(block)
        if len(self._text) > self._repeated:
            yield self._text
        self._text, self._repeated = "", 0

    def _put(self, piece: str, gap: str, *, prose: bool) -> Iterator[str]:
        """Add a piece that fits into a passage; what it does not fit behind is given out before."""
        if self._text and len(self._text) + len(gap) + len(piece) > self._size:
            if len(self._text) > self._repeated:
                yield self._text
            tail = _tail(self._text, min(self._overlap, self._size - len(piece) - len(gap))) if prose else ""
            self._text, self._repeated = tail, len(tail)
        self._text = f"{self._text}{gap}{piece}" if self._text else piece

    def _put_long(self, piece: str, gap: str) -> Iterator[str]:
        for at, part in enumerate(_hard_parts(piece, self._size)):
            yield from self._put(part, "" if at else gap, prose=True)

    def _put_lines(self, block: _Block) -> Iterator[str]:
        """A table or a code fence too long for a passage, by its lines; a table's head is put over each part."""
        lines = block.text.split("\n")
        head = ""
        if block.kind is _Kind.TABLE and len(lines) > 2 and _TABLE_RULE.fullmatch(lines[1][: self._size]):
            head = "\n".join(lines[:2])
            if len(head) <= self._size // 3:
                lines = lines[2:]
            else:
                head = ""
        part = head
        for line in lines:
            for piece in _hard_parts(line, self._size - len(head) - 1):
                if part and len(part) + 1 + len(piece) > self._size:
                    yield from self._put(part, "\n\n", prose=False)
                    part = head
                part = f"{part}\n{piece}" if part else piece
        yield from self._put(part, "\n\n", prose=False)


def _sentences(text: str) -> Iterator[tuple[str, str]]:
    """The sentences and lines of a text, each with the white space before it."""
    start, gap = 0, ""
    for end in _SENTENCE_END.finditer(text):
        mark = end[0].rstrip()
        stop = end.start() + len(mark)
        if stop > start:
            yield gap, text[start:stop]
            gap = "\n" if "\n" in end[0] else " " if len(mark) < len(end[0]) else ""
        start = end.end()
    if start < len(text):
        yield gap, text[start:]


def _hard_parts(text: str, size: int) -> Iterator[str]:
    """A text in parts of at most `size` characters: between words where there are some, never within a sequence
    that makes one visible character."""
    start = 0
    while len(text) - start > size:
        stop = text.rfind(" ", start + size // 2, start + size)
        stop = stop + 1 if stop > 0 else start + size
        for back in range(stop, max(stop - _LONGEST_SEQUENCE, start + 1), -1):
            if not _continues(text, back):
                stop = back
                break
        yield text[start:stop]
        start = stop
    yield text[start:]


def _continues(text: str, at: int) -> bool:
    """Whether the character at `at` belongs to what stands before it."""
    return text[at] in _JOINERS or text[at - 1] == "\u200d" or unicodedata.category(text[at])[0] == "M"


def _tail(text: str, most: int) -> str:
    """The last whole sentences of a text, of up to `most` characters together; its last words when there is none."""
    if most <= 0:
        return ""
    window = text[-most:]
    if len(window) == len(text):
        return ""
    for end in _SENTENCE_END.finditer(window):
        if window[end.end() :].strip():
            return window[end.end() :]
    at = window.find(" ")
    return window[at + 1 :] if at >= 0 else ""
