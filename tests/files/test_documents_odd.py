"""What is odd in one part of a document costs that part and no more; what cannot be read is named."""

import pytest
from pptx.enum.chart import XL_CHART_TYPE

from app.files.extraction.models import Reason
from app.files.refusals import DocumentRefused
from tests.files import hostile, oddities
from tests.files.in_process import read
from tests.files.oddities import OFFICE, TYPES, Edit, edited, relation, replacing

DOCX_TEXT = "The harbour opens at seven."
XLSX_TEXT = "| Rope | 12.5 |"
PPTX_TEXT = "## Slide 1: Tide tables\nHigh water at nine."
RELS = {
    "docx": "word/_rels/document.xml.rels",
    "pptx": "ppt/slides/_rels/slide1.xml.rels",
    "xlsx": "xl/_rels/workbook.xml.rels",
}
MADE = {"docx": oddities.document, "xlsx": oddities.workbook, "pptx": oddities.presentation}
EXPECTED = {"docx": DOCX_TEXT, "xlsx": XLSX_TEXT, "pptx": PPTX_TEXT}


@pytest.mark.parametrize("kind", ["docx", "xlsx", "pptx"])
def test_relations_that_lead_nowhere(kind: str) -> None:
    data = MADE[kind]()
    for target in (
        b"../NULL",
        b"NULL",
        b"#_top",
        b"media/image1.png",
        b"",
        b"/NULL",
        b"file:///C:/x.png",
        b"../../../x",
    ):
        for role in (b"image", b"hyperlink", b"header", b"video", b"oleObject", b"chart", b"externalLink"):
            odd = edited(data, {RELS[kind]: relation(target, role)})
            assert EXPECTED[kind] in (read(odd, f"a.{kind}")).text, (target, role)
    twice = edited(data, {RELS[kind]: replacing(b"</Relationships>", b'<Relationship Id="rId1"/></Relationships>')})
    assert EXPECTED[kind] in (read(twice, f"a.{kind}")).text


@pytest.mark.parametrize("kind", ["docx", "xlsx", "pptx"])
def test_packages_that_are_not_quite_zip(kind: str) -> None:
    data = MADE[kind]()
    styles = {"docx": "word/styles.xml", "xlsx": "xl/styles.xml", "pptx": "ppt/presProps.xml"}[kind]
    for name, odd in {
        "leading bytes": b"HTTP/1.1 200 OK\r\n\r\n" + data,
        "blank lines before": b"\r\n\r\n" + data,
        "bytes behind": data + b"\0" * 100,
        "wrong sizes": oddities.with_directory_sizes(data, 10, 10),
        "zip64 marks": oddities.with_directory_sizes(data, 0xFFFFFFFF, 0xFFFFFFFF),
        "no sizes": oddities.with_directory_sizes(data, 0, 0),
        "backslashes": edited(data, names=lambda name: name if name == TYPES else name.replace("/", "\\")),
        "all backslashes": edited(data, names=lambda name: name.replace("/", "\\")),
        "slashes before": edited(data, names=lambda name: f"/{name}"),
        "dots before": edited(data, names=lambda name: f"./{name}"),
        "upper case": edited(data, names=lambda name: name.upper() if name.endswith(".xml") else name),
        "lower case": edited(data, names=str.lower),
        "no types": edited(data, without=(TYPES,)),
        "no overrides": edited(data, {TYPES: replacing(rb"<Override[^>]*/>", b"")}),
        "no defaults": edited(data, {TYPES: replacing(rb"<Default[^>]*/>", b"")}),
        "types without the end": edited(data, {TYPES: replacing(rb"</Types>", b"")}),
        "no root relations": edited(data, without=("_rels/.rels",)),
        "no styles": edited(data, without=(styles,)),
        "no properties": edited(data, without=("docProps/core.xml", "docProps/app.xml")),
        "a folder": edited(data, more={"word/": b""}),
        "a part twice": edited(
            data, more={styles: b"<x/>"}, names=lambda name: name if name != styles else f"./{name}"
        ),
        "relations of a missing part": edited(data, more={"word/_rels/gone.xml.rels": b"<Relationships/>"}),
    }.items():
        if name == "a part twice" and kind == "xlsx":
            continue
        try:
            text = (read(odd, f"a.{kind}")).text
        except DocumentRefused as refusal:
            raise AssertionError(f"{name}: {refusal.message}") from None
        assert EXPECTED[kind] in text, name


