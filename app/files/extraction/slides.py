"""PPTX by python-pptx: each slide with its number and title, its texts, tables, chart data and notes."""

from collections.abc import Callable, Iterator
from io import BytesIO
from typing import Any, Final

from pptx import Presentation
from pptx.exc import InvalidXmlError, PackageNotFoundError

from app.files.extraction.charts import diagram_text, read_chart
from app.files.extraction.models import BROKEN, DocumentLimits, Reason, Unreadable
from app.files.extraction.output import TextOutput

_A: Final = "{http://schemas.openxmlformats.org/drawingml/2006/main}"
_C: Final = "{http://schemas.openxmlformats.org/drawingml/2006/chart}"
_CX: Final = "{http://schemas.microsoft.com/office/drawing/2014/chartex}"
_DGM: Final = "{http://schemas.openxmlformats.org/drawingml/2006/diagram}"
_MC: Final = "{http://schemas.openxmlformats.org/markup-compatibility/2006}"
_P: Final = "{http://schemas.openxmlformats.org/presentationml/2006/main}"
_R: Final = "{http://schemas.openxmlformats.org/officeDocument/2006/relationships}"
_SHAPES: Final = frozenset(f"{_P}{name}" for name in ("sp", "pic", "graphicFrame", "cxnSp"))
_GRAPHICS: Final = (f"{_C}chart", f"{_CX}chart", f"{_DGM}relIds", f"{_P}oleObj", f"{_P}pic")
# The types of placeholders for numbers, dates and, in notes, the slide's picture.
_LEFT_OUT: Final = ("sldNum", "dt", "sldImg")
_MARGINS: Final = ("ftr", "hdr")
_LEVELS: Final = "012345678"


def read_pptx(data: bytes, output: TextOutput, limits: DocumentLimits) -> None:
    try:
        presentation = Presentation(BytesIO(data))
    except PackageNotFoundError:
        raise Unreadable(Reason.BROKEN, BROKEN) from None
    count = len(presentation.slides)
    if count > limits.max_pages:
        raise Unreadable(Reason.TOO_MANY_PAGES, f"it has more than {limits.max_pages:,} slides")
    output.pages = count
    pictures = 0
    for number in range(1, count + 1):
        output.place = f"slide {number:,} of {count:,}"
        output.blank()
        try:
            slide = presentation.slides[number - 1]
        except LookupError:
            output.mark(f"## Slide {number}")
            output.mark("[slide: it is missing in the file]")
            continue
        pictures += _read_slide(slide, number, output)
    if pictures:
        output.notes.append(f"{pictures:,} pictures of the presentation are not shown")


def _read_slide(slide: Any, number: int, output: TextOutput) -> int:
    """The number of pictures on the slide."""
    shapes = list(_shapes(slide.element))
    title = next((shape for shape in shapes if _is_title(shape)), None)
    heading = "" if title is None else " ".join(_words(title).split())
    hidden = " (hidden)" if slide.element.get("show") == "0" else ""
    if heading:
        output.line(f"## Slide {number}: {heading}{hidden}")
    else:
        output.mark(f"## Slide {number}{hidden}")
    for shape in shapes:
        if shape is not title:
            _read_shape(shape, slide.part, output)
    notes = _of(lambda: slide.notes_slide if slide.has_notes_slide else None)
    for shape in [] if notes is None else _shapes(notes.element):
        text = "" if _placeholder(shape) in _LEFT_OUT else " ".join(_words(shape).split())
        if text:
            output.line(f"[notes] {text}")
    return sum(shape.tag == f"{_P}pic" for shape in shapes)


def _shapes(root: Any) -> Iterator[Any]:
    """The shapes of a slide, also those in groups. The library's own know none but well-formed ones."""
    tree = root.find(f"{_P}cSld/{_P}spTree")
    yield from () if tree is None else _shapes_in(tree)


def _shapes_in(tree: Any) -> Iterator[Any]:
    for element in tree:
        if element.tag == f"{_P}grpSp":
            yield from _shapes_in(element)
        elif element.tag == f"{_MC}AlternateContent":
            # What only new programs show, with something else for old ones.
            chosen = next((choice for choice in element if _has_content(choice)), None)
            yield from () if chosen is None else _shapes_in(chosen)
        elif element.tag in _SHAPES:
            yield element


def _has_content(choice: Any) -> bool:
    return bool(_words(choice).strip()) or any(True for _ in choice.iter(*_GRAPHICS))


def _placeholder(shape: Any) -> str | None:
    mark = shape.find(f"*/{_P}nvPr/{_P}ph")
    return None if mark is None else mark.get("type", "obj")


def _is_title(shape: Any) -> bool:
    mark = shape.find(f"*/{_P}nvPr/{_P}ph")
    return mark is not None and mark.get("idx", "0") == "0" and mark.get("type") not in (*_LEFT_OUT, *_MARGINS)


def _of(read: Callable[[], Any]) -> Any:
    """What a property of the library says; None for what it does not know, or does not find."""
    try:
        return read()
    except (ArithmeticError, AttributeError, LookupError, NotImplementedError, TypeError, ValueError, InvalidXmlError):
        return None


def _words(element: Any) -> str:
    """The text of the paragraphs in an element, each on a line."""
    return "\n".join(_words_of(paragraph) for paragraph in element.iter(f"{_A}p"))


def _words_of(paragraph: Any) -> str:
    pieces = paragraph.iter(f"{_A}t", f"{_A}br")
    return "".join("\n" if piece.tag == f"{_A}br" else piece.text or "" for piece in pieces)


def _read_shape(shape: Any, part: Any, output: TextOutput) -> None:
    placeholder = _placeholder(shape)
    if placeholder in _LEFT_OUT:
        return
    if placeholder in _MARGINS:
        text = " ".join(_words(shape).split())
        if text:
            output.line(f"[footer] {text}")
        return
    for table in shape.iter(f"{_A}tbl"):
        output.blank()
        output.table([_words(cell) for cell in row.iterfind(f"{_A}tc")] for row in table.iterfind(f"{_A}tr"))
        output.blank()
    for body in shape.iterfind(f"{_P}txBody"):
        for paragraph in body.iterfind(f"{_A}p"):
            properties = paragraph.find(f"{_A}pPr")
            level = "0" if properties is None else properties.get("lvl", "0")
            text = _words_of(paragraph).strip()
            if text:
                output.line("  " * (int(level) if level in _LEVELS else 0) + text)
    _read_graphics(shape, part, output)


def _read_graphics(element: Any, part: Any, output: TextOutput) -> None:
    """Charts and SmartArt, whose data are in other parts."""
    for chart in element.iter(f"{_C}chart", f"{_CX}chart"):
        data = _blob(part, chart.get(f"{_R}id"))
        if data is None:
            output.mark("[chart: it cannot be read]")
        else:
            read_chart(data, output)
    for diagram in element.iter(f"{_DGM}relIds"):
        data = _blob(part, diagram.get(f"{_R}dm"))
        lines = [] if data is None else diagram_text(data)
        output.mark("[diagram]")
        for line in lines:
            output.line(f"- {line}")
    for embedded in element.iter(f"{_P}oleObj"):
        output.mark(f"[object: {embedded.get('name') or embedded.get('progId') or 'unknown'}]")


def _blob(part: Any, id: str | None) -> bytes | None:
    blob = _of(lambda: part.related_part(id).blob)
    return None if blob is None else bytes(blob)
