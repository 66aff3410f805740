"""DOCX: opened by python-docx, its XML walked here.

The library's own paragraphs and tables leave out inserted text, content controls, text boxes and notes.
"""

import re
from collections.abc import Iterator
from io import BytesIO
from typing import Any, Final

from docx import Document
from docx.document import Document as DocumentObject
from docx.opc.constants import RELATIONSHIP_TYPE
from lxml import etree

from app.files.extraction.output import TextOutput

_W: Final = "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}"
_M: Final = "{http://schemas.openxmlformats.org/officeDocument/2006/math}"
_MC: Final = "{http://schemas.openxmlformats.org/markup-compatibility/2006}"
_PIC: Final = "{http://schemas.openxmlformats.org/drawingml/2006/picture}"

# Deleted and moved text is no longer there; a fallback repeats what its alternative says.
_SKIPPED: Final = frozenset(
    [f"{_W}{name}" for name in ("pPr", "rPr", "sdtPr", "del", "moveFrom", "instrText", "delText", "tblPr", "tcPr")]
    + [f"{_MC}Fallback"]
)
_CHARACTERS: Final = {f"{_W}tab": "\t", f"{_W}cr": "\n", f"{_W}noBreakHyphen": "-", f"{_W}ptab": "\t"}
_NOTE_MARKS: Final = {f"{_W}footnoteReference": "", f"{_W}endnoteReference": "end"}
_PAGE_BREAK: Final = "\f"
_HEADING: Final = re.compile(r"heading (\d)$", re.IGNORECASE)


def read_docx(data: bytes, output: TextOutput) -> None:
    document = Document(BytesIO(data))
    reader = _DocxReader(output, _heading_levels(document))
    for kind in ("header", "footer"):
        for text in _margins(document, kind):
            output.line(f"[{kind}] {text}")
    output.blank()
    body = document.element.body
    reader.blocks(body)
    for relationship, prefix in ((RELATIONSHIP_TYPE.FOOTNOTES, ""), (RELATIONSHIP_TYPE.ENDNOTES, "end")):
        for root in _related(document, relationship):
            output.blank()
            for note in root:
                text = _all_text(note)
                if text:
                    output.line(f"[^{prefix}{note.get(f'{_W}id')}]: {text}")
    pictures = sum(1 for _ in body.iter(f"{_PIC}pic"))
    if pictures:
        output.notes.append(f"{pictures:,} pictures of the document are not shown")


class _DocxReader:
    def __init__(self, output: TextOutput, levels: dict[str, int]) -> None:
        self._output = output
        self._levels = levels

    def blocks(self, parent: Any) -> None:
        """Read paragraphs and tables, in any wrapping."""
        for child in parent:
            if child.tag == f"{_W}p":
                self._paragraph(child)
            elif child.tag == f"{_W}tbl":
                self._output.blank()
                self._output.table(_rows(child))
                self._output.blank()
            elif child.tag not in _SKIPPED and isinstance(child.tag, str):
                self.blocks(child)

    def _paragraph(self, paragraph: Any) -> None:
        properties = paragraph.find(f"{_W}pPr")
        text = _text(paragraph)
        if properties is not None and _is_on(properties.find(f"{_W}pageBreakBefore")):
            text = _PAGE_BREAK + text
        prefix = self._prefix(properties)
        for index, piece in enumerate(text.split(_PAGE_BREAK)):
            if index:
                self._output.blank()
                self._output.mark("[page break]")
                self._output.blank()
            if piece.strip():
                if prefix.startswith("#"):
                    self._output.blank()
                self._output.line(prefix + piece.strip("\n"))
        for box in paragraph.iter(f"{_W}txbxContent"):
            if not any(ancestor.tag == f"{_MC}Fallback" for ancestor in box.iterancestors()):
                self.blocks(box)

    def _prefix(self, properties: Any) -> str:
        if properties is None:
            return ""
        style = properties.find(f"{_W}pStyle")
        name = "" if style is None else style.get(f"{_W}val", "")
        level = self._levels.get(name)
        if level is not None:
            return "#" * level + " "
        return "- " if properties.find(f"{_W}numPr") is not None or name.startswith("List") else ""


