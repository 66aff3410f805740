"""PPTX by python-pptx: each slide with its number and title, its texts, tables, chart data and notes."""

from collections.abc import Iterable, Iterator
from io import BytesIO
from typing import Any, Final

from pptx import Presentation
from pptx.enum.shapes import MSO_SHAPE_TYPE, PP_PLACEHOLDER
from pptx.exc import PackageNotFoundError

from app.files.extraction.models import BROKEN, DocumentLimits, Reason, Unreadable
from app.files.extraction.output import TextOutput

_LEFT_OUT: Final = (PP_PLACEHOLDER.SLIDE_NUMBER, PP_PLACEHOLDER.SLIDE_IMAGE, PP_PLACEHOLDER.DATE)


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
    for number, slide in enumerate(presentation.slides, 1):
        output.place = f"slide {number:,} of {count:,}"
        title = slide.shapes.title
        heading = " ".join(title.text_frame.text.split()) if title is not None else ""
        hidden = " (hidden)" if slide.element.get("show") == "0" else ""
        output.blank()
        if heading:
            output.line(f"## Slide {number}: {heading}{hidden}")
        else:
            output.mark(f"## Slide {number}{hidden}")
        for shape in _flat(slide.shapes):
            if title is None or shape.shape_id != title.shape_id:
                _read_shape(shape, output)
            pictures += shape.shape_type == MSO_SHAPE_TYPE.PICTURE
        if slide.has_notes_slide:
            for shape in slide.notes_slide.shapes:
                text = _shape_text(shape)
                if text:
                    output.line(f"[notes] {text}")
    if pictures:
        output.notes.append(f"{pictures:,} pictures of the presentation are not shown")


def _flat(shapes: Iterable[Any]) -> Iterator[Any]:
    for shape in shapes:
        if shape.shape_type == MSO_SHAPE_TYPE.GROUP:
            yield from _flat(shape.shapes)
        else:
            yield shape


def _read_shape(shape: Any, output: TextOutput) -> None:
    if getattr(shape, "has_table", False):
        output.blank()
        output.table([cell.text_frame.text for cell in row.cells] for row in shape.table.rows)
        output.blank()
    elif getattr(shape, "has_chart", False):
        _read_chart(shape.chart, output)
    elif shape.has_text_frame:
        footer = shape.is_placeholder and shape.placeholder_format.type in (
            PP_PLACEHOLDER.FOOTER,
            PP_PLACEHOLDER.HEADER,
        )
        if footer:
            text = _shape_text(shape)
            if text:
                output.line(f"[footer] {text}")
            return
        if shape.is_placeholder and shape.placeholder_format.type in _LEFT_OUT:
            return
        for paragraph in shape.text_frame.paragraphs:
            text = paragraph.text.replace("\v", "\n").strip()
            if text:
                output.line("  " * paragraph.level + text)


def _read_chart(chart: Any, output: TextOutput) -> None:
    title = chart.chart_title.text_frame.text if chart.has_title and chart.chart_title.has_text_frame else ""
    output.blank()
    output.line(f"[chart] {title}")
    for plot in chart.plots:
        series = list(plot.series)
        columns = [list(line.values) for line in series]
        output.table(
            [["", *(line.name or "" for line in series)]]
            + [
                [
                    str(category),
                    *("" if row >= len(values) or values[row] is None else f"{values[row]:.15g}" for values in columns),
                ]
                for row, category in enumerate(plot.categories)
            ]
        )
    output.blank()


def _shape_text(shape: Any) -> str:
    if not shape.has_text_frame or (shape.is_placeholder and shape.placeholder_format.type in _LEFT_OUT):
        return ""
    return " ".join(shape.text_frame.text.split())