def test_protected_and_truncated_packages_are_still_refused() -> None:
    data = bytearray(oddities.document())
    position = data.find(b"PK\x01\x02")
    while position != -1:
        data[position + 8] |= 1
        position = data.find(b"PK\x01\x02", position + 4)
    for odd, reason in ((bytes(data), Reason.ENCRYPTED), (oddities.document()[:-30], Reason.BROKEN)):
        with pytest.raises(DocumentRefused) as caught:
            read(odd, "a.docx")
        assert caught.value.reason is reason


@pytest.mark.parametrize(
    ("kind", "names", "main_type"),
    [
        ("docx", "docm", b"application/vnd.ms-word.document.macroEnabled.main+xml"),
        ("docx", "dotx", b"application/vnd.openxmlformats-officedocument.wordprocessingml.template.main+xml"),
        ("docx", "dotm", b"application/vnd.ms-word.template.macroEnabledTemplate.main+xml"),
        ("xlsx", "xlsm", b"application/vnd.ms-excel.sheet.macroEnabled.main+xml"),
        ("xlsx", "xltx", b"application/vnd.openxmlformats-officedocument.spreadsheetml.template.main+xml"),
        ("xlsx", "xltm", b"application/vnd.ms-excel.template.macroEnabled.main+xml"),
        ("xlsx", "xlam", b"application/vnd.ms-excel.addin.macroEnabled.main+xml"),
        ("pptx", "pptm", b"application/vnd.ms-powerpoint.presentation.macroEnabled.main+xml"),
        ("pptx", "ppsx", b"application/vnd.openxmlformats-officedocument.presentationml.slideshow.main+xml"),
        ("pptx", "ppsm", b"application/vnd.ms-powerpoint.slideshow.macroEnabled.main+xml"),
        ("pptx", "potx", b"application/vnd.openxmlformats-officedocument.presentationml.template.main+xml"),
        ("pptx", "potm", b"application/vnd.ms-powerpoint.template.macroEnabled.main+xml"),
    ],
)
def test_templates_shows_and_macros(kind: str, names: str, main_type: bytes) -> None:
    old = {"docx": rb"[\w./-]+wordprocessingml.document.main\+xml", "xlsx": rb"[\w./-]+spreadsheetml.sheet.main\+xml"}
    edit = replacing(old.get(kind, rb"[\w./-]+presentationml.presentation.main\+xml"), main_type)
    for name in (f"a.{names}", f"a.{kind}", "a"):
        document = read(edited(MADE[kind](), {TYPES: edit}), name)
        assert (document.format, EXPECTED[kind] in document.text) == (kind, True)


def test_binary_workbooks_are_refused_with_the_reason() -> None:
    types = b'<Types><Override PartName="/xl/workbook.bin" ContentType="application/vnd.ms-excel.sheet.binary.macroEnabled.main"/></Types>'
    with pytest.raises(DocumentRefused, match="XLSB") as caught:
        read(hostile.package({TYPES: types, "xl/workbook.bin": b"x"}), "a.xlsb")
    assert caught.value.reason is Reason.UNSUPPORTED


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (rb"<a:prstGeom.*?</a:prstGeom>", b""),
        (rb"<p:spPr>.*?</p:spPr>", b"<p:spPr/>"),
        (rb'type="title"', b'type="unheard"'),
        (rb'<p:cNvPr id="2"', b'<p:cNvPr id="x"'),
        (rb"</p:spTree>", b"<p:contentPart/><p:sp/><p:cxnSp/></p:spTree>"),
        (rb"</p:spTree>", b"<p:pic><p:nvPicPr/><p:blipFill/><p:spPr/></p:pic></p:spTree>"),
        (rb"</p:spTree>", b"<p:graphicFrame><p:xfrm/></p:graphicFrame></p:spTree>"),
    ],
)
def test_one_odd_shape_does_not_cost_the_presentation(old: bytes, new: bytes) -> None:
    for more in (b"", b' txBox="1"'):
        odd = edited(
            oddities.presentation(),
            {"ppt/slides/slide1.xml": _both(replacing(more, b"") if more else bytes, replacing(old, new))},
        )
        text = (read(odd, "a.pptx")).text
        assert "Tide tables" in text
        assert "High water at nine." in text


