"""The splitting of texts into passages: at headings, blocks, sentences, and at last between characters."""

import re
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Final

from app.knowledge.models import HEADING_SEPARATOR, PassageItem

MIN_SIZE: Final = 50
MAX_HEADING_CHARS: Final = 200
"""Longer lines are text, whatever their marks."""

_HEADING: Final = re.compile(r" {0,3}(#{1,6})[ \t]+(\S.*)")
_UNDERLINE: Final = re.compile(r" {0,3}(=+|-{2,})[ \t]*")
_PAGE: Final = re.compile(r"\[(page \d{1,7})\]")
_FENCE: Final = re.compile(r" {0,3}(`{3,}|~{3,})")
_TABLE_RULE: Final = re.compile(r"[ \t:|]*-[ \t:|-]*")
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
    """The blocks below one heading, up to the next heading or page."""

    heading: str
    blocks: list[_Block] = field(default_factory=list)


def split(text: str, *, size: int = 800, overlap: int = 100) -> list[PassageItem]:
    """Split a Markdown text into passages of at most `size` characters, in linear time.

    Only white space and the marks of headings and pages are dropped; headings and pages are in `PassageItem.heading`.
    Within a section a passage begins with the last whole sentences of the previous one, up to `overlap` characters.
    `size` is at least MIN_SIZE, `overlap` at most half of `size`. Characters that no database stores (NUL, lone
    surrogates) become question marks.
    """
    size = max(size, MIN_SIZE)
    overlap = max(min(overlap, size // 2), 0)
    passages: list[PassageItem] = []
    for section in _Reader().sections(_storable(text)):
        passages.extend(
            PassageItem(position, section.heading, passage)
            for position, passage in enumerate(_Packer(size, overlap).passages(section.blocks), len(passages))
        )
    return passages


def _storable(text: str) -> str:
    text = text.replace("\x00", "?").replace("\r\n", "\n").replace("\r", "\n")
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


class _Reader:
    """A reader of sections, line by line."""

    def __init__(self) -> None:
        self._path: list[tuple[int, str]] = []
        self._page = ""
        self._section = _Section("")
        self._lines: list[str] = []
        self._kind = _Kind.PROSE
        self._fence = ""
        self._empty_heading: tuple[int, str] | None = None

    def sections(self, text: str) -> Iterator[_Section]:
        """The sections with text; a heading with nothing below it is text."""
        for line in text.split("\n"):
            if self._fence:
                self._lines.append(line)
                if line.strip().startswith(self._fence) and not line.strip().strip(self._fence[0]):
                    self._end_block()
            elif fence := _FENCE.match(line):
                self._end_block()
                self._fence, self._kind = fence[1], _Kind.CODE
                self._lines.append(line)
            elif heading := self._heading(line):
                yield from self._end_section(heading[0])
                self._enter(*heading)
            elif len(line) <= MAX_HEADING_CHARS and (page := _PAGE.fullmatch(line.strip())):
                yield from self._end_section(None)
                self._page = page[1]
                self._section = _Section(self._heading_path())
            else:
                self._add_line(line)
        yield from self._end_section(0)

    def _heading(self, line: str) -> tuple[int, str] | None:
        if len(line) > MAX_HEADING_CHARS:
            return None
        if match := _HEADING.fullmatch(line):
            title = match[2].strip()
            unclosed = title.rstrip("#")
            return len(match[1]), unclosed.strip() if unclosed.endswith((" ", "\t")) else title
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
        self._empty_heading = (level, title)
        self._section = _Section(self._heading_path())

    def _heading_path(self) -> str:
        return HEADING_SEPARATOR.join([*(title for _, title in self._path), *([self._page] if self._page else [])])

    def _add_line(self, line: str) -> None:
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
            self._empty_heading = None
        self._lines, self._kind, self._fence = [], _Kind.PROSE, ""

    def _end_section(self, next_level: int | None) -> Iterator[_Section]:
        """Yield the current section; `next_level` is that of the next heading, None at the end of a page."""
        self._end_block()
        if self._section.blocks:
            yield self._section
        elif self._empty_heading and next_level is not None and next_level <= self._empty_heading[0]:
            # No passage has this heading in its path.
            yield _Section(self._section.heading, [_Block(_Kind.PROSE, self._empty_heading[1])])


class _Packer:
    """A filler of passages with blocks; it splits only blocks larger than a passage."""

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
                for index, (gap, sentence) in enumerate(_sentences(block.text)):
                    yield from self._put_long(sentence, gap if index else "\n\n")
            else:
                yield from self._put_lines(block)
        if len(self._text) > self._repeated:
            yield self._text
        self._text, self._repeated = "", 0

    def _put(self, piece: str, gap: str, *, prose: bool) -> Iterator[str]:
        """Add a piece that fits into a passage; yield the current passage first if there is no room in it."""
        if self._text and len(self._text) + len(gap) + len(piece) > self._size:
            if len(self._text) > self._repeated:
                yield self._text
            tail = _tail(self._text, min(self._overlap, self._size - len(piece) - len(gap))) if prose else ""
            self._text, self._repeated = tail, len(tail)
        self._text = f"{self._text}{gap}{piece}" if self._text else piece

    def _put_long(self, piece: str, gap: str) -> Iterator[str]:
        for index, part in enumerate(_hard_parts(piece, self._size)):
            yield from self._put(part, "" if index else gap, prose=True)

    def _put_lines(self, block: _Block) -> Iterator[str]:
        """Split a table or a code fence by its lines, and repeat a table's head over each part."""
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
    """The sentences and lines of a text, each after its white space."""
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
    """Split a text into parts of at most `size` characters: between words if it has some, never within a sequence of
    code points that is one visible character."""
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


def _continues(text: str, index: int) -> bool:
    """Whether the code point at `index` is part of the previous character."""
    return text[index] in _JOINERS or text[index - 1] == "\u200d" or unicodedata.category(text[index])[0] == "M"


def _tail(text: str, most: int) -> str:
    """The last whole sentences of a text, up to `most` characters, or its last words."""
    if most <= 0:
        return ""
    window = text[-most:]
    if len(window) == len(text):
        return ""
    for end in _SENTENCE_END.finditer(window):
        if window[end.end() :].strip():
            return window[end.end() :]
    space = window.find(" ")
    return window[space + 1 :] if space >= 0 else ""
