"""What cannot or must not be read is refused, with the file's name and the reason, and the reader works afterwards."""

from collections.abc import AsyncIterator
from io import BytesIO

import pytest
from pypdf import PdfReader, PdfWriter

from app.errors import PayloadTooLarge
from app.files.extraction.models import DocumentLimits, Reason
from app.files.extraction.reader import DocumentReader
from app.files.refusals import DocumentRefused
from tests.files import hostile
from tests.files.test_documents import CORPUS

MIB = 1024**2


@pytest.fixture
async def reader() -> AsyncIterator[DocumentReader]:
    reader = DocumentReader(workers=1)
    yield reader
    await reader.close()


async def refusal(reader: DocumentReader, content: bytes, filename: str, media_type: str = "") -> DocumentRefused:
    with pytest.raises(DocumentRefused) as caught:
        await reader.read(content, filename, media_type)
    refused = caught.value
    assert refused.message.startswith(f"{filename} cannot be read: "), refused.message
    assert refused.status == (413 if refused.reason is Reason.TOO_LARGE else 422)
    assert refused.code == f"document_{refused.reason}"
    for internal in ("Error", "Traceback", "/home", "/work", "zipfile", "lxml", "openpyxl"):
        assert internal not in refused.message.removeprefix(filename)
    # The same worker, or its successor, goes on.
    assert (await reader.read(b"still there", "next.txt")).text == "still there"
    return refused


async def test_files_without_text_are_empty(reader: DocumentReader) -> None:
    for content, filename in (
        (b"", "empty.pdf"),
        (b" \n\t\n", "blank.txt"),
        (bytes(100), "zeros.bin"),
        (hostile.pdf(3), "scanned.pdf"),
        (hostile.workbook(hostile.rows(0)), "empty.xlsx"),
        (b"<!DOCTYPE html><html><script>alert(1)</script></html>", "empty.html"),
    ):
        refused = await refusal(reader, content, filename)
        assert refused.reason is Reason.EMPTY, filename
    assert "scanned pages" in (await refusal(reader, hostile.pdf(3), "scanned.pdf")).message