@pytest.mark.parametrize(
    "name", ["bar3DChart", "pieChart", "ofPieChart", "surface3DChart", "stockChart", "unheardChart"]
)
def test_charts_of_all_kinds_are_read_by_their_data(name: str) -> None:
    data = oddities.presentation(XL_CHART_TYPE.COLUMN_CLUSTERED)
    part = next(part for part in _names(data) if "charts/chart" in part)
    rename = replacing(rb"c:barChart>", f"c:{name}>".encode())
    for value, shown in ((b"21.4", "21.4"), (b"#N/A", "#N/A"), (b"", ""), (b"1E400", "inf")):
        edit = replacing(rb"<c:v>21.4</c:v>", b"<c:v>%s</c:v>" % value)
        text = (read(edited(data, {part: _both(rename, edit)}), "a.pptx")).text
        assert "[chart]" in text
        assert "| East | 19.2 |" in text
        assert f"| West | {shown}".rstrip() in text
    lost = read(edited(data, without=(part,)), "a.pptx")
    assert PPTX_TEXT in lost.text
    assert "[chart: it cannot be read]" in lost.text


def test_what_only_new_programs_show_on_slides_is_read() -> None:
    shape = "<p:sp><p:nvSpPr/><p:txBody><a:p><a:r><a:t>{}</a:t></a:r></a:p></p:txBody></p:sp>"
    choices = (
        '<mc:AlternateContent xmlns:mc="http://schemas.openxmlformats.org/markup-compatibility/2006"><mc:Choice Requires="x">'
        f"{shape.format('Low water at three.')}</mc:Choice><mc:Fallback>{shape.format('Fallback')}</mc:Fallback>"
        "</mc:AlternateContent></p:spTree>"
    )
    odd = edited(oddities.presentation(), {"ppt/slides/slide1.xml": replacing(rb"</p:spTree>", choices.encode())})
    text = (read(odd, "a.pptx")).text
    assert "Low water at three." in text
    assert "Fallback" not in text


@pytest.mark.parametrize(
    ("part", "old", "new"),
    [
        ("xl/styles.xml", rb"<fills.*?</fills>", b'<fills count="1"><fill/></fills>'),
        (
            "xl/styles.xml",
            rb"<fills.*?</fills>",
            b'<fills><fill><patternFill><fgColor rgb="FFF"/></patternFill></fill></fills>',
        ),
        ("xl/styles.xml", rb"<fonts.*?</fonts>", b'<fonts><font><sz val="big"/><family val="99"/></font></fonts>'),
        ("xl/styles.xml", rb"<cellXfs.*?</cellXfs>", b'<cellXfs><xf numFmtId="x" fontId="77"/></cellXfs>'),
        ("xl/styles.xml", rb"<styleSheet.*", b""),
        (
            "docProps/core.xml",
            rb"<dcterms:created.*?</dcterms:created>",
            b"<dcterms:created>2021-02-30</dcterms:created>",
        ),
        ("docProps/core.xml", rb"<dcterms:created.*?</dcterms:created>", b"<dcterms:created>gestern</dcterms:created>"),
        ("docProps/core.xml", rb"<cp:coreProperties.*", b"<broken"),
        ("xl/theme/theme1.xml", rb"<a:theme.*", b""),
        (
            "xl/workbook.xml",
            rb"</workbook>",
            b'<definedNames><definedName localSheetId="9" name="_xlnm.Print_Area">#REF!</definedName></definedNames></workbook>',
        ),
        (
            "xl/workbook.xml",
            rb"</sheets>",
            b'<sheet name="Gone" sheetId="7" r:id="rId77" xmlns:r="%s"/></sheets>' % OFFICE,
        ),
        (
            "xl/worksheets/sheet1.xml",
            rb"</worksheet>",
            b'<conditionalFormatting sqref="?"/><legacyDrawing r:id="rId5" xmlns:r="%s"/></worksheet>' % OFFICE,
        ),
        ("xl/worksheets/sheet1.xml", rb"<dimension[^>]*/>", b'<dimension ref="A1:XFD1048576"/>'),
        (
            "xl/worksheets/sheet1.xml",
            rb"</sheetData>",
            b'<row r="1048576"><c r="A1048576"><v>99</v></c></row></sheetData>',
        ),
    ],
)
def test_decoration_does_not_cost_the_workbook(part: str, old: bytes, new: bytes) -> None:
    document = read(edited(oddities.workbook(), {part: replacing(old, new)}), "a.xlsx")
    assert XLSX_TEXT in document.text
    if b"Gone" in new:
        assert document.notes == ("the sheet “Gone” is missing in the file",)


def _both(first: Edit, second: Edit) -> Edit:
    return lambda content: second(first(content))


def _names(data: bytes) -> list[str]:
    import zipfile
    from io import BytesIO

    return zipfile.ZipFile(BytesIO(data)).namelist()