def _text(element: Any) -> str:
    """The text within a paragraph or a run, form feeds for page breaks; text boxes are left out."""
    return "".join(_pieces(element))


def _pieces(element: Any) -> Iterator[str]:
    for child in element:
        tag = child.tag
        if tag in (f"{_W}t", f"{_M}t"):
            yield child.text or ""
        elif tag in _CHARACTERS:
            yield _CHARACTERS[tag]
        elif tag == f"{_W}br":
            yield _PAGE_BREAK if child.get(f"{_W}type") == "page" else "\n"
        elif tag in _NOTE_MARKS:
            yield f"[^{_NOTE_MARKS[tag]}{child.get(f'{_W}id')}]"
        elif tag not in _SKIPPED and tag != f"{_W}txbxContent" and isinstance(tag, str):
            yield from _pieces(child)


def _all_text(element: Any) -> str:
    """The text of all paragraphs in an element, on one line."""
    return " ".join(text for paragraph in element.iter(f"{_W}p") if (text := " ".join(_text(paragraph).split())))


def _rows(table: Any) -> Iterator[list[str]]:
    for row in _wrapped(table, f"{_W}tr"):
        cells: list[str] = []
        for cell in _wrapped(row, f"{_W}tc"):
            properties = cell.find(f"{_W}tcPr")
            cells.append(_all_text(cell))
            span = None if properties is None else properties.find(f"{_W}gridSpan")
            if span is not None and span.get(f"{_W}val", "").isdecimal():
                cells += [""] * min(int(span.get(f"{_W}val")) - 1, 63)
        yield cells


def _wrapped(parent: Any, tag: str) -> Iterator[Any]:
    """The children with a tag, also those in content controls."""
    for child in parent:
        if child.tag == tag:
            yield child
        elif child.tag in (f"{_W}sdt", f"{_W}sdtContent", f"{_W}ins", f"{_W}customXml"):
            yield from _wrapped(child, tag)


def _is_on(switch: Any) -> bool:
    return switch is not None and switch.get(f"{_W}val", "true") not in ("0", "false", "off")


def _heading_levels(document: DocumentObject) -> dict[str, int]:
    """The heading levels of styles, by style id: from the name, the outline level or the base style."""
    levels: dict[str, int] = {}
    bases: dict[str, str] = {}
    for style in document.styles.element.iter(f"{_W}style"):
        id, name = style.get(f"{_W}styleId", ""), style.find(f"{_W}name")
        heading = _HEADING.match("" if name is None else name.get(f"{_W}val", ""))
        outline = style.find(f"{_W}pPr/{_W}outlineLvl")
        base = style.find(f"{_W}basedOn")
        if heading:
            levels[id] = min(int(heading[1]), 6)
        elif name is not None and name.get(f"{_W}val") == "Title":
            levels[id] = 1
        elif outline is not None and outline.get(f"{_W}val", "9") in "012345678":
            levels[id] = min(int(outline.get(f"{_W}val", "0")) + 1, 6)
        elif base is not None:
            bases[id] = base.get(f"{_W}val", "")
    inherited = {id: levels[base] for id, base in bases.items() if base in levels}
    return {**inherited, **levels}


def _margins(document: DocumentObject, kind: str) -> list[str]:
    """The different texts of all headers or footers, those of first and even pages too."""
    texts: dict[str, None] = {}
    for section in document.sections:
        for which in (f"first_page_{kind}", kind, f"even_page_{kind}"):
            margin = getattr(section, which)
            if not margin.is_linked_to_previous:
                # Its paragraphs alone would lose its tables.
                texts[_all_text(margin.part.element)] = None
    return [text for text in texts if text]


def _related(document: DocumentObject, relationship: str) -> Iterator[Any]:
    for related in document.part.rels.values():
        if related.reltype == relationship and not related.is_external:
            yield etree.fromstring(related.target_part.blob, etree.XMLParser(resolve_entities=False, no_network=True))
