"""Documents with something odd in one of their parts, as the programs of many makers write them."""

import re
import struct
import zipfile
from collections.abc import Callable, Mapping
from io import BytesIO

import docx
import openpyxl
from pptx import Presentation
from pptx.chart.data import CategoryChartData
from pptx.enum.chart import XL_CHART_TYPE
from pptx.util import Inches

Edit = Callable[[bytes], bytes]
OFFICE = b"http://schemas.openxmlformats.org/officeDocument/2006/relationships"
TYPES = "[Content_Types].xml"


def edited(
    data: bytes,
    edits: Mapping[str, Edit] | None = None,
    *,
    names: Callable[[str], str] = lambda name: name,
    more: Mapping[str, bytes] | None = None,
    without: tuple[str, ...] = (),
) -> bytes:
    """The package with some of its parts changed, renamed, added or left out."""
    out = BytesIO()
    with zipfile.ZipFile(BytesIO(data)) as source, zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as target:
        for member in source.infolist():
            if member.filename not in without:
                content = source.read(member)
                for name, edit in (edits or {}).items():
                    content = edit(content) if name == member.filename else content
                target.writestr(names(member.filename), content)
        for name, content in (more or {}).items():
            target.writestr(name, content)
    return out.getvalue()


def replacing(old: bytes, new: bytes) -> Edit:
    def edit(content: bytes) -> bytes:
        assert re.search(old, content, re.DOTALL), old
        return re.sub(old, lambda _: new, content, flags=re.DOTALL)

    return edit


def relation(target: bytes, role: bytes = b"image", more: bytes = b"") -> Edit:
    element = b'<Relationship Id="rId99" Type="%s/%s" Target="%s"%s/></Relationships>' % (OFFICE, role, target, more)
    return replacing(b"</Relationships>", element)


def document() -> bytes:
    made = docx.Document()
    made.add_paragraph("The harbour opens at seven.")
    out = BytesIO()
    made.save(out)
    return out.getvalue()


def workbook() -> bytes:
    made = openpyxl.Workbook()
    assert made.active is not None
    made.active.append(["Item", "Price"])
    made.active.append(["Rope", 12.5])
    out = BytesIO()
    made.save(out)
    return out.getvalue()


def presentation(chart: XL_CHART_TYPE | None = None) -> bytes:
    made = Presentation()
    slide = made.slides.add_slide(made.slide_layouts[5])
    slide.shapes.title.text = "Tide tables"
    box = slide.shapes.add_textbox(Inches(1), Inches(2), Inches(4), Inches(1))
    box.text_frame.text = "High water at nine."
    if chart is not None:
        data = CategoryChartData()  # type: ignore[no-untyped-call]
        data.categories = ["East", "West"]
        data.add_series("Q1", (19.2, 21.4))  # type: ignore[no-untyped-call]
        slide.shapes.add_chart(chart, Inches(1), Inches(2), Inches(4), Inches(3), data)
    out = BytesIO()
    made.save(out)
    return out.getvalue()


def with_directory_sizes(data: bytes, packed: int, unpacked: int) -> bytes:
    """The package with other sizes in its directory than its members have."""
    out = bytearray(data)
    position = out.find(b"PK\x01\x02")
    while position != -1:
        struct.pack_into("<II", out, position + 20, packed, unpacked)
        position = out.find(b"PK\x01\x02", position + 4)
    return bytes(out)


def pdf(objects: list[bytes]) -> bytes:
    out = b"%PDF-1.4\n"
    offsets = []
    for number, content in enumerate(objects, 1):
        offsets.append(len(out))
        out += b"%d 0 obj\n%s\nendobj\n" % (number, content)
    table = b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
    count, start = len(objects) + 1, len(out)
    out += b"xref\n0 %d\n0000000000 65535 f \n%s" % (count, table)
    return out + b"trailer\n<</Size %d/Root 1 0 R>>\nstartxref\n%d\n%%%%EOF\n" % (count, start)


def stream(content: bytes) -> bytes:
    return b"<</Length %d>>\nstream\n%s\nendstream" % (len(content), content)


def pdf_page(content: bytes, font: bytes, *more: bytes, page: bytes = b"", catalog: bytes = b"") -> bytes:
    """A PDF of one page: object 4 is its content, 5 its font, `more` are those from 6 on."""
    return pdf(
        [
            b"<</Type/Catalog/Pages 2 0 R%s>>" % catalog,
            b"<</Type/Pages/Kids[3 0 R]/Count 1>>",
            b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 595 842]/Contents 4 0 R"
            b"/Resources<</Font<</F1 5 0 R>>>>%s>>" % page,
            stream(content),
            font,
            *more,
        ]
    )