FORM = b"""<w:p><w:r><w:fldChar w:fldCharType="begin"><w:ffData><w:checkBox><w:checked/></w:checkBox></w:ffData></w:fldChar>
</w:r><w:r><w:t>agreed</w:t></w:r><w:r><w:fldChar w:fldCharType="begin"><w:ffData><w:ddList><w:result w:val="1"/>
<w:listEntry w:val="north"/><w:listEntry w:val="south"/></w:ddList></w:ffData></w:fldChar></w:r></w:p>"""
RUBY = "<w:p><w:r><w:ruby><w:rt><w:r><w:t>とうきょう</w:t></w:r></w:rt><w:rubyBase><w:r><w:t>東京</w:t></w:r></w:rubyBase></w:ruby></w:r></w:p>"


def test_forms_rubies_comments_and_included_pages_of_a_document() -> None:
    page = b"<html><h1>Invoice</h1><p>Seven cranes.</p></html>"
    comments = f'<w:comments {hostile.WORD}><w:comment w:id="0"><w:p><w:r><w:t>Change to eight.</w:t></w:r></w:p></w:comment></w:comments>'
    chunk = b'<w:altChunk xmlns:r="%s" r:id="rId99"/><w:altChunk xmlns:r="%s" r:id="rId55"/></w:body>' % (
        OFFICE,
        OFFICE,
    )

    def relations(xml: bytes) -> bytes:
        xml = relation(b"../page.htm", b"aFChunk")(xml)
        return relation(b"comments.xml", b"comments")(xml.replace(b"rId99", b"rId98")).replace(b"rId99", b"rId97")

    odd = edited(
        oddities.document(),
        {
            "word/document.xml": lambda xml: replacing(b"</w:body>", chunk.replace(b"rId99", b"rId98"))(
                replacing(b"<w:body>", b"<w:body>" + FORM + RUBY.encode())(xml)
            ),
            RELS["docx"]: relations,
        },
        more={"page.htm": page, "word/comments.xml": comments.encode()},
    )
    text = (read(odd, "a.docx")).text
    for expected in (
        "☒agreed",
        "south",
        "東京(とうきょう)",
        "# Invoice",
        "Seven cranes.",
        "[comment] Change to eight.",
        DOCX_TEXT,
    ):
        assert expected in text, expected
    assert "[included file: it cannot be read]" in text


HELVETICA = b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica/Encoding/WinAnsiEncoding>>"
FIELDS = [
    b"<</Subtype/Widget/FT/Tx/T(berth)/V(Quay 7 north)>>",
    b"<</Subtype/Widget/FT/Tx/T(captain)/TU(Name of the captain)/V<FEFF6E2F53E3>>>",
    b"<</Subtype/Widget/FT/Btn/T(agree)/V/Yes/AS/Yes>>",
    b"<</Subtype/Widget/FT/Btn/T(refuse)/V/Off/AS/Off>>",
    b"<</Subtype/Widget/FT/Btn/Ff 32768/T(size)/V/large/AS/large>>",
    b"<</Subtype/Widget/FT/Ch/T(flag)/V(no)/Opt[[(no)(Norway)][(se)(Sweden)]]>>",
    b"<</Subtype/Widget/FT/Ch/T(cargo)/V[(coal)(iron)]>>",
    b"<</Subtype/FreeText/Contents(Approved by the harbour master)>>",
    b"<</Subtype/Text/Contents(Call back)>>",
    b"<</Subtype/Widget/Parent 14 0 R>>",
    b"<</FT/Tx/T(parent)/V(inherited)/Kids[99 0 R]>>",
    b"<</Subtype/Widget/FT/Tx/V 99 0 R/Parent 15 0 R/T(odd)>>",
    b"<</FT/Tx/T(hidden)/V(on no page)>>",
    b"<</T(group)/Kids[18 0 R]>>",
]


def test_what_was_filled_in_and_written_onto_a_pdf_is_read() -> None:
    objects = [
        *FIELDS[:9],
        b"<</Subtype/Widget/Parent 16 0 R>>",
        b"<</FT/Tx/T(parent)/V(inherited)>>",
        b"<</FT/Tx/T(lost)/V(on no page)>>",
    ]
    numbers = b" ".join(b"%d 0 R" % (6 + index) for index in range(10))
    content = b"BT /F1 14 Tf 60 700 Td (Berth applied for:) Tj ET"
    data = oddities.pdf_page(
        content,
        HELVETICA,
        *objects,
        page=b"/Annots[%s 99 0 R (odd) null]" % numbers,
        catalog=b"/AcroForm<</Fields[17 0 R 99 0 R 6 0 R]>>",
    )
    text = (read(data, "form.pdf")).text
    for line in (
        "Berth applied for:",
        "[form] berth: Quay 7 north",
        "[form] Name of the captain: 港口",
        "[form] agree: ☒",
        "[form] refuse: ☐",
        "[form] size: ☒ large",
        "[form] flag: Norway",
        "[form] cargo: coal, iron",
        "[text] Approved by the harbour master",
        "[note] Call back",
        "[form] parent: inherited",
        "[form] lost: on no page",
    ):
        assert text.splitlines().count(line) == 1, (line, text)


