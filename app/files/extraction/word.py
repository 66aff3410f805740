"""DOCX: opened by python-docx, its XML walked here.

The library's own paragraphs and tables leave out inserted text, content controls, text boxes and notes.
"""

import re
from collections.abc import Iterator
from contextlib import suppress
from io import BytesIO
from typing import Any, Final

from docx import Document
from docx.document import Document as DocumentObject
from docx.opc.constants import RELATIONSHIP_TYPE

from app.files.extraction.charts import diagram_text, read_chart
from app.files.extraction.output import TextOutput
from app.files.extraction.xml import parsed

_W: Final = "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}"
_M: Final = "{http://schemas.openxmlformats.org/officeDocument/2006/math}"
_MC: Final = "{http://schemas.openxmlformats.org/markup-compatibility/2006}"
_PIC: Final = "{http://schemas.openxmlformats.org/drawingml/2006/picture}"

# Deleted and moved text is no longer there; a fallback repeats what its alternative says.
_SKIPPED: Final = frozenset(
    [f"{_W}{name}" for name in ("pPr", "rPr", "sdtPr", "del", "moveFrom", "instrText", "delText", "tblPr", "tcPr")]
    + [f"{_MC}Fallback"]
)
_C: Final = "{http://schemas.openxmlformats.org/drawingml/2006/chart}"
_DGM: Final = "{http://schemas.openxmlformats.org/drawingml/2006/diagram}"
_R: Final = "{http://schemas.openxmlformats.org/officeDocument/2006/relationships}"
# Boxes of forms, in the fonts of symbols; other symbols are bullets and the like.
_SYMBOLS: Final = {"F0A8": "☐", "F06F": "☐", "F0FE": "☒", "F0FD": "☒", "F0FC": "✓"}
_CHARACTERS: Final = {f"{_W}tab": "\t", f"{_W}cr": "\n", f"{_W}noBreakHyphen": "-", f"{_W}ptab": "\t"}
_NOTE_MARKS: Final = {f"{_W}footnoteReference": "", f"{_W}endnoteReference": "end"}
_PAGE_BREAK: Final = "\f"
_HEADING: Final = re.compile(r"heading (\d)$", re.IGNORECASE)


def read_docx(data: bytes, output: TextOutput) -> None:
    document = Document(BytesIO(data))
    reader = _DocxReader(output, _heading_levels(document), document.part)
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
    for root in _related(document, RELATIONSHIP_TYPE.COMMENTS):
        output.blank()
        for comment in root:
            text = _all_text(comment)
            if text:
                output.line(f"[comment] {text}")
    pictures = sum(1 for _ in body.iter(f"{_PIC}pic"))
    if pictures:
        output.notes.append(f"{pictures:,} pictures of the document are not shown")


class _DocxReader:
    def __init__(self, output: TextOutput, levels: dict[str, int], part: Any) -> None:
        self._output = output
        self._part = part
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
            elif child.tag == f"{_W}altChunk":
                self._included(child.get(f"{_R}id"))
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

        self._graphics(paragraph)

    def _graphics(self, paragraph: Any) -> None:
        """Charts and SmartArt, whose data are in other parts."""
        for chart in paragraph.iter(f"{_C}chart"):
            data = self._blob(chart.get(f"{_R}id"))
            if data is None:
                self._output.mark("[chart: it cannot be read]")
            else:
                read_chart(data, self._output)
        for diagram in paragraph.iter(f"{_DGM}relIds"):
            data = self._blob(diagram.get(f"{_R}dm"))
            self._output.mark("[diagram]")
            for line in [] if data is None else diagram_text(data):
                self._output.line(f"- {line}")
        for embedded in paragraph.iter("{urn:schemas-microsoft-com:office:office}OLEObject"):
            self._output.mark(f"[object: {embedded.get('ProgID', 'unknown')}]")

    def _included(self, id: str | None) -> None:
        """A file that the document includes: web applications put pages into documents so."""
        data = self._blob(id)
        if data is None or b"<" not in data[:1024]:
            self._output.mark("[included file: it cannot be read]")
            return
        from app.files.extraction.markup import read_html  # its libraries are needed for few documents

        self._output.blank()
        read_html(data, self._output)
        self._output.blank()

    def _blob(self, id: str | None) -> bytes | None:
        part = self._part.related_parts.get(id)
        return None if part is None else bytes(part.blob)

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
        elif tag == f"{_W}sym":
            yield _SYMBOLS.get(child.get(f"{_W}char", "").upper(), "•")
        elif tag == f"{_W}ruby":
            base, reading = ("".join(_pieces_of(child, name)) for name in ("rubyBase", "rt"))
            yield f"{base}({reading})" if reading else base
        elif tag == f"{_W}ffData":
            yield _form_value(child)
        elif tag in _NOTE_MARKS:
            yield f"[^{_NOTE_MARKS[tag]}{child.get(f'{_W}id')}]"
        elif tag not in _SKIPPED and tag != f"{_W}txbxContent" and isinstance(tag, str):
            yield from _pieces(child)


def _pieces_of(element: Any, name: str) -> Iterator[str]:
    for child in element.iterfind(f"{_W}{name}"):
        yield from _pieces(child)


def _form_value(field: Any) -> str:
    """The state of a box, or the choice from a list; what was typed follows as text."""
    box, choices = field.find(f"{_W}checkBox"), field.find(f"{_W}ddList")
    if box is not None:
        state = box.find(f"{_W}checked")
        return "☒" if _is_on(box.find(f"{_W}default") if state is None else state) else "☐"
    if choices is not None:
        entries = [entry.get(f"{_W}val", "") for entry in choices.iterfind(f"{_W}listEntry")]
        result = choices.find(f"{_W}result")
        index = "0" if result is None else result.get(f"{_W}val", "0")
        return entries[int(index)] if index.isdecimal() and int(index) < len(entries) else ""
    return ""


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
            # A missing part is one that has no text.
            with suppress(KeyError):
                if not margin.is_linked_to_previous:
                    # Its paragraphs alone would lose its tables.
                    texts[_all_text(margin.part.element)] = None
    return [text for text in texts if text]


def _related(document: DocumentObject, relationship: str) -> Iterator[Any]:
    for related in document.part.rels.values():
        if related.reltype == relationship and not related.is_external:
            root = parsed(related.target_part.blob)
            if root is not None:
                yield root
