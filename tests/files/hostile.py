"""Files that mean harm, made when they are needed: they would not be small in the repository, or not welcome."""

import struct
import zipfile
import zlib
from collections.abc import Iterable, Mapping
from io import BytesIO

CONTENT_TYPES = {
    kind: (
        '<?xml version="1.0"?><Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types">'
        '<Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
        '<Default Extension="xml" ContentType="application/xml"/>'
        f'<Override PartName="/{part}" ContentType="application/vnd.openxmlformats-officedocument.{main}+xml"/></Types>'
    ).encode()
    for kind, part, main in (
        ("docx", "word/document.xml", "wordprocessingml.document.main"),
        ("xlsx", "xl/workbook.xml", "spreadsheetml.sheet.main"),
        ("pptx", "ppt/presentation.xml", "presentationml.presentation.main"),
    )
}
MAIN_PARTS = {"docx": "word/document.xml", "xlsx": "xl/workbook.xml", "pptx": "ppt/presentation.xml"}
WORD = 'xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"'
SHEET = 'xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"'
OFFICE = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"


def package(parts: Mapping[str, bytes | Iterable[bytes]], level: int = 1) -> bytes:
    """A ZIP file of `parts`; a part may come in pieces."""
    out = BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED, compresslevel=level) as archive:
        for name, content in parts.items():
            with archive.open(name, "w", force_zip64=False) as member:
                for piece in [content] if isinstance(content, bytes) else content:
                    member.write(piece)
    return out.getvalue()


def office(
    kind: str, main: bytes | Iterable[bytes], more: Mapping[str, bytes | Iterable[bytes]] | None = None
) -> bytes:
    """An Office package whose main part is `main`."""
    return package(
        {
            "[Content_Types].xml": CONTENT_TYPES[kind],
            "_rels/.rels": relationships({"rId1": ("officeDocument", MAIN_PARTS[kind])}),
            MAIN_PARTS[kind]: main,
            **(more or {}),
        }
    )


def relationships(targets: Mapping[str, tuple[str, str]]) -> bytes:
    lines = "".join(
        f'<Relationship Id="{id}" Type="{OFFICE}/{role}" Target="{target}"/>' for id, (role, target) in targets.items()
    )
    namespace = "http://schemas.openxmlformats.org/package/2006/relationships"
    return f'<Relationships xmlns="{namespace}">{lines}</Relationships>'.encode()


def workbook(sheet: bytes | Iterable[bytes]) -> bytes:
    """A workbook with one sheet."""
    main = f'<workbook {SHEET} xmlns:r="{OFFICE}"><sheets><sheet name="S" sheetId="1" r:id="rId1"/></sheets></workbook>'
    rels = relationships({"rId1": ("worksheet", "worksheets/sheet1.xml")})
    return office("xlsx", main.encode(), {"xl/_rels/workbook.xml.rels": rels, "xl/worksheets/sheet1.xml": sheet})


def rows(count: int) -> list[bytes]:
    """The XML of a sheet of eight columns, in pieces."""
    cells = "".join(f'<c t="inlineStr"><is><t>row {{0}} column {column}</t></is></c>' for column in range(6))
    row = f"<row>{cells}<c><v>{{0}}.5</v></c><c><v>{{0}}</v></c></row>"
    return [
        f"<worksheet {SHEET}><sheetData>".encode(),
        *(row.format(number).encode() for number in range(count)),
        b"</sheetData></worksheet>",
    ]


def huge_cell(megabytes: int) -> bytes:
    """A workbook whose one cell holds so many megabytes of the letter x."""
    pieces = [f'<worksheet {SHEET}><sheetData><row><c t="inlineStr"><is><t>'.encode()]
    pieces += [b"x" * 1024**2] * megabytes
    return workbook([*pieces, b"</t></is></c></row></sheetData></worksheet>"])


def entity_bomb(encoding: str = "utf-8") -> bytes:
    """A document whose text would be a billion laughs."""
    levels = "".join(f'<!ENTITY l{level} "{f"&l{level - 1};" * 10}">' for level in range(1, 10))
    text = (
        f'<?xml version="1.0" encoding="{encoding}"?><!DOCTYPE w [<!ENTITY l0 "lol">{levels}]>'
        f"<w:document {WORD}><w:body><w:p><w:r><w:t>&l9;</w:t></w:r></w:p></w:body></w:document>"
    )
    return office("docx", text.encode(encoding))


def pdf(pages: int, *, declared: int | None = None, kids: bool = True) -> bytes:
    """A PDF of empty pages that says it has `declared` of them."""
    out = bytearray(b"%PDF-1.4\n")
    offsets = []

    def add(text: str) -> None:
        offsets.append(len(out))
        out.extend(f"{len(offsets)} 0 obj {text} endobj\n".encode())

    add("<</Type/Catalog/Pages 2 0 R>>")
    names = " ".join(f"{number} 0 R" for number in range(3, pages + 3)) if kids else ""
    add(f"<</Type/Pages/Count {pages if declared is None else declared}/Kids[{names}]>>")
    for _ in range(pages if kids else 0):
        add("<</Type/Page/Parent 2 0 R/MediaBox[0 0 9 9]>>")
    start = len(out)
    out.extend(f"xref\n0 {len(offsets) + 1}\n0000000000 65535 f \n".encode())
    out.extend("".join(f"{offset:010} 00000 n \n" for offset in offsets).encode())
    out.extend(f"trailer <</Size {len(offsets) + 1}/Root 1 0 R>>\nstartxref\n{start}\n%%EOF".encode())
    return bytes(out)


def pdf_with_content(content: bytes) -> bytes:
    """A PDF of one page that shows what the packed stream `content` draws."""
    packed = zlib.compress(content)
    font = b"<</Font<</F1<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>>>>>"
    out = bytearray(b"%PDF-1.4\n")
    offsets = []
    for text in (
        b"<</Type/Catalog/Pages 2 0 R>>",
        b"<</Type/Pages/Count 1/Kids[3 0 R]>>",
        b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 99 99]/Contents 4 0 R/Resources%b>>" % font,
        b"<</Length %d/Filter/FlateDecode>>stream\n%b\nendstream" % (len(packed), packed),
    ):
        offsets.append(len(out))
        out.extend(b"%d 0 obj %b endobj\n" % (len(offsets), text))
    table = b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
    start = len(out)
    out.extend(b"xref\n0 5\n0000000000 65535 f \n%btrailer <</Size 5/Root 1 0 R>>\nstartxref\n%d\n" % (table, start))
    return bytes(out) + b"%%EOF"


def exe() -> bytes:
    """The beginning of a Windows program."""
    return (
        b"MZ\x90\0\3\0\0\0\4\0\0\0\xff\xff\0\0"
        + bytes(44)
        + struct.pack("<I", 128)
        + bytes(64)
        + b"PE\0\0"
        + bytes(200)
    )


def encrypted_docx() -> bytes:
    """An OLE file whose directory names the streams of an encrypted Office package."""
    names = "".join(["EncryptionInfo", "EncryptedPackage"]).encode("utf-16-le")
    return b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(504) + names + bytes(512)


def flagged_encrypted(data: bytes) -> bytes:
    """The same ZIP file with each member marked as encrypted."""
    out = bytearray(data)
    for signature, offset in ((b"PK\x01\x02", 8), (b"PK\x03\x04", 6)):
        position = out.find(signature)
        while position >= 0:
            out[position + offset] |= 1
            position = out.find(signature, position + 4)
    return bytes(out)