def test_a_form_alone_is_no_scan_and_xfa_is_named() -> None:
    xfa = oddities.stream(b"<xdp><data><berth>Quay 7</berth></data></xdp>")
    data = oddities.pdf_page(b"", HELVETICA, xfa, catalog=b"/AcroForm<</Fields[]/XFA 6 0 R>>")
    text = (read(data, "form.pdf")).text
    assert text.splitlines()[0] == "[page 1: no text]"
    assert "[form] berth: Quay 7" in text
    assert "XFA" in text.splitlines()[-1]


@pytest.mark.parametrize(
    ("encoding", "codec", "text"),
    [
        ("GBK-EUC-H", "gbk", "港口报告"), ("GB-EUC-V", "gb2312", "港口报告"), ("GBK2K-H", "gb18030", "港口报告"),
        ("GBKp-EUC-H", "gbk", "港口报告"), ("UniGB-UCS2-H", "utf-16-be", "港口报告"), ("UniGB-UTF8-H", "utf-8", "港口报告"),
        ("UniGB-UTF32-V", "utf-32-be", "港口报告"), ("ETen-B5-H", "big5", "會議記錄"), ("B5pc-H", "big5", "會議記錄"),
        ("HKscs-B5-H", "big5hkscs", "會議記錄"), ("90ms-RKSJ-H", "cp932", "港の報告書"), ("90pv-RKSJ-H", "cp932", "港の報告書"),
        ("EUC-H", "euc_jp", "港の報告書"), ("UniJIS-UTF16-V", "utf-16-be", "港の報告書"),
        ("UniJIS2004-UTF16-H", "utf-16-be", "港の報告書"), ("KSCms-UHC-H", "cp949", "회의록: 내일"),
        ("KSC-EUC-V", "euc_kr", "회의록: 내일"), ("KSCpc-EUC-H", "euc_kr", "회의록: 내일"),
        ("UniKS-UTF16-H", "utf-16-be", "회의록: 내일"), ("UniKS-UCS2-H", "utf-16-be", "회의록: 내일"),
    ],
)  # fmt: skip
def test_east_asian_fonts_without_a_map_to_unicode(encoding: str, codec: str, text: str) -> None:
    font = f"<</Type/Font/Subtype/Type0/BaseFont/X/Encoding/{encoding}/DescendantFonts[6 0 R]>>"
    descendant = b"<</Type/Font/Subtype/CIDFontType0/BaseFont/X/DW 1000>>"
    content = f"BT /F1 14 Tf 60 700 Td <{text.encode(codec).hex()}> Tj ET"
    data = oddities.pdf_page(content.encode(), font.encode(), descendant)
    assert (read(data, "a.pdf")).text == f"[page 1]\n{text}"


@pytest.mark.parametrize("is_new", [False, True], ids=["with a table", "with a stream for a table"])
def test_a_pdf_whose_end_is_missing_is_read(is_new: bool) -> None:
    data = oddities.pdf_page(b"BT /F1 12 Tf 10 100 Td (Hello lantern) Tj ET", HELVETICA)
    for end in (b"startxref", b"trailer", b"xref"):
        cut = data[: data.index(end)]
        if is_new:
            cut = cut.replace(b"/Catalog", b"/Katalog") + b"9 0 obj\n<</Type/XRef/Root 1 0 R/Size 9>>\nendobj\n"
        assert "Hello lantern" in (read(cut, "a.pdf")).text
    for gone in (b"/Catalog", b"/Pages"):
        with pytest.raises(DocumentRefused) as refused:
            read(data[: data.index(b"xref")].replace(gone, b"/Nothing"), "a.pdf")
        assert refused.value.reason is Reason.BROKEN
    with pytest.raises(DocumentRefused):
        read(data[: data.index(b"xref")] + b"8 0 obj\n<</Encrypt 7 0 R>>\nendobj\n", "a.pdf")