async def test_truncated_files_are_broken(reader: DocumentReader) -> None:
    for name in ("libreoffice-report.docx", "openpyxl.xlsx", "python-pptx.pptx"):
        document = (CORPUS / name).read_bytes()
        for length in (len(document) - 10, len(document) // 2, 40):
            assert (await refusal(reader, document[:length], name)).reason is Reason.BROKEN
    pdf = (CORPUS / "libreoffice-report.pdf").read_bytes()
    for length in (len(pdf) // 2, 200, 8):
        assert (await refusal(reader, pdf[:length], "report.pdf")).reason in (Reason.BROKEN, Reason.EMPTY)


async def test_files_damaged_inside_are_broken(reader: DocumentReader) -> None:
    document = bytearray((CORPUS / "openpyxl.xlsx").read_bytes())
    position = document.index(b"xl/worksheets/sheet1.xml") + 40
    document[position : position + 60] = bytes(60)
    assert (await refusal(reader, bytes(document), "damaged.xlsx")).reason is Reason.BROKEN
    for kind in ("docx", "xlsx", "pptx"):
        for main in (b"<not xml", b"<a/>", b""):
            refused = await refusal(reader, hostile.office(kind, main), f"odd.{kind}")
            assert refused.reason in (Reason.BROKEN, Reason.EMPTY)


async def test_protected_files_are_encrypted(reader: DocumentReader) -> None:
    def protected(user: str, owner: str) -> bytes:
        writer = PdfWriter(clone_from=PdfReader(CORPUS / "libreoffice-report.pdf"))
        writer.encrypt(user, owner, algorithm="AES-256")
        out = BytesIO()
        writer.write(out)
        return out.getvalue()

    for content, filename in (
        (protected("secret", "secret"), "locked.pdf"),
        (hostile.encrypted_docx(), "locked.docx"),
        (hostile.flagged_encrypted((CORPUS / "openpyxl.xlsx").read_bytes()), "locked.xlsx"),
    ):
        refused = await refusal(reader, content, filename)
        assert refused.reason is Reason.ENCRYPTED
        assert refused.message == f"{filename} cannot be read: it is protected with a password"
    # Protected against changes only: everyone may read it.
    assert "Quarterly report" in (await reader.read(protected("", "owner"), "open.pdf")).text


async def test_zip_bombs_are_not_unpacked(reader: DocumentReader) -> None:
    zeros = [bytes(MIB)]
    for parts, explanation in (
        ({"a.xml": zeros * 20}, "unpacks to more than 200 times its size"),
        ({f"{number}.bin": zeros * 60 for number in range(4)}, "it unpacks to more than 200 MiB"),
        ({f"{number}.bin": b"" for number in range(10_001)}, "packed from more than 10,000 parts"),
    ):
        refused = await refusal(reader, hostile.package(parts), "bomb.docx")
        assert refused.reason is Reason.BOMB
        assert explanation in refused.message


async def test_a_cell_of_300_megabytes_is_not_unpacked(reader: DocumentReader) -> None:
    refused = await refusal(reader, hostile.huge_cell(300), "cell.xlsx")
    assert refused.reason is Reason.BOMB


async def test_xml_entities_are_not_expanded(reader: DocumentReader) -> None:
    for encoding in ("utf-8", "utf-16"):
        refused = await refusal(reader, hostile.entity_bomb(encoding), "laughs.docx")
        assert refused.reason is Reason.BOMB
        assert "declares XML entities" in refused.message


async def test_external_entities_are_not_fetched(reader: DocumentReader) -> None:
    text = (
        f'<!DOCTYPE w [<!ENTITY x SYSTEM "file:///etc/hostname">]>'
        f"<w:document {hostile.WORD}><w:body><w:p><w:r><w:t>&x;</w:t></w:r></w:p></w:body></w:document>"
    )
    assert (await refusal(reader, hostile.office("docx", text.encode()), "xxe.docx")).reason is Reason.BOMB
    svg = await reader.read(b'<!DOCTYPE html SYSTEM "file:///etc/passwd" [<!ENTITY x "y">]><p>&x;</p>', "xxe.html")
    assert "root" not in svg.text


async def test_100000_pages_are_too_many(reader: DocumentReader) -> None:
    honest = hostile.pdf(100_000)
    for content in (honest, hostile.pdf(1, declared=100_000, kids=False), hostile.pdf(5_000, declared=1)):
        refused = await refusal(reader, content, "pages.pdf")
        assert refused.reason is Reason.TOO_MANY_PAGES
        assert "more than 2,000 pages" in refused.message


async def test_what_is_not_what_it_claims_is_refused(reader: DocumentReader) -> None:
    for content, filename, media_type in (
        (hostile.exe(), "invoice.pdf", "application/pdf"),
        (b"just words", "words.docx", ""),
        (b"<!DOCTYPE html><p>Log in first", "report.xlsx", ""),
        (hostile.package({"a.txt": b"a"}), "slides.pptx", ""),
        (hostile.exe(), "noname", "application/pdf"),
    ):
        assert (await refusal(reader, content, filename, media_type)).reason is Reason.MISMATCH
    message = (await refusal(reader, hostile.exe(), "invoice.pdf")).message
    assert message == "invoice.pdf cannot be read: its content is not that of a PDF file"


async def test_other_kinds_of_files_are_unsupported(reader: DocumentReader) -> None:
    ole = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600)
    opendocument = hostile.package({"mimetype": b"application/vnd.oasis.opendocument.text", "content.xml": b"<a/>"})
    for content, filename, hint in (
        (ole, "old.doc", "old binary Office formats"),
        (opendocument, "text.odt", "OpenDocument"),
        (hostile.package({"a.txt": b"a"}), "files.zip", "archives"),
        (b"{\\rtf1 hello}", "a.rtf", "RTF"),
        (hostile.exe(), "tool.exe", "neither text nor"),
        (bytes(range(256)) * 20, "noise.txt", "neither text nor"),
    ):
        refused = await refusal(reader, content, filename)
        assert refused.reason is Reason.UNSUPPORTED
        assert hint in refused.message
        assert "supported are PDF, DOCX, XLSX, PPTX" in refused.message


async def test_too_large_a_file_is_413_and_is_not_read_to_its_end() -> None:
    reader = DocumentReader(DocumentLimits(max_file_bytes=MIB), workers=1)
    block_count = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal block_count
        while True:
            block_count += 1
            yield b"x" * 65536

    try:
        for content in (b"x" * (MIB + 1), endless()):
            with pytest.raises(
                DocumentRefused, match=r"^large\.txt cannot be read: it is larger than 1 MiB$"
            ) as caught:
                await reader.read(content, "large.txt")
            assert caught.value.status == PayloadTooLarge.status
        assert block_count == 17
        assert (await reader.read(b"x" * MIB, "fits.txt")).truncated
    finally:
        await reader.close()


async def test_only_the_name_of_the_file_is_told_not_its_path(reader: DocumentReader) -> None:
    for filename in ("/home/ann/secret/a.pdf", "C:\\Users\\ann\\secret\\a.pdf", "../../a.pdf", "a\u202e.pdf"):
        with pytest.raises(DocumentRefused) as caught:
            await reader.read(hostile.exe(), filename)
        assert caught.value.message == "a.pdf cannot be read: its content is not that of a PDF file"


async def test_deep_nesting_wide_rows_and_far_cells_do_no_harm(reader: DocumentReader) -> None:
    deep = "<div>" * 50_000 + "deep" + "</div>" * 50_000
    with pytest.raises(DocumentRefused):
        await reader.read(f"<!DOCTYPE html>{deep}".encode(), "deep.html")
    far = (
        f'<worksheet {hostile.SHEET}><dimension ref="A1:XFD1048576"/><sheetData>'
        '<row r="1"><c r="A1"><v>1</v></c></row><row r="1048576"><c r="C1048576"><v>2</v></c></row>'
        "</sheetData></worksheet>"
    )
    sheet = await reader.read(hostile.workbook(far.encode()), "far.xlsx")
    assert sheet.text.splitlines()[-3:] == ["| --- |", "", "|  |  | 2 |"]
    farther = hostile.workbook(far.replace('r="1048576"', 'r="99999999999"').encode())
    assert (await refusal(reader, farther, "farther.xlsx")).reason is Reason.BROKEN


async def test_streams_of_a_pdf_that_unpack_too_far_are_a_bomb(reader: DocumentReader) -> None:
    refused = await refusal(reader, hostile.pdf_with_content(bytes(100 * MIB)), "bomb.pdf")
    assert refused.reason is Reason.BOMB
    assert "xx" in (await reader.read(hostile.pdf_with_content(b"BT /F1 12 Tf (xx) Tj ET"), "small.pdf")).text


async def test_of_a_large_page_the_beginning_is_read(reader: DocumentReader) -> None:
    script = b"<script>" + b"x();" * MIB + b"</script>"
    page = b"<!DOCTYPE html><style>p{}</style>" + script + b"<p>words \0\x01 here</p>"
    assert (await reader.read(page, "scripts.html")).text == "words here"
    cut = await reader.read(page + (b"<p title='" + b"x" * 1000 + b"'>more</p>") * 1100, "long.html")
    assert cut.truncated
    assert "only the first 1 MiB of the page were read" in cut.notes[-1]
