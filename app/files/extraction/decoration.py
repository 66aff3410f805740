"""Workbooks without their decoration, which libraries check more strictly than Excel does."""

from io import BytesIO
from typing import Any, Final
from zipfile import ZIP_DEFLATED, ZipFile

from lxml import etree

from app.files.extraction.xml import parsed

_MAIN: Final = "{http://schemas.openxmlformats.org/spreadsheetml/2006/main}"
_ID: Final = "{http://schemas.openxmlformats.org/officeDocument/2006/relationships}id"
_LEFT_OUT: Final = ("docProps/", "xl/theme/", "xl/externalLinks/")
_PLAIN_STYLES: Final = (
    f'<styleSheet xmlns="{_MAIN[1:-1]}"><fonts><font/></fonts><fills><fill><patternFill/></fill></fills><borders>'
    "<border/></borders><cellStyleXfs><xf/></cellStyleXfs></styleSheet>"
).encode()
_ODD: Final = (
    "definedNames",
    "externalReferences",
    "customWorkbookViews",
    "extLst",
    "calcPr",
    "bookViews",
    "pivotCaches",
)


def without_decoration(data: bytes) -> bytes:
    """The workbook with its values and the formats of its numbers alone, without sheets that are missing."""
    out = BytesIO()
    with ZipFile(BytesIO(data)) as source, ZipFile(out, "w", ZIP_DEFLATED, compresslevel=1) as target:
        for member in source.infolist():
            name = member.filename
            if name.startswith(_LEFT_OUT):
                continue
            content = source.read(member)
            if name == "xl/styles.xml":
                content = _plain_styles(content)
            elif name == "xl/workbook.xml":
                content = _plain_workbook(content, _ids(source))
            elif name in ("[Content_Types].xml", "_rels/.rels", "xl/_rels/workbook.xml.rels"):
                content = _without_left_out(content, "xl/" if name.startswith("xl/") else "")
            target.writestr(name, content)
    return out.getvalue()


def _plain_styles(xml: bytes) -> bytes:
    """The formats of numbers, by which dates are told, and the cells' references to them."""
    plain = etree.fromstring(_PLAIN_STYLES)
    root = parsed(xml)
    if root is None:
        return _PLAIN_STYLES
    formats = etree.Element(f"{_MAIN}numFmts")
    for element in root.iter(f"{_MAIN}numFmt"):
        if element.get("numFmtId", "").isdecimal() and element.get("formatCode"):
            attributes = {"numFmtId": element.get("numFmtId"), "formatCode": element.get("formatCode")}
            etree.SubElement(formats, f"{_MAIN}numFmt", attributes)
    plain.insert(0, formats)
    cells: Any = etree.SubElement(plain, f"{_MAIN}cellXfs")
    for element in root.iterfind(f"{_MAIN}cellXfs/{_MAIN}xf"):
        number = element.get("numFmtId", "0")
        etree.SubElement(cells, f"{_MAIN}xf", numFmtId=number if number.isdecimal() else "0")
    if not len(cells):
        etree.SubElement(cells, f"{_MAIN}xf", numFmtId="0")
    return bytes(etree.tostring(plain))


def sheet_names(data: bytes) -> list[str]:
    with ZipFile(BytesIO(data)) as source:
        root = parsed(source.read("xl/workbook.xml"))
    return [] if root is None else [sheet.get("name", "") for sheet in root.iter(f"{_MAIN}sheet")]


def _ids(source: ZipFile) -> set[str]:
    """The ids of the relationships of the workbook."""
    root = parsed(source.read("xl/_rels/workbook.xml.rels"))
    return set() if root is None else {element.get("Id", "") for element in root}


def _plain_workbook(xml: bytes, ids: set[str]) -> bytes:
    root = parsed(xml)
    if root is None:
        return xml
    for name in _ODD:
        for element in root.findall(f"{_MAIN}{name}"):
            root.remove(element)
    for sheet in list(root.iter(f"{_MAIN}sheet")):
        if sheet.get(_ID) not in ids:
            sheet.getparent().remove(sheet)
    return bytes(etree.tostring(root))


def _without_left_out(xml: bytes, folder: str) -> bytes:
    root = parsed(xml)
    if root is None:
        return xml
    for element in list(root):
        name = (element.get("PartName") or element.get("Target") or "").removeprefix("/")
        if name.startswith(_LEFT_OUT) or (folder + name).startswith(_LEFT_OUT):
            root.remove(element)
    return bytes(etree.tostring(root))
